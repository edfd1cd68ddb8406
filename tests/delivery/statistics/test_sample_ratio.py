"""A wrong split is found, a right one rarely suspected; p-values agree with scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from podium.delivery.statistics.sample_ratio import chi_square_p_value, sample_ratio, sequential_p_value

tables = st.lists(st.tuples(st.integers(0, 5000), st.floats(0.1, 10)), min_size=2, max_size=5)


@settings(deadline=None)
@given(tables.filter(lambda rows: sum(count for count, _ in rows) > 0))
def test_chi_square_agrees_with_scipy(rows):
    counts, shares = (np.array(column) for column in zip(*rows, strict=True))
    expected = stats.chisquare(counts, counts.sum() * shares / shares.sum())

    assert chi_square_p_value(counts.tolist(), shares.tolist()) == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(tables)
def test_the_mixture_agrees_with_scipys_dirichlet_multinomial(rows):
    counts, shares = (np.array(column) for column in zip(*rows, strict=True))
    shares /= shares.sum()
    total = int(counts.sum())
    mixture = stats.dirichlet_multinomial.logpmf(counts, 100 * shares, total)
    declared = stats.multinomial.logpmf(counts, total, shares)

    found = sequential_p_value(counts.tolist(), shares.tolist())

    assert np.log(max(found, 1e-300)) == pytest.approx(max(min(0.0, declared - mixture), np.log(1e-300)), abs=1e-6)


def test_looking_after_every_subject_does_not_raise_false_alarms():
    random = np.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        first = (random.random(3000) < 0.5).cumsum()
        alarms += any(
            sequential_p_value([int(first[n]), n + 1 - int(first[n])], [1, 1]) < 0.05 for n in range(0, 3000, 20)
        )

    assert alarms <= 400 * 0.05


def test_a_wrong_split_is_found():
    found = sample_ratio([5000, 5500], [1, 1])

    assert found.mismatch
    assert found.enough
    assert max(found.p_value, found.sequential_p_value) < 0.001
    assert found.expected == (5250, 5250)


def test_an_arm_that_nobody_reaches_is_found_and_no_verdict_comes_too_soon():
    assert not sample_ratio([15, 0], [1, 1]).enough
    assert not sample_ratio([15, 0], [1, 1]).mismatch
    assert sample_ratio([100, 0], [1, 1]).mismatch


def test_small_differences_are_chance():
    assert not sample_ratio([1000, 1040], [5, 5]).mismatch
    assert not sample_ratio([950, 51], [0.95, 0.05]).mismatch


def test_arms_without_a_share_and_arms_alone_are_no_case():
    assert sample_ratio([100, 5, 110], [1, 0, 1]).counts == (100, 110)
    assert not sample_ratio([], []).enough
    assert sample_ratio([50], [1]).p_value == 1
    assert chi_square_p_value([0, 0], [1, 1]) == 1
