import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.queueing.saturation import Saturation

S = 1_000_000_000


@pytest.mark.parametrize(
    ("in_flight", "limit", "wait_s", "figure"),
    [
        (0, 10, 0, 0),
        (5, 10, 0, 0.5),
        (10, 10, 0, 1),
        (10, 10, 5, 1.5),
        (10, 10, 20, 3),
        (12, 10, 0, 1.2),
        (0, 0, 0, 0),
        (0, 0, 5, 1.5),
        (3, 0, 0, 1),
    ],
)
def test_it_is_the_places_in_use_and_the_wait(in_flight, limit, wait_s, figure):
    saturation = Saturation(10.0, 0)
    assert saturation.observe(S, in_flight=in_flight, limit=limit, wait_s=wait_s) == pytest.approx(figure)
    assert saturation.latest == pytest.approx(figure)


def test_a_step_is_followed_as_documented():
    saturation = Saturation(10.0, 0, smoothing_s=15)
    saturation.observe(0, in_flight=10, limit=10, wait_s=0)
    assert saturation.smoothed(15 * S) == pytest.approx(0.632, abs=0.001)
    assert saturation.smoothed(45 * S) == pytest.approx(0.950, abs=0.001)


def test_a_spike_between_two_looks_weighs_as_long_as_it_lasted():
    saturation = Saturation(10.0, 0, smoothing_s=15)
    saturation.observe(0, in_flight=10, limit=10, wait_s=100)
    saturation.observe(S // 100, in_flight=0, limit=10, wait_s=0)
    assert saturation.smoothed(S // 100) < 0.01


@given(st.lists(st.tuples(st.integers(0, 5 * S), st.integers(0, 10)), min_size=1, max_size=20), st.integers(1, 10))
def test_how_often_somebody_looks_does_not_matter(steps, looks):
    seldom, often = Saturation(10.0, 0), Saturation(10.0, 0)
    now_ns = 0
    for elapsed_ns, in_flight in steps:
        seldom.observe(now_ns, in_flight=in_flight, limit=10, wait_s=0)
        for look in range(looks):
            often.observe(now_ns + elapsed_ns * look // looks, in_flight=in_flight, limit=10, wait_s=0)
        now_ns += elapsed_ns
        assert often.smoothed(now_ns) == pytest.approx(seldom.smoothed(now_ns), abs=1e-9)
        assert 0 <= seldom.smoothed(now_ns) <= 1


def test_times_are_positive():
    for wrong in ((0, 15), (10, 0)):
        with pytest.raises(ValueError):
            Saturation(wrong[0], 0, smoothing_s=wrong[1])
