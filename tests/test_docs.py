"""The documentation says everything that it promises to say."""

import re
from pathlib import Path

import pytest

from podium.core.reasons import Fault, Reason
from podium.web.openai.surface import ROUTES

DOCS = Path(__file__).parent.parent / "docs"
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
