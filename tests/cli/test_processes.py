"""`up`, `gateway`, `control`, `worker` hand settings to what they run, and nothing else."""

from pathlib import Path

import pytest

from podium import app as processes
from podium.core.errors import OperatorError


@pytest.fixture
def ran(monkeypatch):
    """What was run: (name, settings, further arguments)."""
    calls = []
    for name in ("run_up", "run_gateway", "run_control", "run_worker"):

        def run(settings, *further, name=name):
            calls.append((name, settings, further))
            return 0

        monkeypatch.setattr(processes, name, run)
    return calls


def test_each_command_runs_its_process_with_the_settings(podium, ran, tmp_path):
    podium("up", "--data-dir", "here", "--host", "0.0.0.0", "--port", "1001", "--admin-port", "1002")
    podium("gateway", "--port", "1003")
    podium("control", "--admin-port", "1004")
    podium("worker", "smollm2", "--port", "1005")
    (up, gateway, control, worker) = ran
    assert [name for name, _, _ in ran] == ["run_up", "run_gateway", "run_control", "run_worker"]
    assert up[1].data.path == Path("here")
    assert (up[1].server.host, up[1].server.port, up[1].admin.port) == ("0.0.0.0", 1001, 1002)
    assert gateway[1].server.port == 1003
    assert control[1].admin.port == 1004
    assert worker[1].data.path == tmp_path / "data"
    assert worker[2] == ("smollm2", 1005)


def test_the_exit_code_is_that_of_the_process(podium, monkeypatch):
    monkeypatch.setattr(processes, "run_up", lambda _: 3)
    podium("up", code=3)


def test_an_error_of_the_process_is_one_sentence_and_a_hint(podium, monkeypatch):
    def run(_):
        raise OperatorError("Port 8080 is taken.", hint="Choose another with --port.")

    monkeypatch.setattr(processes, "run_gateway", run)
    done = podium("gateway", code=1)
    assert done.err == "podium: Port 8080 is taken.\nhint: Choose another with --port.\n"
    assert done.out == ""


def test_a_wrong_configuration_exits_with_78_and_names_every_problem(podium, ran, tmp_path):
    (tmp_path / "podium.yaml").write_text("gateway:\n  prot: 1\n")
    done = podium("up", "--admin-port", "70000", code=78)
    assert done.err.splitlines() == [
        "podium: podium.yaml:2: gateway.prot: unknown key; did you mean gateway.port?",
        "podium: --admin-port: admin.port: expected an integer from 0 to 65535, got 70000",
        "hint: `podium check-config` checks it without starting anything",
    ]
    assert ran == []


def test_a_wrong_use_exits_with_2(podium, ran):
    assert podium("up", "--prot", "1", code=2).err.startswith("Usage: ")
    assert podium("up", "--port", "x", code=2).err.startswith("Usage: ")
    assert podium("worker", "smollm2", code=2).err.startswith("Usage: ")
    assert ran == []
