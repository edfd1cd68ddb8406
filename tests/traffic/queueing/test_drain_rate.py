import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.queueing.drain_rate import DrainRate

S = 1_000_000_000


def steady(rate, *, per_s, from_s, to_s):
    for n in range(int((to_s - from_s) * per_s)):
        rate.finished(int((from_s + (n + 1) / per_s) * S))


def test_nothing_is_known_before_a_few_calls_have_ended():
    rate = DrainRate()
    rate.busy(0)
    rate.finished(S)
    rate.finished(2 * S)
    assert rate.per_s(2 * S) is None
    rate.finished(3 * S)
    assert rate.per_s(3 * S) == pytest.approx(1.0)


def test_a_steady_pool_shows_its_rate():
    rate = DrainRate()
    rate.busy(0)
    steady(rate, per_s=40, from_s=0, to_s=60)
    assert rate.per_s(60 * S) == pytest.approx(40, rel=0.02)


def test_idle_time_is_not_slowness():
    rate = DrainRate()
    for start in range(0, 100, 10):
        rate.busy(start * S)
        steady(rate, per_s=20, from_s=start, to_s=start + 2)
        rate.idle((start + 2) * S)
        rate.finished((start + 5) * S)  # at ease: says nothing about what it can do
    assert rate.per_s(150 * S) == pytest.approx(20, rel=0.05)


def test_cost_is_what_is_counted():
    rate = DrainRate()
    rate.busy(0)
    for n in range(1, 21):
        rate.finished(n * S // 2, cost=500)
    assert rate.per_s(10 * S) == pytest.approx(1000)


def test_a_change_shows_within_a_window():
    rate = DrainRate(window_s=10)
    rate.busy(0)
    steady(rate, per_s=100, from_s=0, to_s=20)
    steady(rate, per_s=10, from_s=20, to_s=31.5)
    assert rate.per_s(int(31.5 * S)) == pytest.approx(10, rel=0.1)


def test_a_busy_pool_that_finishes_nothing_gets_slower_but_never_zero():
    rate = DrainRate(window_s=10)
    rate.busy(0)
    steady(rate, per_s=100, from_s=0, to_s=10)
    rates = [rate.per_s((10 + n) * S) for n in range(0, 15, 3)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] <= 0.1


def test_a_pool_that_never_finished_anything_is_slow_after_a_window():
    rate = DrainRate(window_s=10)
    rate.busy(0)
    assert rate.per_s(9 * S) is None
    assert rate.per_s(20 * S) == pytest.approx(0.1, rel=0.2)


def test_what_was_measured_long_ago_is_forgotten():
    rate = DrainRate()
    rate.busy(0)
    steady(rate, per_s=10, from_s=0, to_s=10)
    rate.idle(10 * S)
    assert rate.per_s(600 * S) == pytest.approx(10, rel=0.05)
    assert rate.per_s(611 * S) is None


@given(st.lists(st.tuples(st.sampled_from(["busy", "idle", "finished"]), st.integers(-S, 30 * S)), max_size=60))
def test_it_stays_within_what_was_finished_whatever_the_clock_does(steps):
    rate, now_ns, highest = DrainRate(), 0, 0
    for what, elapsed_ns in steps:
        now_ns += elapsed_ns
        highest = max(now_ns, highest)
        getattr(rate, what)(now_ns)
        per_s = rate.per_s(now_ns)
        assert per_s is None or per_s > 0
        assert len(rate._ring) <= 11
        assert sum(rate._ring) == rate._sum
