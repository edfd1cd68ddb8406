"""The documentation says everything that it promises to say."""

import re
from pathlib import Path
from typing import get_args

import pytest

from podium.config import REMOVED, options
from podium.config_file import read_file
from podium.control.documents import parse_documents
from podium.control.validation import check_change
from podium.core.reasons import Fault, Reason
from podium.core.resources import Protocol
from podium.web.openai.surface import ROUTES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HTTP = (DOCS / "reference" / "http.md").read_text()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_is_documented(method, path):
    assert f"| `{method} {path}` |" in HTTP


def test_no_other_route_is_documented():
    documented = set(re.findall(r"^\| `(GET|POST) (/\S*)` \|", HTTP, re.MULTILINE))
    assert documented == set(ROUTES)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented_with_whose_fault_it_is(reason):
    row = re.search(rf"^\| `{reason}` \| [\dx, ]+ \| (\w+) \|", HTTP, re.MULTILINE)

    assert row is not None
    assert row[1] in set(Fault)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCKS = [
    (page, number, block)
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
]
RESOURCES = [block for block in BLOCKS if block[2].startswith("kind: ")]
SETTINGS = [block for block in BLOCKS if not block[2].startswith("kind: ")]


def test_there_are_examples_of_both_sorts():
    assert {page.name for page, _, _ in RESOURCES} >= {"operating.md", "resources.md"}
    assert SETTINGS


@pytest.mark.parametrize("page", sorted({page for page, _, _ in RESOURCES}), ids=lambda page: page.name)
def test_resources_of_a_page_can_be_applied_one_block_after_the_other(page):
    state = {}
    for source, number, block in RESOURCES:
        if source == page:
            declared = {
                (one.kind, one.name): one for one in parse_documents(block, file=f"{page.name}, block {number}")
            }
            after = state | declared
            assert [str(problem) for problem in check_change(state, after)] == []
            state = after


@pytest.mark.parametrize(("page", "number", "block"), SETTINGS, ids=lambda part: getattr(part, "name", ""))
def test_settings_of_a_page_are_settings(page, number, block, tmp_path):
    file = tmp_path / "podium.yaml"
    file.write_text(block)

    given, problems = read_file(file, options(), REMOVED)

    assert given
    assert problems == [], f"{page.name}, block {number}"


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_examples_can_be_applied_to_an_empty_podium(file):
    state = {(one.kind, one.name): one for one in parse_documents(file.read_text(), file=file.name)}

    assert [str(problem) for problem in check_change({}, state)] == []


def test_the_page_for_operators_has_a_provider_of_each_protocol():
    protocols = {
        one.spec.protocol
        for page, _, block in RESOURCES
        if page.name == "operating.md"
        for one in parse_documents(block)
        if one.kind == "Provider"
    }

    assert protocols == set(get_args(Protocol)) - {"local"}
