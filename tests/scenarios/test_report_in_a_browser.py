"""The report of an experiment as people open it: a file in a real browser, wide and narrow, light, dark and printed."""

import os
import random
from functools import cache

import pytest

from podium.core.event import AnswerFlag
from podium.core.experiments import Adaptive, Experiment
from podium.core.rollouts import Analysis, Arm, Metric, Progress, Rollout, Step
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.observed import Observed, observed_of
from podium.delivery.analysis.tally import Tally, span_us
from podium.delivery.buckets import arms_at
from podium.delivery.experiments.page import html_page
from podium.delivery.experiments.report import Seen, Segment, report_of
from podium.testing.browser import Browser, browser_program
from podium.testing.events import make_event

pytestmark = pytest.mark.scenario

START_S = 1_760_000_000.0
WIDTHS = (400, 1280)
SMALLEST_TEXT = 10.0  # pixels
EVIL = "</title></svg><script>document.title='broken in'</script><img src=x onerror=\"document.title='broken in'\">"
LONG = "a-version-with-a-name-that-is-as-long-as-names-may-be/" * 3
LONG_NAMES = tuple(f"{LONG[:124]}-{number}" for number in range(1, 7))

# Where everything on the page is, in pixels of the page.
LAYOUT = """
(() => {
  const box = (one) => {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return { left: left + scrollX, right: right + scrollX, top: top + scrollY, bottom: bottom + scrollY };
  };
  const shown = (one) => one.getClientRects().length > 0;
  const colour = (one, what) => getComputedStyle(one)[what];
  return {
    wide: document.documentElement.scrollWidth,
    view: document.documentElement.clientWidth,
    ground: colour(document.body, "backgroundColor"),
    ink: colour(document.body, "color"),
    plots: [...document.querySelectorAll("svg")].filter(shown).map((plot) => ({
      title: plot.querySelector("title").textContent,
      box: box(plot),
      texts: [...plot.querySelectorAll("text")].map((text) => ({
        text: text.textContent,
        box: box(text),
        size: parseFloat(colour(text, "fontSize")) * plot.getScreenCTM().a,
        ink: colour(text, "fill"),
      })),
      marks: [...plot.querySelectorAll("circle, line.interval")].map(box),
    })),
    blocks: [...document.querySelectorAll("h1, h2, p, caption, .scroll, .box")].filter(shown).map((block) => ({
      text: block.textContent.slice(0, 60),
      box: box(block),
      cut: block.scrollWidth > block.clientWidth + 1 && colour(block, "overflowX") !== "auto",
      scrolls: block.scrollWidth > block.clientWidth + 1,
    })),
    cells: [...document.querySelectorAll("td, th")].map((cell) => ({
      text: cell.textContent.slice(0, 60),
      cut: cell.scrollWidth > cell.clientWidth + 1,
      width: cell.getBoundingClientRect().width,
    })),
  };
})()
"""


def browser_or_skip():
    """None where there is no browser and there need not be one."""
    try:
        browser_program()
    except FileNotFoundError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def browser():
    browser_or_skip()
    with Browser() as browser:
        yield browser


@cache
def observed(arms, *, seed=1, subjects=250):
    """What was seen of each arm: later ones are cheaper, slower, and fail more often."""
    chance, tally = random.Random(seed), Tally()
    span = span_us(START_S)
    for place, arm in enumerate(arms):
        for number in range(subjects):
            failed = chance.random() < 0.01 * (1 + place)
            event = make_event(
                started_unix_ns=int((START_S + 60 * number) * 1e9),
                rollout="prompts",
                arm=arm,
                subject=f"{place:08x}{number:08x}",
                finish_reason="stop",
                answer_flags=int(AnswerFlag.EMPTY) if chance.random() < 0.02 else 0,
                cost_nanousd=int(1e6 * chance.lognormvariate(0, 0.4) * 0.85**place),
                output_tokens=chance.randrange(20, 400),
                first_byte_ns=int(4e8 * chance.lognormvariate(0, 0.5) * 1.1**place),
                ended_ns=int(9e9 * chance.lognormvariate(0, 0.3)),
                **({"reason": "upstream_error", "fault": "upstream"} if failed else {}),
            )
            tally.add(event, span)
            if not failed and number % 3 == 0:
                tally.add_opinion(event, span, "judge_score", chance.random())
                tally.add_opinion(event, span, "thumbs_up_rate", float(chance.random() < 0.7))
    return observed_of(tally, {span: 0})


