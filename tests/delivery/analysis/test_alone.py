"""One version by itself: against limits, and against the version before as it was until the switch."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from podium.core.rollouts import Analysis, ArmShare, Metric, Rollout, Step
from podium.delivery.analysis.alone import (
    LEVEL,
    LIMIT,
    MARGIN,
    RATE_MARGIN,
    WATCH,
    against_before,
    against_limit,
    looks_worse,
    own_interval,
    watched_metrics,
)
from podium.delivery.analysis.before import FEWEST_BEFORE, Reference
from podium.delivery.analysis.compared import Look
from podium.delivery.analysis.observed import observed_of
from podium.delivery.phases import Happening
from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.sums import Subject, Sums

LOOK = Look(alpha=0.01, proof_alpha=0.05, tuning=10_000.0, minimum_subjects=20)
ERRORS = Metric(name="error_rate", tolerance=0.005, absolute=True)
EVERYBODY = (ArmShare(name="candidate", version="new", first=0, count=10_000),)


def sums_of(values):
    return Sums.of(Subject(value) for value in values)


def rate(hits, trials):
    return sums_of([1.0] * hits + [0.0] * (trials - hits))


# Limits


@pytest.mark.parametrize(
    ("name", "limit", "good", "bad"),
    [
        ("error_rate", 0.02, rate(5, 1000), rate(80, 1000)),
        ("ttft_ms", 2000, sums_of([math.log(1500 + n % 700) for n in range(500)]), sums_of([math.log(2500)] * 500)),
        (
            "cost_nanousd",
            5000,
            sums_of([4000 + n % 1500 for n in range(500)]),
            sums_of([6000 + n % 7 for n in range(500)]),
        ),
        (
            "feedback_score",
            0.7,
            sums_of([0.8 + n % 3 / 10 for n in range(500)]),
            sums_of([0.5 + n % 3 / 10 for n in range(500)]),
        ),
    ],
)
def test_an_arm_that_is_surely_beyond_its_limit_is_worse(name, limit, good, bad):
    metric = Metric(name=name, limit=limit)
    well, ill = (against_limit(metric, "candidate", sums, LOOK) for sums in (good, bad))
    assert (well.decision, looks_worse(well)) == ("undecided", False)
    assert (ill.decision, ill.role, ill.reference) == ("worse", LIMIT, limit)
    bound = ill.upper if name == "feedback_score" else ill.lower
    assert abs(bound) <= abs(ill.effect)
    assert msgspec.json.decode(msgspec.json.encode(ill), type=type(ill)) == ill


def test_what_is_beyond_a_limit_and_not_sure_only_looks_worse():
    few = against_limit(Metric(name="error_rate", limit=0.02), "candidate", rate(2, 50), LOOK)
    assert (few.decision, looks_worse(few)) == ("undecided", True)
    one = Sums.of([Subject(900.0, 1000.0)])  # one caller, who nearly always fails
    assert against_limit(Metric(name="error_rate", limit=0.02), "candidate", one, LOOK).decision == "undecided"
    assert against_limit(Metric(name="cost_nanousd", limit=1), "candidate", one, LOOK).decision == "undecided"
    assert against_limit(Metric(name="ttft_ms", limit=1), "candidate", Sums(), LOOK).decision == "no_data"


def test_limits_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="higher_is_better"):
        Metric(name="output_tokens", limit=100)
    assert Metric(name="output_tokens", limit=100, higher_is_better=False).limit == 100
    with pytest.raises(ValueError, match="more than 0"):
        Metric(name="ttft_ms", limit=0)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_limit_returns_a_candidate_at_any_step_though_the_baseline_is_as_bad(kit, share):
    bad = kit.failing(0.2)
    rollout = kit.rollout(Metric(name="error_rate", tolerance=0.05, absolute=True, limit=0.05))
    traffic = kit.Traffic(1).run(800, candidate=bad, baseline=bad, share=share)
    progress = kit.progress() if share < 1 else kit.progress(step=1, arms=EVERYBODY)
    verdict = kit.verdict(traffic, rollout, progress=progress)
    assert (verdict.outcome, verdict.reason) == ("failed", "limit_passed")
    assert "error_rate of arm `candidate` is 0.2" in verdict.detail
    assert "against 0.05 at most: worse by at least" in verdict.detail
    (worse,) = (one for one in verdict.metrics if one.decision == "worse")
    assert (worse.role, worse.reference) == ("limit", 0.05)


def test_a_step_is_not_done_while_a_limit_looks_passed(kit):
    rollout = kit.rollout(
        Metric(name="error_rate", tolerance=0.5, absolute=True, limit=0.05), inconclusive_after_s=300.0
    )
    traffic = kit.Traffic(3).run(400, candidate=kit.failing(0.075))
    verdict = kit.verdict(traffic, rollout)
    assert (verdict.outcome, verdict.reason) == ("running", "looks_worse")
    assert "which is not sure yet" in verdict.detail
    late = kit.verdict(traffic, rollout, kit.START_S + 301)
    assert (late.outcome, late.reason) == ("inconclusive", "time_is_up")


def test_a_backend_that_alone_passes_the_limit_is_taken_out_instead(kit):
    rollout = kit.rollout(Metric(name="empty_rate", tolerance=0.3, absolute=True, limit=0.1))
    traffic = kit.Traffic(4, backends=("p/a", "p/b")).run(1500, bad_backend="p/b", bad=kit.empty(0.5))
    verdict = kit.verdict(traffic, rollout)
    assert (verdict.outcome, verdict.reason) == ("running", "backend_worse")
    assert [one.backend for one in verdict.backends] == ["p/b"]
    assert kit.verdict(traffic, rollout, taken_out=frozenset({"p/b"})).reason == "seen_enough"


# The watch after a switch


def reference(kit, traffic):
    observed = observed_of(traffic.tally)
    return Reference("old", observed, traffic.turn, kit.START_S - 600, kit.START_S)


def after_switch(kit, before, after, rollout=None, now_s=None):
    """The verdict after a switch."""
    rollout = rollout or kit.rollout(steps=(Step(percent=50), Step(percent=100, minimum_s=10)))
    progress = kit.progress(step=1, arms=EVERYBODY)
    return kit.verdict(after, rollout, now_s, progress, before=reference(kit, before))


def test_after_a_switch_the_version_before_is_the_reference_and_the_verdict_says_so(kit):
    before = kit.Traffic(1).run(600, share=0.0)
    good = after_switch(kit, before, kit.Traffic(2).run(400, share=1.0))
    assert (good.outcome, good.reason) == ("success", "seen_enough")
    assert "not compared at the same time: `old` had 600 exchanges from 2025-" in good.detail
    assert {one.name for one in good.metrics if one.role == WATCH} == {
        "error_rate",
        "empty_rate",
        "invalid_format_rate",
        "ttft_ms",
    }
    bad = after_switch(kit, before, kit.Traffic(2).run(400, share=1.0, candidate=kit.failing(0.2)))
    assert (bad.outcome, bad.reason) == ("failed", "worse_than_before")
    assert "of the version before: worse by at least" in bad.detail
    assert "not compared at the same time" in bad.detail
    (worse,) = (one for one in bad.metrics if one.decision == "worse")
    assert (worse.name, worse.reference_samples) == ("error_rate", 600)
    assert worse.lower > worse.margin == pytest.approx(0.005 + RATE_MARGIN)
    assert worse.alpha == pytest.approx(0.05 * LEVEL / 4)


def test_with_too_few_exchanges_before_only_limits_and_bursts_hold_and_it_is_said(kit):
    failing = kit.Traffic(2).run(400, share=1.0, candidate=kit.failing(0.3))
    few = after_switch(kit, kit.Traffic(1).run(FEWEST_BEFORE - 1, share=0.0), failing)
    assert few.outcome == "success"
    assert f"had {FEWEST_BEFORE - 1} exchanges" in few.detail
    assert "only limits and bursts hold" in few.detail
    none = kit.verdict(failing, kit.rollout(), kit.START_S + 90, kit.progress(step=1, arms=EVERYBODY))
    assert "no exchange of `old` was counted before the switch" in none.detail


def test_a_step_is_not_done_while_the_new_version_looks_worse_than_the_old_one_did(kit):
    before = kit.Traffic(1).run(600, share=0.0)
    verdict = after_switch(
        kit, before, kit.Traffic(5).run(60, share=1.0, candidate=kit.failing(0.1)), None, kit.START_S + 90
    )
    assert (verdict.outcome, verdict.reason) == ("running", "looks_worse")


def test_while_the_old_version_shows_itself_the_verdict_counts(kit):
    rollout = Rollout(model="m", candidate="new", strategy="blue_green")
    everybody = (ArmShare(name="baseline", version="old", first=0, count=10_000),)
    verdict = kit.verdict(kit.Traffic(1).run(42, share=0.0), rollout, progress=kit.progress(arms=everybody))
    assert (verdict.outcome, verdict.happening) == ("success", Happening.STEP_DONE)
    assert verdict.detail.startswith("nobody has the new version yet but testers; ")
    assert "`old` has had 42 exchanges; 200 are needed for its successor to be watched by them" in verdict.detail


def test_what_is_watched_is_the_usual_four_and_declared_guardrails_of_which_less_is_better():
    names = lambda *metrics: {one.name for one in watched_metrics(Analysis(metrics=metrics))}  # noqa: E731 - a word
    usual = {"error_rate", "empty_rate", "invalid_format_rate", "ttft_ms"}
    assert names() == usual
    assert names(Metric(name="cost_nanousd"), Metric(name="judge_score"), Metric(name="output_tokens")) == {
        *usual,
        "cost_nanousd",
    }
    assert names(Metric(name="error_rate", role="info")) == usual - {"error_rate"}


def test_margins_of_all_but_rates_are_factors():
    before, worse = (
        sums_of([math.log(100 + n % 9) for n in range(400)]),
        sums_of([math.log(165 + n % 9) for n in range(400)]),
    )
    metric = Metric(name="ttft_ms", tolerance=0.1)
    told = against_before(metric, "candidate", before, worse, LOOK)
    assert told.decision == "undecided"  # 62% more, of 65% that are tolerated
    assert told.margin == pytest.approx(MARGIN * 1.1 - 1)
    assert not looks_worse(told)
    twice = sums_of([math.log(210 + n % 9) for n in range(400)])
    assert against_before(metric, "candidate", before, twice, LOOK).decision == "worse"
    cheap, dear = (sums_of([price + n % 9 for n in range(400)]) for price in (1000, 2000))
    cost = Metric(name="cost_nanousd", tolerance=0.1)
    assert against_before(cost, "candidate", cheap, dear, LOOK).decision == "worse"
    assert against_before(cost, "candidate", dear, cheap, LOOK).decision == "undecided"
    assert against_before(cost, "candidate", sums_of([0.0] * 400), dear, LOOK).decision == "no_data"


@given(some.integers(0, 300), some.integers(0, 300), some.integers(1, 300))
def test_two_versions_whose_intervals_overlap_are_never_told_apart(bad_before, bad_now, trials):
    before, now = rate(min(bad_before, trials), trials), rate(min(bad_now, trials), trials)
    told = against_before(ERRORS, "candidate", before, now, LOOK)
    old = own_interval(before, LOOK.alpha / 2, Side.UPPER, rate=True, minimum=50)
    new = own_interval(now, LOOK.alpha / 2, Side.LOWER, rate=True, minimum=50)
    assert (told.decision == "worse") == (new.lower > old.upper + told.margin)


# How often, and how soon: subjects who differ in how often their requests fail and in how long they take


SUBJECTS, BEFORE, MOST = 300, 600, 1000
ALPHA = 0.05 * LEVEL / 4
OWN = Look(alpha=ALPHA, proof_alpha=0.05, tuning=10_000.0, minimum_subjects=20)


class Version:
    """Exchanges of one version, by one source of chance."""

    def __init__(self, chance, busy, clumsy, slow, *, errors, factor=1.0):
        self.chance, self.busy, self.clumsy, self.slow = chance, busy, clumsy * errors, slow + math.log(factor)
        self.totals = np.zeros((3, SUBJECTS))  # exchanges, errors, logarithms of times

    def more(self, count):
        who = self.chance.choice(SUBJECTS, count, p=self.busy)
        failed = self.chance.random(count) < self.clumsy[who]
        np.add.at(self.totals[0], who, 1)
        np.add.at(self.totals[1], who, failed)
        np.add.at(self.totals[2], who, self.slow[who] + self.chance.normal(0, 0.5, count))
        return self

    def sums(self, row):
        seen = self.totals[0] > 0
        x, y = self.totals[0][seen], self.totals[row][seen]
        dx, dy = x - x.mean(), y - y.mean()
        return Sums(len(x), y.mean(), x.mean(), yy=dy @ dy, xx=dx @ dx, xy=dx @ dy)


def returned_after(seed, *, errors=0.01, errors_after=None, factor=1.0, every=25):
    """Exchanges after which the watch returns it; None: not within 1,000."""
    chance = np.random.default_rng([20_261_122, seed])
    busy = chance.lognormal(0, 0.8, SUBJECTS)
    traits = busy / busy.sum(), chance.gamma(2, 0.5, SUBJECTS), chance.normal(5, 0.4, SUBJECTS)
    before = Version(chance, *traits, errors=errors).more(BEFORE)
    after = Version(chance, *traits, errors=errors if errors_after is None else errors_after, factor=factor)
    metrics = (ERRORS, 1), (Metric(name="ttft_ms", tolerance=0.1), 2)
    known = [(metric, row, before.sums(row)) for metric, row in metrics]
    for seen in range(every, MOST + 1, every):
        after.more(every)
        if any(
            against_before(metric, "new", was, after.sums(row), OWN).decision == "worse" for metric, row, was in known
        ):
            return seen
    return None


@pytest.mark.parametrize(
    ("name", "change"),
    [("equal", {}), ("a bad hour", {"errors_after": 0.025, "factor": 1.3}), ("many errors anyway", {"errors": 0.1})],
)
def test_a_version_that_is_no_worse_is_hardly_ever_returned_though_it_is_looked_at_all_the_time(name, change):
    runs = 60
    returned = sum(returned_after(seed, every=50, **change) is not None for seed in range(runs))
    assert not returned, name  # of 60; were it 5%, none would be by chance once in twenty


def test_a_green_with_a_fifth_of_errors_is_returned_within_400_exchanges():
    after = [returned_after(seed, errors_after=0.2) for seed in range(40)]
    assert None not in after
    assert max(after) <= 400
    assert sorted(after)[20] <= 200


def test_a_green_that_takes_three_times_as_long_is_returned_within_1000_exchanges():
    after = [returned_after(seed, factor=3.0) for seed in range(30)]
    assert None not in after
