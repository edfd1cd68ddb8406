import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def chosen(tmp_path):
    """The interpreter that is chosen when these programs come first on the path: names and what they do."""

    def choose(**programs):
        for name, does in programs.items():
            path = tmp_path / name.replace("_", ".")
            path.write_text(f"#!/bin/sh\n{does}\n")
            path.chmod(0o755)
        ran = subprocess.run(
            ["/bin/sh", SCRIPTS / "choose_python.sh"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return Path(ran.stdout.strip()).name if str(tmp_path) in ran.stdout else ran.stdout.strip()

    return choose


def test_this_interpreter_is_measured():
    ran = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPTS / "python_speed.py"], capture_output=True, timeout=60, check=True
    )
    assert int(ran.stdout) > 0


def test_the_quickest_is_chosen(chosen):
    assert chosen(python3="echo 100", python3_13="echo 200", python3_12="echo 3") == "python3.12"


def test_the_first_is_kept_when_another_is_hardly_quicker(chosen):
    assert chosen(python3="echo 100", python3_12="echo 95") == "python3"


def test_one_that_podium_cannot_use_is_never_chosen(chosen):
    assert chosen(python3="echo 1; exit 1", python3_13="echo broken >&2; exit 127", python3_12="echo 5") == "python3.12"


def test_an_untried_version_is_taken_only_when_there_is_no_other(chosen):
    assert chosen(python3="echo 100", python3_14="echo 1") == "python3"