def seen(arms, *, nothing=False, segments=(), **more):
    """All that a report reads, of an experiment of these arms."""
    rollout = Rollout(
        model=more.pop("model", "chat"),
        strategy="ab",
        arms=tuple(Arm(name=arm, version=f"v-{arm}") for arm in arms),
        steps=(Step(percent=100, minimum_s=1),),
        analysis=Analysis(
            metrics=(
                Metric(name="error_rate", tolerance=0.01, absolute=True),
                Metric(name="empty_rate", tolerance=0.02, absolute=True),
                Metric(name="ttft_ms", tolerance=0.1),
            )
        ),
        experiment=Experiment(
            hypothesis=more.pop("hypothesis", "A short prompt makes answers a tenth cheaper, and no worse."),
            primary="cost_nanousd",
            effect=-0.1,
            samples=2000,
            adaptive=Adaptive() if len(arms) > 2 else None,
        ),
    )
    shares = arms_at(rollout, 0, f"v-{arms[0]}")
    progress = Progress(
        phase="running",
        before=f"v-{arms[0]}",
        salt="s",
        arms=shares,
        started_unix_s=START_S,
        step_unix_s=START_S,
        design="d" * 64,
        reason=more.pop("reason", "prepared"),
    )
    whole = Observed() if nothing else observed(arms)
    chance = random.Random(2)
    course = tuple(
        Point(
            unix_s=int(START_S) + 600 * at,
            arm=arm,
            exchanges=chance.randrange(20, 60),
            measures={"cost_nanousd": 1e6 * 0.85**place * chance.uniform(0.9, 1.1)},
        )
        for at in range(0 if nothing else 60)
        for place, arm in enumerate(arms)
    )
    return Seen(
        rollout=rollout,
        progress=progress,
        design_now="d" * 64,
        now_unix_s=START_S + 36_000,
        observed=dict.fromkeys(arms, whole),
        ratio=whole,
        ratio_shares={share.name: share.count for share in shares},
        timeline=course,
        answers_per_day=None if nothing else 120_000.0,
        segments=tuple(
            Segment(kind, name, {arm: observed(arms, seed=2 + number % 2, subjects=60) for arm in arms})
            for number, (kind, name) in enumerate(segments)
        ),
        **{"name": "prompts"} | more,
    )


SORTS = {
    "usual": lambda: seen(
        ("long", "short"), segments=[("tenant", "acme"), ("tenant", "umbrella"), ("tier", "gold"), ("tier", "trial")]
    ),
    "two arms with long names": lambda: seen(LONG_NAMES[:2], segments=[("tenant", LONG_NAMES[0])], name=LONG_NAMES[3]),
    "many of everything": lambda: seen(
        LONG_NAMES,
        segments=[("tenant", f"{LONG[:number]}{number}") for number in range(1, 14)]
        + [("tier", f"tier-{number}") for number in range(4)],
        name=LONG_NAMES[0],
        model=LONG_NAMES[1],
        hypothesis="x" * 2000,
        others=tuple(f"Warning {number}: {LONG}" for number in range(3)),
        segments_note="Tenants that were counted together are not shown.",
    ),
    "written by an enemy": lambda: seen(
        (EVIL, f"b{EVIL}"),
        segments=[("tenant", EVIL), ("tier", "\u202e\u0000<!--")],
        name=EVIL,
        model=EVIL,
        hypothesis=EVIL,
        reason=EVIL,
        others=(EVIL,),
        segments_note=EVIL,
    ),
    "nothing was seen": lambda: seen(("long", "short"), nothing=True),
}
LOOKS = [(width, look) for width in WIDTHS for look in ({}, {"dark": True})] + [(700, {"printed": True})]


@pytest.fixture(params=SORTS)
def report(request, tmp_path):
    """A report's name, and its file."""
    file = tmp_path / "report.html"
    file.write_text(html_page(report_of(SORTS[request.param]())))
    return request.param, file


def inside(inner, outer):
    """Whether a box lies in another, but for a pixel."""
    within = outer["left"] - 1 <= inner["left"] and inner["right"] <= outer["right"] + 1
    return within and outer["top"] - 1 <= inner["top"] and inner["bottom"] <= outer["bottom"] + 1


def meet(one, other):
    """Whether two boxes have more than a pixel in common."""
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    return across > 1 and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 1


