"""Sequences agree with gbstats and confseq, and cover however often one looks.

confseq (Howard and others) comes as C++ sources only, and gbstats 0.8.0 wants numpy < 2: their answers are written here.
"""

from dataclasses import replace
from math import exp, expm1, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.delivery.statistics.effect import Effect, compare
from podium.delivery.statistics.intervals import Interval, Side
from podium.delivery.statistics.sequences import enough, multiplier, sequential_interval, sequential_p_value
from podium.delivery.statistics.sums import Subject, Sums

ROWS_A = [(3, 2), (7, 5), (1, 4), (9, 6), (4, 3), (2, 2), (8, 7), (5, 5)]
ROWS_B = [(5, 2), (9, 5), (3, 4), (9, 4), (6, 3), (4, 2), (12, 7), (6, 5), (10, 6)]


def ratios(rows):
    return Sums.of(Subject(y, x) for y, x in rows)


def effect_of(estimate, variance=1.0, samples=1000.0):
    return Effect(estimate, variance, 100, samples, 500, 0, estimate)


@pytest.mark.parametrize(
    ("samples", "tuning", "alpha", "one_sided", "two_sided"),
    [
        (10, 5000, 0.05, 19.285740488754747, 19.608121555821253),
        (100, 5000, 0.05, 6.504641476653887, 6.694388617066039),
        (100, 100, 0.01, 3.3534546153600786, 3.5716299708704495),
        (3000, 5000, 0.05, 2.79557277267908, 3.060838836504903),
        (5000, 5000, 0.001, 4.026827429129076, 4.205766844390131),
        (100000, 5000, 0.05, 3.087183649212859, 3.3368575337865987),
        (1000000, 20000, 0.005, 3.949234142620384, 4.13581360200499),
    ],
)
def test_boundaries_agree_with_the_normal_mixtures_of_confseq(samples, tuning, alpha, one_sided, two_sided):
    for side, expected in ((Side.LOWER, one_sided), (Side.UPPER, one_sided), (Side.BOTH, two_sided)):
        assert multiplier(samples, alpha=alpha, tuning=tuning, side=side) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("z", "samples", "tuning", "alpha", "expected"),
    [(2.5, 800, 5000, 0.05, 0.15306526873348344), (-1, 800, 5000, 0.05, 1), (5, 6000, 1000, 0.01, 1.7863562110733e-05)],
)
def test_one_sided_p_values_agree_with_the_supermartingale_of_confseq(z, samples, tuning, alpha, expected):
    found = sequential_p_value(effect_of(z, samples=samples), alpha=alpha, tuning=tuning, side=Side.LOWER)

    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("relative", "lower", "upper", "p_value"),
    [
        (False, -0.2961736095280989, 1.3704770151008543, 0.33486247388879087),
        (True, -0.43390483275751396, 1.3704770324876085, 0.5386046876231879),
    ],
)
def test_sequences_of_ratios_agree_with_gbstats(relative, lower, upper, p_value):
    effect = compare(ratios(ROWS_A), ratios(ROWS_B), relative=relative)
    by_subjects = replace(effect, samples=17)  # gbstats takes subjects for its clock

    interval = sequential_interval(by_subjects, tuning=200)

    assert (interval.lower, interval.upper) == (pytest.approx(lower), pytest.approx(upper))
    assert sequential_p_value(by_subjects, tuning=200) == pytest.approx(p_value)


@settings(deadline=None)
@given(st.floats(-8, 8), st.floats(2, 1e6), st.floats(0.001, 0.2), st.sampled_from(Side), st.floats(-2, 2))
def test_a_p_value_is_small_just_when_the_interval_leaves_the_null_out(estimate, samples, alpha, side, null):
    effect = effect_of(estimate, 0.5, samples)

    interval = sequential_interval(effect, alpha=alpha, side=side)
    p_value = sequential_p_value(effect, null=null, alpha=alpha, side=side)

    if min(abs(interval.lower - null), abs(interval.upper - null)) > 1e-6:
        assert (interval.above(null) or interval.below(null)) == (p_value < alpha)


