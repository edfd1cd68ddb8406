import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.rollouts import Analysis, Metric, Rollout
from podium.delivery.burst import WINDOW, Burst, Trip, burst_of, counts_empty


def test_so_many_failures_in_a_row_trip_it_and_one_success_between_them_does_not():
    burst = Burst(3, 1.0)
    assert [burst.record(failed=one) for one in (True, True, False, True, True)] == [False] * 5
    assert burst.record(failed=True)
    assert burst.tripped is Trip.IN_A_ROW
    assert (burst.failures, burst.of) == (5, 6)


def test_it_stays_tripped_and_says_so_once():
    burst = Burst(1, 1.0)
    assert burst.record(failed=True)
    assert not any(burst.record(failed=one) for one in (False, True) * WINDOW)
    assert burst.tripped is Trip.IN_A_ROW


@given(st.lists(st.booleans(), max_size=200), st.sampled_from([0.1, 0.5, 0.02]))
def test_a_share_of_the_last_fifty_trips_it(outcomes, share):
    burst = Burst(1000, share)
    for index, failed in enumerate(outcomes):
        tripped = burst.tripped
        said = burst.record(failed=failed)
        failures = sum(outcomes[max(0, index + 1 - WINDOW) : index + 1])
        assert burst.failures == failures
        if tripped is None:
            assert said == (failed and failures >= share * WINDOW)


@pytest.mark.parametrize(
    ("analysis", "counted"),
    [
        (Analysis(), True),
        (None, False),
        (Analysis(metrics=(Metric(name="error_rate"),)), False),
        (Analysis(metrics=(Metric(name="empty_rate", role="info"),)), False),
    ],
)
def test_empty_answers_are_failures_where_they_are_watched(analysis, counted):
    rollout = Rollout(model="m", candidate="v", analysis=analysis)
    assert counts_empty(rollout) is counted
    assert burst_of(rollout).in_a_row_at_most == 10
