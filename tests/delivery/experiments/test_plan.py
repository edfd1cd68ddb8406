import math

import pytest
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

from podium.core.errors import InvalidRequest
from podium.core.rollouts import Metric
from podium.delivery.experiments.plan import Base, Question, expected_of, guard_plan, plan
from podium.delivery.statistics.planning import Expected, Look


def by_method(made):
    return {one.method: one for one in made.methods}


def planned(measure="error_rate", value=0.02, deviation=None, /, *, base=None, **question):
    known = base or Base(expected_of(measure, value, deviation))
    return plan(Question(measure, **question), known)


def test_a_rate_takes_as_many_as_statsmodels_says():
    told = samplesize_proportions_2indep_onetail(
        diff=0.01, prop2=0.02, power=0.8, ratio=1, alpha=0.025, value=0, alternative="larger"
    )
    fixed = by_method(planned(effect=0.01))["fixed"]

    assert fixed.samples == pytest.approx(told, rel=0.02)


def test_a_mean_takes_as_many_as_statsmodels_says():
    """A difference of a fifth of a standard deviation in points of a score."""
    told = NormalIndPower().solve_power(effect_size=0.2, alpha=0.05, power=0.9, ratio=1)
    fixed = by_method(planned("judge_score", 0.5, 0.25, effect=0.05, power=0.9))["fixed"]

    assert fixed.samples == math.ceil(told)
    assert TTestIndPower().power(0.2, fixed.samples, 0.05) == pytest.approx(0.9, abs=0.001)


def test_an_unequal_split_takes_more_and_says_so_of_the_smallest_arm():
    told = NormalIndPower().solve_power(effect_size=0.2, alpha=0.05, power=0.8, ratio=0.25)  # of the larger arm
    made = planned("judge_score", 0.5, 0.25, effect=0.05, weights=(4.0, 1.0))
    fixed = by_method(made)["fixed"]

    assert fixed.samples == pytest.approx(told / 4, abs=1)
    assert fixed.total == pytest.approx(told * 1.25, abs=2)


def test_several_arms_share_the_level():
    told = NormalIndPower().solve_power(effect_size=0.2, alpha=0.05 / 2, power=0.8)

    assert by_method(planned("judge_score", 0.5, 0.25, effect=0.05, weights=(1, 1, 1)))["fixed"].samples == math.ceil(
        told
    )


def test_a_time_is_planned_as_a_factor_of_the_typical_one():
    """Log-normal times: a tenth slower is log(1.1) on the scale where they are normal."""
    mean, deviation = 800.0, 600.0
    spread = math.sqrt(math.log1p((deviation / mean) ** 2))
    told = NormalIndPower().solve_power(effect_size=math.log(1.1) / spread, alpha=0.05, power=0.8)
    made = planned("ttft_ms", mean, deviation, effect=0.1)

    assert by_method(made)["fixed"].samples == math.ceil(told)
    assert made.base == pytest.approx(mean / math.sqrt(1 + (deviation / mean) ** 2))
    assert made.deviation == pytest.approx(spread)


def test_a_sequence_takes_more_than_a_fixed_horizon():
    found = by_method(planned(effect=0.01))

    assert 1.2 < found["sequential"].samples / found["fixed"].samples < 3


@pytest.mark.parametrize(
    ("measure", "value", "deviation", "effect"),
    [
        ("error_rate", 0.02, None, 0.01),
        ("error_rate", 0.2, None, -0.05),
        ("cost_nanousd", 1000000.0, 800000.0, -0.1),
        ("ttft_ms", 800, 600, 0.1),
        ("judge_score", 0.5, 0.25, -0.05),
    ],
)
def test_what_can_be_seen_in_the_samples_that_an_effect_takes_is_that_effect(measure, value, deviation, effect):
    wanted = planned(measure, value, deviation, effect=effect)
    for one in wanted.methods:
        back = planned(measure, value, deviation, effect=effect, samples=one.samples)

        assert by_method(back)[one.method].detectable == pytest.approx(effect, rel=0.02)


def test_however_large_the_effect_there_are_subjects_enough():
    given = by_method(planned("judge_score", 0.5, 0.01, effect=0.4))
    busy = Base(Expected(0.5, 0.01**2, samples_per_subject=20))
    of_busy_ones = by_method(planned("judge_score", base=busy, effect=0.4, weights=(3, 1)))

    assert {one.samples for one in given.values()} == {50}
    assert {one.samples for one in of_busy_ones.values()} == {1000}


def test_a_guardrail_is_planned_on_one_side_and_beyond_its_tolerance():
    told = NormalIndPower().solve_power(effect_size=0.2, alpha=0.05, power=0.8, alternative="larger")
    for sign in (1, -1):
        made = planned("judge_score", 0.5, 0.25, effect=sign * 0.07, tolerance=0.02)
        assert by_method(made)["fixed"].samples == math.ceil(told)
    spread = math.sqrt(math.log1p((600 / 800) ** 2))
    told = NormalIndPower().solve_power(
        effect_size=(math.log(1.3) - math.log(1.1)) / spread, alpha=0.05, power=0.8, alternative="larger"
    )
    made = planned("ttft_ms", 800, 600, effect=0.3, tolerance=0.1)
    assert by_method(made)["fixed"].samples == math.ceil(told)