def brightness(colour):
    """Of `rgb(1, 2, 3)`: 0 to 1."""
    return sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) / 765


def check_plot(plot, view):
    box, texts = plot["box"], plot["texts"]
    assert box["right"] - box["left"] > 250, plot["title"]
    assert box["bottom"] - box["top"] > 60, plot["title"]
    assert box["left"] >= 0, plot["title"]
    assert box["right"] <= view, plot["title"]
    assert texts
    for number, one in enumerate(texts):
        assert inside(one["box"], box), (plot["title"], one["text"])
        assert one["size"] >= SMALLEST_TEXT, (plot["title"], one["text"])
        assert [other["text"] for other in texts[:number] if meet(one["box"], other["box"])] == [], one["text"]
        assert not any(meet(one["box"], mark) for mark in plot["marks"]), (plot["title"], one["text"])


def test_it_can_be_read_wherever_it_is_opened(report, browser):
    name, file = report
    browser.open(file)

    for width, look in LOOKS:
        browser.look(width=width, **look)
        seen = browser.evaluate(LAYOUT)

        assert seen["wide"] <= seen["view"] == width
        assert (brightness(seen["ground"]) < 0.2) == bool(look.get("dark"))
        assert abs(brightness(seen["ground"]) - brightness(seen["ink"])) > 0.6
        assert len(seen["plots"]) == (0 if name == "nothing was seen" else 6)
        for plot in seen["plots"]:
            check_plot(plot, seen["view"])
            assert all(abs(brightness(text["ink"]) - brightness(seen["ground"])) > 0.3 for text in plot["texts"])
        for block in seen["blocks"]:
            assert 0 <= block["box"]["left"] <= block["box"]["right"] <= seen["view"], block["text"]
        if name == "usual" and width > 1000:
            assert [block["text"] for block in seen["blocks"] if block["scrolls"]] == []
        cut = [one["text"] for one in (*seen["blocks"], *seen["cells"]) if one["cut"]]
        assert cut == []
        assert max(cell["width"] for cell in seen["cells"]) < 800
    assert browser.requested == [file.as_uri()]
    assert browser.problems == []


def test_an_enemys_words_are_words(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(html_page(report_of(SORTS["written by an enemy"]())))
    browser.open(file)

    assert browser.evaluate("document.title") == f"Experiment {EVIL}"
    assert browser.evaluate("document.querySelector('h1').textContent") == f"Experiment {EVIL}"
    assert browser.evaluate("[...document.querySelectorAll('script, img, a, iframe, link')].length") == 0
    assert browser.evaluate("document.body.textContent.split(\"document.title='broken in'\").length - 1") > 20
    assert browser.evaluate("[...document.querySelectorAll('body > *')].map((one) => one.localName)") == ["main"]
    assert browser.requested == [file.as_uri()]
    assert browser.problems == []


def test_what_these_tests_look_for_would_be_seen(browser, tmp_path):
    """A page that is wrong in every way: else all the others prove nothing."""
    file = tmp_path / "wrong.html"
    (tmp_path / "other.css").write_text("body { color: red; }")
    file.write_text(
        "<!doctype html><link rel=stylesheet href=other.css><body style='margin: 0'>"
        "<svg viewBox='0 0 720 90' width='900' height='90'><title>t</title><text x='700' y='20'>much too long</text>"
        "<text x='10' y='40'>one</text><text x='12' y='42'>other</text><circle cx='20' cy='40' r='9'/></svg>"
        "<p style='width: 9em; overflow: hidden; white-space: nowrap'>more than there is room for in this</p>"
        "<script>nowhere();</script>"
    )
    browser.open(file)
    browser.look(width=400)
    seen = browser.evaluate(LAYOUT)
    (plot,) = seen["plots"]
    too_long, one, other = (text["box"] for text in plot["texts"])

    assert seen["wide"] > seen["view"] == 400
    assert plot["box"]["right"] > 400
    assert not inside(too_long, plot["box"])
    assert meet(one, other)
    assert meet(one, plot["marks"][0])
    assert [block["cut"] for block in seen["blocks"]] == [True]
    assert browser.requested == [file.as_uri(), (tmp_path / "other.css").as_uri()]
    assert "nowhere is not defined" in browser.problems[0]
    browser.look(width=800, dark=True)
    assert browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert browser.evaluate("matchMedia('(max-width: 800px)').matches")
