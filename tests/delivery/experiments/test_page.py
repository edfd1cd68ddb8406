import random
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from podium.delivery.analysis.evidence import Point
from podium.delivery.experiments.page import html_page
from podium.delivery.experiments.report import Seen, Segment, report_of
from podium.delivery.experiments.svg import ForestRow, Line, forest, lines

START_S = 1_760_000_000.0
EVIL = "<script>alert('x')</script> & \"quotes\""


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def report(world):
    it, chance = world(hypothesis=EVIL, primary="error_rate", effect=0.05, samples=5000), random.Random(1)
    failed = {"reason": "upstream_error", "fault": "upstream"}
    for arm, rate in (("long", 0.1), ("short", 0.3)):
        for number in range(300):
            it.see(arm, f"{arm}{number}", **(failed if chance.random() < rate else {}))
    observed = {arm.name: it.observed for arm in it.rollout.arms}
    course = tuple(
        Point(unix_s=int(START_S) + 60 * at, arm=arm, exchanges=10, measures={"error_rate": chance.random() / 5})
        for at in range(20)
        for arm in ("long", "short")
    )
    return report_of(
        Seen(
            name="prompts",
            rollout=it.rollout,
            progress=it.progress,
            design_now=it.progress.design,
            now_unix_s=START_S + 2000,
            observed=observed,
            ratio=it.observed,
            ratio_shares={"long": 5000, "short": 5000},
            timeline=course,
            answers_per_day=1e5,
            segments=(Segment("tenant", "a<b", observed),),
            others=("Something loud.",),
        )
    )


@pytest.fixture
def text(report):
    return html_page(report)


def test_it_is_whole_and_every_tag_is_closed(text):
    page = Page(text)

    assert page.open == []
    assert text.startswith("<!doctype html>")
    assert ("html", {"lang": "en"}) in page.tags


def test_it_loads_nothing_and_runs_nothing(text):
    page = Page(text)
    used = {tag for tag, _ in page.tags}

    assert used.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "use", "image", "a", "form"})
    assert re.findall(r"https?://[^\s\"'<]+", text) == ["http://www.w3.org/2000/svg"] * text.count("<svg")
    assert not re.search(r"url\(|@import|@font-face|\son\w+=|javascript:", text)
    policies = [given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_what_people_wrote_is_text(text):
    assert EVIL in Page(text).text
    assert "<script" not in text
    assert "a<b" not in text


def test_it_is_for_light_and_dark_and_for_who_cannot_see(text):
    page = Page(text)
    pictures = [given for tag, given in page.tags if tag == "svg"]
    marks = [given["id"] for _, given in page.tags if "id" in given]

    assert "prefers-color-scheme: dark" in text
    assert len(pictures) >= 4
    assert len(set(marks)) == len(marks)
    for given in pictures:
        assert given["role"] == "img"
        assert set(given["aria-labelledby"].split()) <= set(marks)
    assert all(given.get("scope") == "col" for tag, given in page.tags if tag == "th")
    assert sum(tag == "caption" for tag, _ in page.tags) == sum(tag == "table" for tag, _ in page.tags) >= 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_their_ground(text, scheme):
    """At least 4.5 to 1, as WCAG 2 asks of text."""
    style = text[text.index("<style>") : text.index("</style>")]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", style.split("@media (prefers-color-scheme: dark)")[0]))
    if scheme == "dark":
        colours |= dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", style.split("@media (prefers-color-scheme: dark)")[1]))
    shown = ("text", "dim", "good", "bad", "flat", *(f"a{number}" for number in range(6)))

    assert {name: contrast(colours[name], colours["page"]) >= 4.5 for name in shown} == dict.fromkeys(shown, True)
    assert contrast(colours["text"], colours["loud"]) >= 4.5


def contrast(one, other):
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_figures_of_plots_are_in_tables_too(text, report):
    shown = Page(text).text

    assert "Something loud." in shown
    assert "errors" in shown
    assert "tenant a<b" in shown
    assert report.design in shown
    assert report.conclusions[0] in shown


def test_pictures_are_well_formed(text):
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        root = ET.fromstring(picture)
        _, _, width, height = map(float, root.get("viewBox").split())
        for line in root.iter("{http://www.w3.org/2000/svg}line"):
            assert all(0 <= float(line.get(at)) <= width for at in ("x1", "x2"))
            assert all(0 <= float(line.get(at)) <= height for at in ("y1", "y2"))


@pytest.mark.parametrize(
    ("estimate", "lower", "upper"), [(0, None, None), (0.0, 0.0, 0.0), (1e9, -1e9, None), (-1e-9, None, 1e-9)]
)
def test_odd_intervals_are_drawn(estimate, lower, upper):
    drawn = forest("x", "t", [ForestRow("l", estimate, lower, upper, "told", "better")], "{:.3g}".format)

    ET.fromstring(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_of_nothing_nothing_is_drawn():
    assert forest("x", "t", [], str) == ""
    assert lines("x", "t", [Line("a", ((0.0, 1.0),))], str, str) == ""
    flat = lines("x", "t", [Line("a", ((0.0, 1.0), (1.0, 1.0)))], str, str)
    ET.fromstring(flat)


def test_segments_are_called_exploratory_and_history_is_told(text):
    told = Page(text).text

    assert "Segments (exploratory)" in told
    assert "Segments are exploratory" in told
    assert "No history is used" in told
    assert "variance taken out by history" in told
