"""Shares are what sampling would give on average, and no arm goes without."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from podium.delivery.statistics.sums import Subject, Sums
from podium.delivery.statistics.thompson import BetaBelief, NormalBelief, best_probabilities, thompson_weights


@pytest.mark.parametrize(
    "counts", [[(3, 17), (5, 15)], [(0, 40), (1, 39), (4, 36)], [(200, 9800), (230, 9770)], [(0, 0), (5, 0)]]
)
def test_rates_agree_with_integrals_of_scipy(counts):
    beliefs = [stats.beta(hits + 1, misses + 1) for hits, misses in counts]
    expected = [
        integrate.quad(
            lambda rate, own=own: own.pdf(rate) * np.prod([other.cdf(rate) for other in beliefs if other is not own]),
            *own.ppf([1e-14, 1 - 1e-14]),
            epsabs=1e-11,
            limit=200,
        )[0]
        for own in beliefs
    ]

    assert best_probabilities([BetaBelief(*count) for count in counts]) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 3), st.floats(0.1, 3))
def test_of_two_means_the_chance_is_known(apart, one, other):
    found = best_probabilities([NormalBelief(0, one), NormalBelief(apart, other)])

    assert found[1] == pytest.approx(stats.norm.cdf(apart / np.hypot(one, other)), abs=1e-6)


def test_several_means_agree_with_draws():
    beliefs = [NormalBelief(1.0, 0.3), NormalBelief(1.2, 0.5), NormalBelief(0.4, 0.1), NormalBelief(1.1, 0.2)]
    random = np.random.default_rng(7)
    draws = np.column_stack([random.normal(belief.mean, belief.deviation, 400_000) for belief in beliefs])

    for higher, best in ((True, draws.argmax(axis=1)), (False, draws.argmin(axis=1))):
        expected = np.bincount(best, minlength=4) / len(best)
        assert best_probabilities(beliefs, higher_is_better=higher) == pytest.approx(expected, abs=0.004)


def test_every_arm_keeps_its_floor_and_the_best_gets_the_rest():
    weights = thompson_weights([BetaBelief(10, 990), BetaBelief(100, 900), BetaBelief(12, 988)], floor=0.05)

    assert weights == pytest.approx([0.05, 0.9, 0.05], abs=1e-6)
    assert sum(weights) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=5), st.floats(0, 0.2))
def test_shares_add_up_and_none_is_below_the_floor(counts, floor):
    weights = thompson_weights([BetaBelief(*count) for count in counts], floor=floor)

    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= floor - 1e-12


def test_of_equals_each_gets_as_much():
    assert thompson_weights([BetaBelief(3, 4)] * 4, floor=0) == pytest.approx([0.25] * 4)
    assert thompson_weights([], floor=0) == []


def test_while_an_arm_is_unknown_all_get_as_much():
    assert thompson_weights([None, BetaBelief(90, 10)], floor=0.1) == [0.5, 0.5]


def test_floors_have_to_fit():
    with pytest.raises(ValueError, match="floors"):
        thompson_weights([None] * 3, floor=0.4)


def test_a_belief_from_sums():
    belief = NormalBelief.of_sums(Sums.of(Subject(float(value)) for value in (1, 2, 3, 4)))

    assert belief == NormalBelief(2.5, pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2))
    assert NormalBelief.of_sums(Sums()) is None
    assert NormalBelief.of_sums(Sums.of([Subject(1)] * 3)) is None
