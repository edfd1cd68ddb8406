"""What holds for the repository as a whole."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import podium

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])

# What takes long to import, or is not always installed: only to be had by whoever uses it.
HEAVY = {
    "aiosqlite",
    "alembic",
    "asyncpg",
    "botocore",
    "gguf",
    "granian",
    "httpx",
    "jinja2",
    "litestar",
    "numpy",
    "onnxruntime",
    "opentelemetry",
    "pip",
    "prometheus_client",
    "redis",
    "requests",
    "rich",
    "sqlalchemy",
    "tiktoken",
    "tokenizers",
    "uvloop",
    "xllamacpp",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages outside of the standard library that a fresh interpreter has after `statement`."""
    names = "import sys; print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    command = [sys.executable, "-I", "-c", f"{statement}\n{names}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["podium", "podium.cli"])
def test_importing_the_package_imports_nothing_else(module):
    # What any interpreter of this environment loads at its start (a `.pth` file may ask for something) does not count.
    assert loaded_by(f"import {module}") - loaded_by("pass") == {"podium"}


def test_the_command_line_starts_without_what_it_may_not_need():
    loaded = loaded_by("from podium.cli._start import application; application()")

    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_metrics_and_logs_do_not_need_the_packages_of_traces():
    assert "opentelemetry" not in loaded_by("import podium.telemetry.sinks, podium.telemetry.logging")


def test_the_version_is_one():
    assert podium.__version__ == PROJECT["project"]["version"] == version("podium")


def test_the_changelog_has_this_version_or_an_unreleased_one():
    headings = re.findall(r"^## \[([^]]+)]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] in {"Unreleased", podium.__version__}
    assert len(headings) == len(set(headings))


def test_nothing_is_left_for_later_in_the_source():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    left = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if marks.search(line)
    ]

    assert not left, "\n" + "\n".join(left)


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def requirements() -> list[str]:
    groups = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [requirement for group in groups for requirement in group]


def test_every_dependency_is_justified_in_a_sentence():
    page = (ROOT / "docs/dependencies.md").read_text()
    justified = re.findall(r"^- \*\*([a-z0-9-]+)\*\*.*: .+[.]$", page, re.MULTILINE)

    assert sorted(justified) == sorted({name_of(requirement) for requirement in requirements()})


def test_the_lock_file_is_of_this_project_file():
    (own,) = [package for package in LOCK["package"] if package["name"] == "podium"]
    groups = own["metadata"]["requires-dev"].values()
    entries = [*own["metadata"]["requires-dist"], *(entry for group in groups for entry in group)]
    locked = {(entry["name"], entry.get("specifier", "")) for entry in entries}
    asked = {(name_of(one), re.sub(r"^[^<>=!~]*", "", one.replace(" ", ""))) for one in requirements()}

    assert locked == asked
    assert own["version"] == podium.__version__


def test_every_locked_file_has_a_hash():
    files = [file for package in LOCK["package"] for file in [*package.get("wheels", []), package.get("sdist")] if file]

    assert len(files) > 100
    assert [file["url"] for file in files if not file.get("hash", "").startswith("sha256:")] == []


def test_the_installer_is_pinned_with_hashes():
    text = (ROOT / "requirements/uv.txt").read_text()

    assert re.search(r"^uv==[0-9.]+ \\$", text, re.MULTILINE)
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", text, re.MULTILINE)) > 10


def test_every_make_target_says_what_it_does():
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE)

    assert {"up", "test", "lint", "format", "bench", "models", "clean", "help", "system-packages"} <= set(targets)
    assert targets == re.findall(r"^([a-z-]+):[^=\n]*## .+[.]$", text, re.MULTILINE)


def test_the_checks_can_be_run():
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_pages_that_are_made_from_the_code_are_up_to_date():
    """Settings, commands and resources: `make reference` writes them."""
    command = [sys.executable, ROOT / "scripts/generate_reference.py", "--check"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)[^)]*\)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []
