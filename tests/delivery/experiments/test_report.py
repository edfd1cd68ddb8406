import random

import pytest
from msgspec.structs import replace

from podium.core.experiments import ArmEnd
from podium.core.rollouts import Metric
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.observed import Observed
from podium.delivery.buckets import arms_at
from podium.delivery.experiments.effects import effect_of
from podium.delivery.experiments.money import DAYS_A_MONTH
from podium.delivery.experiments.report import Seen, Segment, report_of

START_S = 1_760_000_000.0


@pytest.fixture
def reported():
    """The report of a world."""

    def report(it, /, **changes):
        observed = it.observed
        fields = {
            "name": "prompts",
            "rollout": it.rollout,
            "progress": it.progress,
            "design_now": it.progress.design,
            "now_unix_s": START_S + 1000,
            "observed": {arm.name: observed for arm in it.rollout.arms},
            "ratio": observed,
            "ratio_shares": {share.name: share.count for share in arms_at(it.rollout, 0, it.progress.before)},
            "answers_per_day": 1000.0,
        }
        return report_of(Seen(**(fields | changes)))

    return report


@pytest.fixture
def cheaper(world):
    """Short costs a tenth less; 300 exchanges of each arm, 100 planned."""

    def make(**design):
        it, chance = world(**design), random.Random(1)
        it.see_costs("long", [chance.gauss(2e6, 1e5) for _ in range(300)])
        it.see_costs("short", [chance.gauss(1.8e6, 1e5) for _ in range(300)])
        return it

    return make


def test_a_complete_experiment_is_believed_and_concluded(cheaper, reported):
    found = reported(cheaper(method="fixed"))

    assert (found.complete, found.believable, found.warnings, found.decided_by) == (True, True, (), "fixed")
    assert found.effects[0].role == "primary"
    assert found.effects[0].finding == "better"
    (told,) = found.conclusions
    assert told.startswith("short: cost of an answer (cost_nanousd) is $0.001")
    assert told.endswith("That is better.")
    assert found.design == "d" * 64
    assert [(arm.name, arm.exchanges, arm.planned, arm.share, arm.complete) for arm in found.arms] == [
        ("long", 300, 0.5, 0.5, True),
        ("short", 300, 0.5, 0.5, True),
    ]


def test_stopped_before_its_sample_it_says_so_loudly_and_goes_by_sequences(cheaper, reported):
    it = cheaper(method="fixed", samples=5000)
    it.progress = replace(it.progress, phase="aborted", arms=(), changed_unix_s=START_S + 500)
    found = reported(it)

    assert (found.ended, found.complete, found.decided_by) == (True, False, "sequential")
    assert found.warnings[0].startswith("STOPPED BEFORE ITS PLANNED SAMPLE: long 300, short 300 of 5,000 exchanges.")
    assert "fixed horizon are not valid then; sequential ones are" in found.warnings[0]
    assert found.until_unix_s == START_S + 500
    assert [arm.share for arm in found.arms] == [None, None]


def test_while_a_fixed_horizon_is_not_reached_it_says_so(cheaper, reported):
    found = reported(cheaper(method="fixed", samples=301))
    assert found.warnings[0].startswith("NOT AT ITS PLANNED SAMPLE")
    assert found.decided_by == "sequential"
    assert reported(cheaper(samples=301)).warnings == ()  # sequences may be looked at


def test_another_design_than_the_frozen_one_is_told(cheaper, reported):
    found = reported(cheaper(), design_now="e" * 64)

    assert (found.design_unchanged, found.believable) == (False, False)
    assert "(eeeeeeeeeeee) is not the one that was frozen (dddddddddddd)" in found.warnings[0]


def test_arms_of_other_sizes_than_designed_are_told_and_not_believed(world, reported, lonely):
    it = world()
    subjects = lonely(500)
    it.see_costs("long", [1000] * 350, subjects=subjects[:350])
    it.see_costs("short", [1000] * 150, subjects=subjects[350:])
    found = reported(it)

    assert found.ratio.mismatch
    assert found.ratio.counts == {"long": 350, "short": 150}
    assert found.ratio.expected == {"long": 250.0, "short": 250.0}
    assert not found.believable
    assert "NO EFFECT CAN BE BELIEVED" in found.warnings[0].upper()


def test_when_shares_are_not_known_their_ratio_is_not_checked(cheaper, reported):
    assert reported(cheaper(), ratio_shares={}).ratio is None


def test_an_arm_that_was_taken_out_is_told(world, reported):
    it = world(arms=("a", "b", "c"), samples=10)
    for arm in "abc":
        it.see_costs(arm, [1000 + number for number in range(20)])
    it.progress = replace(it.progress, arms=tuple(share for share in it.progress.arms if share.name != "b"))
    found = reported(it)

    assert [arm.taken_out for arm in found.arms] == [False, True, False]
    assert any("Arm b was taken out" in warning for warning in found.warnings)
    assert {row.arm for row in found.effects} == {"b", "c"}  # what was seen until then is shown

    end = ArmEnd(arm="b", unix_s=START_S, reason="metric_failed", detail="it failed", measure="error_rate", lower=0.1)
    it.progress = replace(it.progress, ended=(end,), phase="aborted", arms=())
    found = reported(it)
    assert [arm.ended for arm in found.arms] == [None, end, None]
    assert [arm.taken_out for arm in found.arms] == [False, True, False]
    told = "Arm b ended on 2025-10-09 at 08:53:20 UTC, a guardrail failed: it failed."
    assert f"{told} Only what was seen until then is compared." in found.warnings


def test_money_is_told_per_arm_and_what_the_difference_is_worth(cheaper, reported):
    found = reported(cheaper(method="fixed")).money
    long, short = found.arms

    assert found.answers_per_month == pytest.approx(1000 * DAYS_A_MONTH)
    assert long.per_thousand_usd == pytest.approx(2.0, rel=0.01)
    assert long.total_usd == pytest.approx(0.6, rel=0.01)
    assert (long.difference_month_usd, long.difference_lower_usd) == (None, None)
    assert short.difference_month_usd == pytest.approx(short.month_usd - long.month_usd)
    assert short.difference_lower_usd < short.difference_month_usd < short.difference_upper_usd < 0
    assert short.month_usd == pytest.approx(1.8 * 30.44, rel=0.01)


def test_without_traffic_months_are_not_told(cheaper, reported):
    found = reported(cheaper(), answers_per_day=None).money
    assert found.answers_per_month is None
    assert [arm.difference_month_usd for arm in found.arms] == [None, None]
    assert found.arms[1].per_thousand_usd is not None


def test_segments_show_the_primary_measure_and_the_guardrails(cheaper, reported):
    it = cheaper()
    observed = {arm.name: it.observed for arm in it.rollout.arms}
    found = reported(it, segments=(Segment("tier", "gold", observed), Segment("tenant", "empty", {})))

    (segment,) = found.segments
    assert (segment.kind, segment.name) == ("tier", "gold")
    assert [(row.measure, row.role) for row in segment.effects] == [
        ("cost_nanousd", "primary"),
        ("error_rate", "guardrail"),
    ]


def test_before_anything_was_seen_there_is_a_report_too(world, reported):
    found = reported(world())
    assert (found.effects, found.conclusions, found.complete) == ((), (), False)
    assert [arm.exchanges for arm in found.arms] == [0, 0]


def test_what_ended_by_itself_says_why(cheaper, reported):
    it = cheaper(samples=10)
    it.progress = replace(it.progress, phase="returned", reason="metric_failed", detail="error_rate is worse", arms=())
    assert "It ended by itself: metric_failed. error_rate is worse" in reported(it).warnings


def points(names=("long", "short")):
    return tuple(
        Point(
            unix_s=int(START_S) + 60 * minute, arm=name, exchanges=10 + place, measures={"cost_nanousd": 1e6 + minute}
        )
        for minute in range(5)
        for place, name in enumerate(names)
    )


def test_its_course_goes_along(cheaper, reported):
    assert len(reported(cheaper(), timeline=points()).timeline) == 10


def test_the_level_is_shared_out_over_the_segments_that_compare_two_arms(cheaper, reported):
    it = cheaper(metrics=(Metric(name="error_rate"), Metric(name="output_tokens", role="info")))
    both = dict.fromkeys(("long", "short"), it.observed)
    lonely_arm = Observed(cells=tuple(cell for cell in it.observed.cells if cell.arm == "long"))
    alone = dict.fromkeys(("long", "short"), lonely_arm)
    parts = [Segment("tag", f"region={name}", both) for name in "abc"] + [Segment("key", "k1", alone)]
    found = reported(it, segments=tuple(parts), segments_note="Some are missing.")

    assert {row.alpha for segment in found.segments for row in segment.effects} == {0.05 / 3}
    assert [row.measure for row in found.segments[0].effects] == ["cost_nanousd", "error_rate", "output_tokens"]
    assert all(segment.exploratory for segment in found.segments)
    assert found.segments_note.startswith("Segments are exploratory")
    assert "in 3, which share its level" in found.segments_note
    assert found.segments_note.endswith("Some are missing.")
    whole, part = (rows[0].sequential for rows in (found.effects, found.segments[0].effects))
    assert part.upper - part.lower > whole.upper - whole.lower
    assert found.segments[-1].effects[0].finding == "no_data"


def test_a_segment_does_not_fail_a_guardrail_as_easily_as_everybody(world):
    it = world(metrics=(Metric(name="error_rate", tolerance=0.01, absolute=True),))
    it.see_costs("long", [1e6] * 400)
    it.see_costs("short", [1e6] * 320)
    it.see_costs("short", [1e6] * 30, reason="upstream_error", fault="upstream", status=502)
    rows = [effect_of(it.rollout, it.observed, "short", "error_rate", looks=looks) for looks in (1, 10**12)]

    assert [row.guardrail_failed for row in rows] == [True, False]


def test_without_history_the_report_says_so(cheaper, reported):
    found = reported(cheaper())

    assert not found.history.used
    assert found.history.sentence == "No history is used: none was read."
    assert {row.variance_reduction for row in found.effects} == {None}
