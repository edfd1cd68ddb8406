"""The reference pages are written from the code, and none is stale."""

import importlib.util
from pathlib import Path

import pytest

from podium.cli._start import COMMANDS
from podium.config import options
from podium.config_environment import OTHER_VARIABLES, SHORT_FORMS
from podium.core.resources import SPECS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "scripts" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(script):
    return script.pages()


def test_no_reference_page_is_stale(script, capsys):
    assert script.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_or_missing_page_is_found_and_written(script, tmp_path, capsys):
    assert script.main(["--check", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("is stale: run scripts/generate_reference.py") == 3
    assert list(tmp_path.iterdir()) == []
    assert script.main(["--folder", str(tmp_path)]) == 0
    assert script.main(["--check", "--folder", str(tmp_path)]) == 0
    (tmp_path / "cli.md").write_text("old")
    assert script.main(["--check", "--folder", str(tmp_path)]) == 1


def test_every_setting_and_variable_has_a_line(pages):
    for option in options().values():
        assert f"| `{option.key}`<br>`{option.variable}` |" in pages["configuration.md"]
    for variable in [*SHORT_FORMS, *OTHER_VARIABLES]:
        assert f"| `{variable}` |" in pages["configuration.md"]


def test_every_command_and_every_kind_has_a_section(pages):
    for _, names in COMMANDS:
        for name in names:
            assert f"## `podium {name}" in pages["cli.md"]
    for kind, form in SPECS.items():
        assert f"## {kind}\n" in pages["resources.md"]
        for field in form.__struct_encode_fields__:
            assert f"| `{field}` |" in pages["resources.md"]


def test_each_link_of_a_page_has_its_section(pages):
    import re

    for target in re.findall(r"\]\(#([a-z]+)\)", pages["resources.md"]):
        assert re.search(rf"^## {target}$", pages["resources.md"], re.MULTILINE | re.IGNORECASE), target