@pytest.mark.parametrize(
    ("metric", "expected", "tolerance", "falls"),
    [
        (Metric(name="error_rate", tolerance=0.01, absolute=True), Expected.of_rate(0.02), 0.01, False),
        (Metric(name="error_rate", tolerance=0.5), Expected.of_rate(0.02), 0.01, False),
        (Metric(name="thumbs_up_rate", tolerance=0.1, absolute=True), Expected.of_rate(0.6), -0.1, True),
        (Metric(name="ttft_ms", tolerance=0.1), expected_of("ttft_ms", 800, 600), 0.1, False),
        (Metric(name="ttft_ms", tolerance=64, absolute=True), expected_of("ttft_ms", 800, 600), 0.1, False),
        (Metric(name="cost_nanousd", tolerance=0.1), Expected(1e6, 1e11), 0.1, False),
        (Metric(name="cost_nanousd", tolerance=1e5, absolute=True), Expected(1e6, 1e11), 1e5, False),
    ],
)
def test_what_a_guardrail_notices_is_beyond_its_tolerance_and_nearer_with_more(metric, expected, tolerance, falls):
    few, many = (
        guard_plan(metric, expected, Look(alpha=0.02, tuning=10_000.0), samples, 0.8) for samples in (2000, 200_000)
    )

    assert few.tolerance == many.tolerance == pytest.approx(tolerance)
    assert abs(many.tolerance) < abs(many.notices) < abs(few.notices)
    assert (few.notices < 0) == falls
    assert abs(many.notices - many.tolerance) < 0.2 * abs(few.notices - few.tolerance)


def test_days_are_of_the_traffic_that_takes_part():
    base = Base(expected_of("error_rate", 0.02, None), exchanges_per_day=1000.0)
    whole = by_method(planned(base=base, effect=0.01))["fixed"]
    half = by_method(planned(base=base, effect=0.01, share=0.5))["fixed"]

    assert whole.days == pytest.approx(whole.total / 1000, rel=0.001)
    assert half.days == pytest.approx(2 * whole.days)
    back = by_method(planned(base=base, effect=0.01, days=whole.days))["fixed"]
    assert back.detectable == pytest.approx(0.01, rel=0.01)


def test_measures_that_not_every_exchange_tells_take_more_exchanges():
    streams = Base(expected_of("ttft_ms", 800, 600), samples_per_exchange=0.25)
    every = Base(expected_of("ttft_ms", 800, 600))

    assert by_method(planned("ttft_ms", base=streams, effect=0.1))["fixed"].samples == pytest.approx(
        4 * by_method(planned("ttft_ms", base=every, effect=0.1))["fixed"].samples, rel=0.01
    )


@pytest.mark.parametrize(
    ("question", "parameter"),
    [
        ({}, "effect"),
        ({"effect": 0}, "effect"),
        ({"effect": -0.5}, "effect"),
        ({"effect": 0.01, "weights": (1,)}, "weights"),
        ({"effect": 0.01, "weights": (1, 0)}, "weights"),
        ({"days": 7}, "days"),
        ({"effect": 0.01, "tolerance": -0.01}, "tolerance"),
    ],
)
def test_what_cannot_be_planned_is_refused(question, parameter):
    with pytest.raises(InvalidRequest) as told:
        planned(**question)

    assert told.value.parameter == parameter


@pytest.mark.parametrize(
    ("measure", "value", "deviation", "parameter"),
    [
        ("error_rate", 0, None, "base"),
        ("error_rate", 1.5, None, "base"),
        ("cost_nanousd", 5, None, "deviation"),
        ("ttft_ms", 0, 5, "base"),
        ("cost_nanousd", 0, 5, "base"),
    ],
)
def test_what_cannot_be_known_is_refused(measure, value, deviation, parameter):
    with pytest.raises(InvalidRequest) as told:
        expected_of(measure, value, deviation)

    assert told.value.parameter == parameter


def test_it_is_told_what_makes_the_figures_doubtful():
    def warned(**known):
        fields = {"expected": Expected.of_rate(0.02), "exchanges_per_day": 1e6, **known}
        return " ".join(planned(base=Base(**fields), effect=0.01).warnings)

    assert "first guess" in warned(samples=20, subjects=500)
    assert "one subject" in warned(samples=2000, subjects=1, by_subject=False)
    assert "7 subjects were seen" in warned(samples=2000, subjects=7)
    assert "no traffic" in warned(exchanges_per_day=0)
    assert "four weeks" in warned(exchanges_per_day=10)
    assert "less than a week" in warned()
