"""The command line as a real process, and as a whole."""

import json
import os
import subprocess
import sys

import pytest
from typer.main import get_command

from podium import __version__
from podium.cli import _start
from podium.cli._start import COMMANDS, application


def run(*arguments, folder, code=0, **environment):
    """A `podium` process to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
    done = subprocess.run(
        [sys.executable, "-m", "podium", *arguments],
        cwd=folder,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def commands(command, path=()):
    """Every command with its path."""
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from commands(child, (*path, name))


def test_version(tmp_path):
    assert run("version", folder=tmp_path).stdout.startswith(f"podium {__version__} (Python ")
    assert json.loads(run("version", "--json", folder=tmp_path).stdout)["podium"] == __version__


def test_a_wrong_configuration_is_told_without_a_traceback(tmp_path):
    (tmp_path / "podium.yaml").write_text("gateway:\n  port: x\n")
    done = run("up", folder=tmp_path, code=78)
    assert done.stderr == (
        "podium: podium.yaml:2: gateway.port: expected an integer from 0 to 65535, got 'x'\n"
        "hint: `podium check-config` checks it without starting anything\n"
    )
    assert not (tmp_path / ".podium").exists()


def test_an_error_that_nobody_expected_is_one_sentence(monkeypatch, capsys):
    def broken(_):
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(_start, "application", broken)
    monkeypatch.delenv("PODIUM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as caught:
        _start.start()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "podium: an unexpected error: ValueError: first line second line\n"
        "hint: PODIUM_TRACEBACK=1 shows where it happened; please report it\n"
    )
    monkeypatch.setenv("PODIUM_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        _start.start()
    assert "in broken" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m podium check-config --json | head -c 1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "{"
    assert done.stderr == ""


def test_the_start_loads_only_what_the_command_needs(tmp_path):
    code = (
        "import sys; sys.argv = ['podium', 'version']\n"
        "from podium.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('rich', 'httpx', 'msgspec', 'yaml', 'pydantic', 'litestar', 'sqlalchemy', 'structlog', 'asyncio')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1] == "[]"


def test_every_command_is_found_alone_as_well_as_with_the_others():
    everything = [path for path, _ in commands(get_command(application()))]
    for _, names in COMMANDS:
        for name in names:
            alone = [path for path, _ in commands(get_command(application(name))) if path[0] == name]
            assert alone
            assert alone == [path for path in everything if path[0] == name]
    assert {path[0] for path in everything} == {name for _, names in COMMANDS for name in names}


def test_every_command_says_what_it_does_and_shows_examples():
    for path, command in commands(get_command(application())):
        assert command.help, path
        assert "Examples:" in command.epilog, path
        assert f"podium {' '.join(path)}" in command.epilog, path
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.name == "help", (path, parameter.name)


def test_every_command_that_prints_data_has_json():
    silent = {"up", "gateway", "control", "worker"}
    for path, command in commands(get_command(application())):
        options = {name for parameter in command.params for name in parameter.opts}
        assert ("--json" in options) is (path[0] not in silent), path


def test_help_and_a_misspelt_command(podium):
    shown = podium("--help").out
    assert all(f"  {name} " in shown for _, names in COMMANDS for name in names)
    assert podium("nonsense", code=2).err.splitlines()[-1] == "Error: No such command 'nonsense'."
