"""Sums merge, come apart, and follow a subject whose totals change, without losing digits."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.delivery.statistics.sums import NO_SUMS, Subject, Sums

values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
subjects = st.builds(Subject, values, st.floats(0, 1e4).map(lambda value: round(value, 3)), values)
several = st.lists(subjects, max_size=30)


def reference(rows: list[Subject]) -> Sums:
    """By numpy, in two passes."""
    if not rows:
        return NO_SUMS
    data = np.array(rows)
    means = data.mean(axis=0)
    (yy, yx, yz), (_, xx, xz), (_, _, zz) = (data - means).T @ (data - means)
    return Sums(len(rows), *map(float, means), *map(float, (yy, xx, yx, zz, yz, xz)))


def assert_same(one: Sums, other: Sums):
    """Equal but for the last digits of what the numbers are made of."""
    scale = max(1.0, *(abs(mean) for mean in (one.y, one.x, one.z)))
    spread = max(1.0, one.yy, one.xx, one.zz, scale**2)
    assert one.n == other.n
    assert astuple(one)[1:4] == pytest.approx(astuple(other)[1:4], rel=1e-9, abs=1e-9 * spread**0.5)
    assert astuple(one)[4:] == pytest.approx(astuple(other)[4:], rel=1e-9, abs=1e-9 * spread * max(1, one.n))


@settings(deadline=None)
@given(several)
def test_sums_are_those_of_numpy(rows):
    assert_same(Sums.of(rows), reference(rows))


@settings(deadline=None)
@given(several, several)
def test_merging_is_adding_all(one, other):
    assert_same(Sums.of(one).merge(Sums.of(other)), reference(one + other))


@settings(deadline=None)
@given(several, several)
def test_subtracting_undoes_merging(one, other):
    whole = Sums.of(one).merge(Sums.of(other))

    rest = whole.subtract(Sums.of(other))

    spread = max(1.0, whole.yy, whole.xx, whole.zz, *(mean**2 for mean in (whole.y, whole.x, whole.z)))
    assert rest.n == len(one)
    assert astuple(rest)[1:4] == pytest.approx(astuple(reference(one))[1:4], abs=1e-8 * spread**0.5)
    assert astuple(rest)[4:] == pytest.approx(astuple(reference(one))[4:], abs=1e-8 * spread * max(1, whole.n))


@settings(deadline=None)
@given(st.lists(subjects, min_size=1, max_size=20), st.lists(st.tuples(st.integers(0, 19), subjects), max_size=20))
def test_a_subject_whose_totals_change_is_as_if_it_had_always_been_so(rows, changes):
    sums, now = Sums.of(rows), list(rows)
    scale = max(abs(value) for row in (*rows, *(new for _, new in changes)) for value in row)
    for place, new in changes:
        which = place % len(now)
        sums = sums.replace(now[which], new)
        now[which] = new

    expected = reference(now)
    assert sums.n == expected.n
    assert astuple(sums)[1:4] == pytest.approx(astuple(expected)[1:4], abs=1e-9 * max(1.0, scale))
    assert astuple(sums)[4:] == pytest.approx(astuple(expected)[4:], abs=1e-9 * max(1.0, scale**2) * len(now))


@settings(deadline=None)
@given(several)
def test_plain_totals_say_the_same(rows):
    data = np.array(rows or [(0.0, 0.0, 0.0)])[: len(rows)]
    y, x, z = data.T if len(rows) else (np.zeros(0),) * 3
    totals = [float(v) for v in (y.sum(), x.sum(), y @ y, x @ x, x @ y, z.sum(), z @ z, z @ y, z @ x)]

    assert_same(Sums.from_totals(len(rows), *totals), reference(rows))


def test_a_large_mean_costs_no_digits():
    far = 1e9
    rows = [Subject(far + offset) for offset in (4, 7, 13, 16)]

    assert Sums.of(rows).yy == 90.0
    assert Sums.of(rows[:2]).merge(Sums.of(rows[2:])).yy == 90.0


def test_what_an_arm_says():
    sums = Sums.of([Subject(2, 4), Subject(1, 8)])

    assert (sums.total_y, sums.total_x, sums.ratio) == (3, 12, 0.25)
    assert (NO_SUMS.ratio, NO_SUMS.effective_subjects) == (None, 0.0)


def test_one_subject_with_all_the_traffic_counts_as_one():
    crowd = [Subject(0, 1) for _ in range(99)]

    assert Sums.of([*crowd, Subject(0, 1)]).effective_subjects == pytest.approx(100)
    assert Sums.of([*crowd, Subject(0, 1_000_000)]).effective_subjects == pytest.approx(1, abs=0.001)


def test_what_is_not_there_cannot_be_taken_away():
    with pytest.raises(ValueError, match="no more subjects"):
        NO_SUMS.subtract(Sums.of([Subject(1)]))
    with pytest.raises(ValueError, match="no subject"):
        NO_SUMS.replace(Subject(1), Subject(2))
