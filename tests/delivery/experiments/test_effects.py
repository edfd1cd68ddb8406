"""Reports of known data against scipy and statsmodels."""

import math
import random

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from podium.core.event import AnswerFlag
from podium.core.rollouts import Metric
from podium.delivery.experiments.effects import decided, effect_of


def welch(one, other, alpha=0.05):
    """Mean difference and its interval, as statsmodels has them."""
    means = CompareMeans(DescrStatsW(other), DescrStatsW(one))
    low, high = means.tconfint_diff(alpha=alpha, usevar="unequal")
    return float(np.mean(other) - np.mean(one)), low, high


def test_times_are_compared_as_welch_compares_their_logarithms(world, lonely):
    chance = random.Random(1)
    it = world(primary="duration_ms", effect=0.1, method="fixed")
    before, after = ([chance.lognormvariate(mean, 0.5) for _ in range(240)] for mean in (6.0, 6.1))
    for arm, times in (("long", before), ("short", after)):
        for subject, ms in zip(lonely(240), times, strict=True):
            it.see(arm, subject, ended_ns=int(ms * 1e6), first_byte_ns=10**6)
    row = effect_of(it.rollout, it.observed, "short", "duration_ms")
    wanted = welch(*(np.log([int(ms * 1e6) / 1e6 for ms in times]) for times in (before, after)))

    assert (row.effect, row.fixed.lower, row.fixed.upper) == pytest.approx(
        [math.expm1(one) for one in wanted], rel=1e-6
    )
    confidence = stats.ttest_ind(np.log(after), np.log(before), equal_var=False).confidence_interval(0.95)
    assert math.log1p(row.fixed.upper) == pytest.approx(confidence.high, rel=1e-5)
    assert row.scale == "relative"
    assert row.value == pytest.approx(stats.gmean(after), rel=1e-6)


def test_rates_are_compared_as_welch_compares_ones_and_noughts(world, lonely):
    chance = random.Random(2)
    it = world(primary="empty_rate", effect=0.1, method="fixed")
    arms = {arm: [chance.random() < rate for _ in range(300)] for arm, rate in (("long", 0.3), ("short", 0.45))}
    for arm, empty in arms.items():
        for subject, one in zip(lonely(300), empty, strict=True):
            it.see(arm, subject, answer_flags=int(AnswerFlag.EMPTY) * one)
    row = effect_of(it.rollout, it.observed, "short", "empty_rate")
    wanted = welch(np.array(arms["long"], float), np.array(arms["short"], float))

    assert (row.effect, row.fixed.lower, row.fixed.upper) == pytest.approx(wanted, rel=1e-6)
    assert (row.scale, row.finding) == ("absolute", "worse")


def test_costs_are_compared_as_shares_by_the_delta_method(world):
    """A ratio of means: the variance of log(a/b) is the sum of squared coefficients of variation of the means."""
    chance = random.Random(3)
    it = world(method="fixed")
    before, after = ([int(chance.gauss(mean, 3e5)) for _ in range(400)] for mean in (2e6, 1.7e6))
    it.see_costs("long", before)
    it.see_costs("short", after)
    row = effect_of(it.rollout, it.observed, "short", "cost_nanousd")
    means = [np.mean(one) for one in (before, after)]
    errors = [stats.sem(one) for one in (before, after)]
    share = means[1] / means[0]
    deviation = share * math.hypot(errors[0] / means[0], errors[1] / means[1])

    assert row.effect == pytest.approx(share - 1, rel=1e-9)
    assert (row.fixed.upper - row.effect) / deviation == pytest.approx(stats.t.ppf(0.975, 790), rel=1e-3)
    assert (row.finding, row.role, row.samples, row.reference_samples) == ("better", "primary", 400, 400)


def test_sequential_intervals_are_wider_and_hold_the_same_estimate(world):
    chance = random.Random(4)
    it = world()
    it.see_costs("long", [chance.gauss(2e6, 3e5) for _ in range(300)])
    it.see_costs("short", [chance.gauss(2e6, 3e5) for _ in range(300)])
    row = effect_of(it.rollout, it.observed, "short", "cost_nanousd")

    assert row.sequential.lower < row.fixed.lower < row.effect < row.fixed.upper < row.sequential.upper
    assert row.finding == "no_difference_seen"


def test_the_finding_goes_by_the_interval_that_counts(world):
    """Two and a half standard errors: enough for one look, not for many."""
    chance = random.Random(5)
    it = world(method="fixed")
    costs = [chance.gauss(2e6, 2e5) for _ in range(200)]
    it.see_costs("long", costs)
    it.see_costs("short", [cost - 2.5 * 2e5 * math.sqrt(2 / 200) for cost in costs])

    assert effect_of(it.rollout, it.observed, "short", "cost_nanousd").finding == "better"
    assert effect_of(it.rollout, it.observed, "short", "cost_nanousd", by="sequential").finding == "no_difference_seen"


def test_the_level_of_the_primary_measure_is_shared_out_over_the_arms(world):
    it = world(arms=("a", "b", "c"), alpha=0.06, primary="output_tokens", higher_is_better=False)
    for arm in "abc":
        it.see_costs(arm, [10**6 + 1000 * number for number in range(60)])
    observed = it.observed

    assert effect_of(it.rollout, observed, "b", "output_tokens").alpha == pytest.approx(0.03)
    assert effect_of(it.rollout, observed, "b", "cost_nanousd").alpha == pytest.approx(0.06)


def test_guardrails_tell_that_they_failed_and_roles_are_as_declared(world, lonely):
    guard = Metric(name="error_rate", tolerance=0.01, absolute=True)
    it = world(metrics=(guard, Metric(name="empty_rate", role="goal")))
    for number, subject in enumerate(lonely(400)):
        failed = number % 3 == 0
        it.see("long", subject)
        it.see("short", subject, reason="upstream_error" if failed else "ok", fault="upstream" if failed else "nobody")
    rows = {name: effect_of(it.rollout, it.observed, "short", name) for name in ("error_rate", "empty_rate")}

    assert (rows["error_rate"].role, rows["error_rate"].guardrail_failed) == ("guardrail", True)
    assert (rows["empty_rate"].role, rows["empty_rate"].guardrail_failed) == ("goal", False)


def test_of_few_subjects_and_of_nothing_it_says_so(world):
    it = world()
    it.see_costs("long", [1000] * 5)
    it.see_costs("short", [2000] * 5)
    observed = it.observed

    assert effect_of(it.rollout, observed, "short", "cost_nanousd").finding == "too_few"
    assert effect_of(it.rollout, observed, "short", "judge_score") is None
    assert not decided(it.rollout, observed, ["short"])


def test_it_is_decided_when_each_arm_is_told_apart(world):
    chance = random.Random(6)
    it = world(arms=("a", "b", "c"))
    it.see_costs("a", [chance.gauss(2e6, 2e5) for _ in range(300)])
    it.see_costs("b", [chance.gauss(1e6, 2e5) for _ in range(300)])
    it.see_costs("c", [chance.gauss(2e6, 2e5) for _ in range(300)])
    observed = it.observed

    assert decided(it.rollout, observed, ["b"])
    assert not decided(it.rollout, observed, ["b", "c"])
    assert not decided(it.rollout, observed, [])
