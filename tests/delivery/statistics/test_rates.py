"""Bounds of rates hold at any sample, and however often one looks."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.rates import guarded_rate_interval, independent, rate_difference, rate_interval
from podium.delivery.statistics.sequences import sequential_interval
from podium.delivery.statistics.sums import NO_SUMS, Subject, Sums


def arm(hits, trials, each=1):
    """Subjects of `each` trials; the first ones hit."""
    return Sums.of(Subject(min(each, max(0, hits - k * each)), each) for k in range(trials // each))


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3, 0.5, 0.97])
def test_who_looks_after_every_trial_is_misled_no_more_often_than_stated(rate):
    """Exact: the probability of each count of hits among those never misled, trial after trial."""
    alive = {0: 1.0}
    for trials in range(1, 250):
        following = dict.fromkeys(range(trials + 1), 0.0)
        for hits, probability in alive.items():
            following[hits] += probability * (1 - rate)
            following[hits + 1] += probability * rate
        alive = {
            hits: probability
            for hits, probability in following.items()
            if probability > 1e-9 and not ((found := rate_interval(hits, trials)).above(rate) or found.below(rate))
        }

    assert sum(alive.values()) >= 0.95 - 1e-5


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.2))
def test_the_edges_are_where_the_mixture_of_scipy_says(hits, trials, alpha):
    hits = min(hits, trials)
    found = rate_interval(hits, trials, alpha=alpha)
    mixture = stats.betabinom.logpmf(hits, trials, 0.5, 0.5)

    for edge in (found.lower, found.upper):
        if 1e-12 < edge < 1 - 1e-12:
            likelihood = stats.binom.logpmf(hits, trials, edge)
            assert mixture - likelihood == pytest.approx(-np.log(alpha), abs=1e-6)
    assert 0 <= found.lower <= hits / trials <= found.upper <= 1


def test_nothing_tried_nothing_known():
    assert (rate_interval(0, 0).lower, rate_interval(0, 0).upper) == (0, 1)
    assert rate_interval(0, 20).lower == 0
    assert rate_interval(20, 20).upper == 1
    assert rate_interval(0, 20).upper == pytest.approx(0.224, abs=0.001)


def test_an_arm_that_always_fails_is_told_apart_after_few_subjects():
    looks = [n for n in range(1, 60) if guarded_rate_interval(arm(0, n), arm(n, n), side=Side.LOWER).above(0)]

    assert 5 <= looks[0] <= 12
    assert looks == list(range(looks[0], 60))


def test_one_subject_who_always_fails_tells_nothing():
    one = Sums.of([Subject(1000, 1000)])
    among = Sums.of([Subject(1000, 1000), *[Subject(0, 1)] * 5])

    assert independent(one) == (1, 1)
    assert not guarded_rate_interval(arm(0, 1000), one, side=Side.LOWER).above(0)
    assert not guarded_rate_interval(arm(0, 1000), among, side=Side.LOWER).above(0)
    assert independent(NO_SUMS) == (0, 0)


def test_exchanges_that_are_as_unlike_as_strangers_count_fully_and_others_less():
    random = np.random.default_rng(2)
    strangers = Sums.of(Subject(float(hits), 20) for hits in random.binomial(20, 0.2, 3000))
    alike = Sums.of(Subject(20.0 * hits, 20) for hits in random.binomial(1, 0.2, 3000))

    assert independent(strangers)[1] == pytest.approx(60_000, rel=0.1)
    assert independent(alike)[1] == pytest.approx(3000, rel=0.1)
    assert independent(Sums.of([Subject(0, 20)] * 30)) == (0, 30)


def test_with_many_subjects_the_difference_is_that_of_the_sequence_at_nine_tenths():
    one, other = arm(100, 10_000), arm(210, 10_000)

    found = guarded_rate_interval(one, other, alpha=0.05)
    expected = sequential_interval(compare(one, other, rate=True), alpha=0.045)

    assert (found.lower, found.upper) == (expected.lower, expected.upper)
    assert found.above(0)


def test_sides_are_open():
    assert rate_difference((1, 10), (5, 10), side=Side.LOWER).upper == inf
    assert rate_difference((1, 10), (5, 10), side=Side.UPPER).lower == -inf
    both = rate_difference((1, 10), (5, 10))
    assert both.lower < 0.4 < both.upper


def test_arms_of_one_rate_are_rarely_told_apart_from_the_first_subject_on():
    random = np.random.default_rng(8)
    misled = 0
    for _ in range(150):
        hits = (random.random((2, 800)) < 0.03).cumsum(axis=1)
        for n in (2, 5, 10, 20, 40, 60, 100, 200, 400, 800):
            arms = [Sums.from_totals(n, h, n, h, n, h) for h in map(int, hits[:, n - 1])]
            if guarded_rate_interval(*arms, tuning=500, side=Side.LOWER).above(0):
                misled += 1
                break

    assert misled <= 150 * 0.05
