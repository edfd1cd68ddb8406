from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.latency import LatencyWindow

SECOND = 1_000_000_000
BIN = 2 ** (1 / 8)


def test_nothing_counted_has_no_percentile():
    assert LatencyWindow(0).percentile_ms(0.5, 0) is None


@given(st.lists(st.floats(1.0, 900_000.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_right_up_to_one_bin(durations, share):
    window = LatencyWindow(0)
    for duration in durations:
        window.add(duration, 0)
    exact = sorted(durations)[max(1, ceil(share * len(durations))) - 1]
    estimate = window.percentile_ms(share, 0)
    assert exact * (1 - 1e-9) <= estimate <= exact * BIN * (1 + 1e-9)


@pytest.mark.parametrize(("duration", "estimate"), [(0.0, BIN), (-5.0, BIN), (1e12, 2.0**20)])
def test_what_is_outside_counts_at_the_edge(duration, estimate):
    window = LatencyWindow(0)
    window.add(duration, 0)
    assert window.percentile_ms(0.5, 0) == pytest.approx(estimate)


def test_what_is_older_than_two_windows_does_not_count():
    window = LatencyWindow(0, window_s=60)
    window.add(100.0, 59 * SECOND)
    assert window.percentile_ms(0.5, 119 * SECOND) is not None
    assert window.count == 1
    assert window.percentile_ms(0.5, 120 * SECOND) is None
    assert window.count == 0


@given(st.lists(st.tuples(st.integers(0, 200 * SECOND), st.floats(1, 5000)), max_size=60))
def test_the_last_window_always_counts_and_the_one_before_the_last_two_never(adds):
    window, now, added = LatencyWindow(0, window_s=60), 0, []
    for passed, duration in adds:
        now += passed
        window.add(duration, now)
        added.append(now)
        assert sum(now - at < 60 * SECOND for at in added) <= window.count
        assert window.count <= sum(now - at <= 120 * SECOND for at in added)


def test_memory_does_not_grow():
    window = LatencyWindow(0)
    for step in range(5_000):
        window.add(float(step), step * SECOND)
    assert len(window._now) == len(window._before) == 160
