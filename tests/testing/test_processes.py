import signal

import pytest

from podium.testing.processes import Installation


def test_a_command_runs_in_its_own_folder_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_SOMETHING_ELSE", "of the caller")
    installation = Installation(tmp_path / "new", extra_environment={"EXTRA": "1"})
    assert installation.run("version", "--json").json()
    environment = installation.environment()
    assert "PODIUM_SOMETHING_ELSE" not in environment
    assert environment["EXTRA"] == "1"
    assert environment["PODIUM_HOME"] == str(tmp_path / "new" / "data")


def test_a_failed_command_is_an_error_unless_it_was_expected(tmp_path):
    installation = Installation(tmp_path)
    assert installation.run("no-such-command", check=False).code != 0
    with pytest.raises(AssertionError, match="no-such-command"):
        installation.run("no-such-command")


def test_a_process_that_ends_early_shows_what_it_said(tmp_path):
    installation = Installation(tmp_path, extra_environment={"PODIUM_PORT": "many"})
    with installation.start("gateway") as process, pytest.raises(AssertionError, match="PODIUM_PORT"):
        installation.wait_for(lambda: False, process)
    assert process.wait(1) != 0


def test_a_process_is_ended_with_its_block(tmp_path):
    installation = Installation(tmp_path)
    with installation.start("gateway") as process:
        installation.wait_for(lambda: installation.status("/healthz") == 200, process)
        with pytest.raises(TimeoutError):
            process.wait(0.01)
        with pytest.raises(TimeoutError):
            installation.wait_ready(process, timeout_s=0.1)  # there is no snapshot
    assert not process.running
    assert process.wait(1) in {0, -signal.SIGTERM}
    assert installation.status("/healthz") == 0
