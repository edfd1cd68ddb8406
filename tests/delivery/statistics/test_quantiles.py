"""Quantiles from buckets are those of numpy, to one percent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.delivery.statistics.quantiles import RELATIVE_ERROR, Histogram

times = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=200)


@settings(deadline=None)
@given(times, st.floats(0, 1))
def test_quantiles_agree_with_numpy(values, share):
    expected = np.quantile(values, share, method="lower")

    assert Histogram.of(values).quantile(share) == pytest.approx(expected, rel=RELATIVE_ERROR + 1e-9)


@settings(deadline=None)
@given(times, times)
def test_merging_is_counting_all(one, other):
    merged = Histogram.of(one)
    merged.merge(Histogram.of(other))

    assert merged.counts() == Histogram.of(one + other).counts()
    assert merged.total == len(one) + len(other)
    assert Histogram(merged.counts()).quantile(0.5) == merged.quantile(0.5)


def test_buckets_are_bounded():
    histogram = Histogram.of([-1.0, 0.0, 1e-300, 1e300, *np.geomspace(1e-9, 1e15, 20_000).tolist()])

    assert len(histogram.counts()) <= 1383
    assert histogram.quantile(0) == pytest.approx(0.001, rel=0.01)
    assert histogram.quantile(1) == pytest.approx(1e9, rel=0.01)


def test_nothing_has_no_quantile():
    assert Histogram().quantile(0.5) is None