@settings(deadline=None)
@given(st.floats(1, 1e6), st.floats(50, 1e6), st.floats(0.0005, 0.1))
def test_sequences_are_wider_than_fixed_intervals_and_one_side_is_narrower_than_two(samples, tuning, alpha):
    one = multiplier(samples, alpha=alpha, tuning=tuning, side=Side.UPPER)
    two = multiplier(samples, alpha=alpha, tuning=tuning)

    assert 0 < one < two
    assert one > sqrt(2 * log(1 / (2 * alpha)))


def test_a_sequence_is_tightest_where_it_is_tuned_to():
    widths = {tuning: multiplier(5000, alpha=0.05, tuning=tuning) for tuning in (50, 500, 5000, 50_000, 500_000)}

    assert min(widths, key=widths.__getitem__) == 5000


@pytest.mark.parametrize("side", [Side.BOTH, Side.LOWER])
@pytest.mark.parametrize("kind", ["normal", "logarithm of a heavy tail", "rate"])
def test_of_arms_that_are_the_same_few_are_ever_told_apart(kind, side):
    random = np.random.default_rng(3)
    shape = (600, 2, 4000)
    values = {
        "normal": lambda: random.normal(size=shape),
        "logarithm of a heavy tail": lambda: np.log(random.pareto(1.2, size=shape)),
        "rate": lambda: (random.random(shape) < 0.01).astype(float),
    }[kind]()
    looks = np.arange(50, 4000, 25)
    totals, squares = values.cumsum(axis=2)[..., looks - 1], (values**2).cumsum(axis=2)[..., looks - 1]
    variances = (squares - totals**2 / looks) / (looks - 1) / looks
    if kind == "rate":
        floor = (totals + 1) / (looks + 2)
        variances = np.maximum(variances, floor * (1 - floor) / looks)
    z = (totals[:, 1] - totals[:, 0]) / looks / np.sqrt(variances.sum(axis=1))
    bounds = np.array([multiplier(2 * look, alpha=0.05, tuning=1000, side=side) for look in looks])

    told_apart = ((z if side is Side.LOWER else abs(z)) > bounds).any(axis=1).mean()

    assert 0.0 < told_apart <= 0.05


def test_subjects_who_come_back_are_not_news_that_misleads():
    """200 subjects an arm, each unlike the others, seen again and again: looks at every round."""
    random = np.random.default_rng(4)
    told_apart = 0
    for _ in range(300):
        own = random.normal(0, 1, (2, 200, 1))
        rounds = (own + random.normal(0, 1, (2, 200, 60))).cumsum(axis=2)
        for seen in range(1, 61, 3):
            arms = [
                Sums.from_totals(200, y.sum(), 200 * seen, y @ y, 200 * seen**2, seen * y.sum())
                for y in rounds[:, :, seen - 1]
            ]
            if sequential_p_value(compare(*arms), tuning=2000) < 0.05:
                told_apart += 1
                break

    assert told_apart <= 300 * 0.05


def test_what_is_there_is_found():
    effect = effect_of(1.0, 0.01, 5000)

    assert sequential_interval(effect, side=Side.LOWER).above(0.5)
    assert sequential_interval(effect, side=Side.UPPER).below(1.5)
    assert sequential_interval(effect, side=Side.LOWER).upper == inf
    assert sequential_interval(effect, side=Side.UPPER).lower == -inf


def test_one_subject_with_all_the_traffic_is_not_enough():
    crowd, giant = Sums.of([Subject(1, 1)] * 200), Sums.of([Subject(1, 1)] * 199 + [Subject(5e5, 1e6)])

    assert enough(compare(crowd, crowd))
    assert not enough(compare(crowd, giant))
    assert not enough(None)


def test_no_samples_and_no_variance():
    assert multiplier(0, alpha=0.05) == inf
    assert sequential_p_value(effect_of(1, 0)) == 0
    assert sequential_p_value(effect_of(1, 0), side=Side.UPPER) == 1
    assert sequential_p_value(effect_of(1, 0), null=1) == 1
    assert sequential_p_value(effect_of(1, 1, 0)) == 1
    assert sequential_p_value(effect_of(1, 0, 0)) == 1


def test_an_interval_of_logarithms_becomes_one_of_ratios():
    interval = Interval(log(1.2), log(1.1), log(1.3), 0.05).mapped(expm1)

    assert (interval.lower, interval.estimate, interval.upper) == pytest.approx((0.1, 0.2, 0.3))
    assert Interval(0, -inf, inf, 0.05).mapped(exp).lower == -inf
