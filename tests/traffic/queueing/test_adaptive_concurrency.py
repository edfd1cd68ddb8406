"""The limit against a simulated backend: `knee` calls are worked on at once, the others stand in its own queue."""

import heapq
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.traffic.queueing.adaptive_concurrency import AimdLimit, CallOutcome, ConcurrencyPolicy, GradientLimit

OK, OVERLOADED, IGNORED = CallOutcome
MS, S = 1_000_000, 1_000_000_000


def exponential(rng, mean_ms):
    return rng.expovariate(1 / mean_ms)


def lognormal(rng, mean_ms):
    return mean_ms * rng.lognormvariate(-0.125, 0.5)


def run(
    limiter,
    until_s,
    *,
    knee=lambda _now_s: 20,
    time_ms=lambda _now_s: 200,
    draw=lognormal,
    seed=1,
    refuses=False,
    load=10**9,
    tail_ms=0,
):
    """Keep as many calls as the limit (or `load`) lets in flight; (when, limit, for how long), ns.

    `refuses`: the backend answers at once that it is overloaded in place of queueing. `tail_ms`: how long an answer
    goes on after its first content, at most; it is worked on for nothing meanwhile.
    """
    rng, now, queue, working, events, trace, serial = random.Random(seed), 0, deque(), 0, [], [], 0
    in_flight = 0
    while now < until_s * S:
        while in_flight < min(limiter.limit, load):
            limiter.started(now)
            in_flight += 1
            queue.append(now)
        while queue and (working < knee(now / S) or refuses):
            began, serial = queue.popleft(), serial + 1
            if working >= knee(now / S):
                heapq.heappush(events, (now + 5 * MS, serial, began, "refused"))
                continue
            working += 1
            heapq.heappush(events, (now + int(draw(rng, time_ms(now / S)) * MS), serial, began, "content"))
        before = now
        now, number, began, what = heapq.heappop(events)
        trace.append((before, limiter.limit, now - before))
        if what == "content":
            working -= 1
            if tail_ms:
                limiter.first_content(now, (now - began) / MS)
                heapq.heappush(events, (now + int(rng.random() * tail_ms * MS), number, began, None))
                continue
            in_flight -= 1
            limiter.ended(now, (now - began) / MS, OK)
        else:
            in_flight -= 1
            limiter.ended(now, None, OVERLOADED if what == "refused" else OK)
    return trace


def mean_limit(trace, from_s, to_s):
    part = [(limit, held) for at, limit, held in trace if from_s * S <= at < to_s * S]
    return sum(limit * held for limit, held in part) / sum(held for _, held in part)


@pytest.mark.parametrize("draw", [exponential, lognormal])
@pytest.mark.parametrize(("knee", "seed"), [(15, 1), (15, 2), (40, 1), (40, 2), (100, 1)])
def test_the_gradient_finds_the_knee(knee, draw, seed):
    limiter = GradientLimit(ConcurrencyPolicy(), 0)
    trace = run(limiter, 90, knee=lambda _now_s: knee, draw=draw, seed=seed)
    assert mean_limit(trace, 40, 90) == pytest.approx(knee, rel=0.2)


@pytest.mark.parametrize("knee", [1, 3, 6])
def test_a_small_knee_is_found_but_for_two_places(knee):
    limiter = GradientLimit(ConcurrencyPolicy(), 0)
    trace = run(limiter, 600, knee=lambda _now_s: knee)
    assert knee * 0.9 <= mean_limit(trace, 300, 600) <= knee + 2


def test_the_gradient_follows_a_knee_that_moves():
    knee = lambda now_s: 40 if now_s < 60 else 20 if now_s < 120 else 60  # noqa: E731 - a table
    trace = run(GradientLimit(ConcurrencyPolicy(), 0), 180, knee=knee)
    assert mean_limit(trace, 30, 60) == pytest.approx(40, rel=0.2)
    assert mean_limit(trace, 80, 120) == pytest.approx(20, rel=0.2)
    assert mean_limit(trace, 140, 180) == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize(("before_ms", "after_ms"), [(200, 500), (300, 100)])
def test_a_backend_that_becomes_slower_or_faster_is_not_taken_for_a_loaded_one(before_ms, after_ms):
    trace = run(
        GradientLimit(ConcurrencyPolicy(), 0),
        200,
        knee=lambda _now_s: 30,
        time_ms=lambda now_s: before_ms if now_s < 50 else after_ms,
    )
    assert mean_limit(trace, 110, 200) == pytest.approx(30, rel=0.2)


def test_a_slower_backend_is_recognised_at_the_minimum_too():
    policy = ConcurrencyPolicy(minimum=20, initial=20)
    trace = run(GradientLimit(policy, 0), 250, knee=lambda _now_s: 30, time_ms=lambda now_s: 200 if now_s < 50 else 500)
    assert mean_limit(trace, 150, 250) == pytest.approx(30, rel=0.2)


def test_a_call_that_began_before_the_round_says_nothing_about_it():
    limiter = GradientLimit(ConcurrencyPolicy(), 10 * S)
    limiter.started(9 * S)
    limiter.first_content(11 * S, 2000.0)
    assert limiter._samples == []
    limiter.first_content(11 * S, 900.0)
    assert limiter._samples == [900.0]


def test_a_round_that_does_not_come_together_begins_again():
    limiter = GradientLimit(ConcurrencyPolicy(), 0)
    for _ in range(5):
        limiter.first_content(S, 100.0)
    limiter.first_content(700 * S, 100.0)
    assert limiter._samples == []


def test_a_long_answer_is_no_congestion():
    limiter = GradientLimit(ConcurrencyPolicy(), 0)
    trace = run(limiter, 400, knee=lambda _now_s: 1000, tail_ms=20_000)
    assert mean_limit(trace, 300, 400) > 100


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_limit_that_nobody_runs_up_against_stays_as_it_is(seed):
    for kind in (GradientLimit, AimdLimit):
        limiter = kind(ConcurrencyPolicy(initial=8), 0)
        run(limiter, 50, load=4, seed=seed)
        assert limiter.limit == 8


@pytest.mark.parametrize("load", [5, 6, 7])
def test_nobody_is_held_back_for_a_measurement_while_the_limit_bounds_nobody(load):
    limiter = GradientLimit(ConcurrencyPolicy(initial=8), 0)
    assert min(limit for _, limit, _ in run(limiter, 60, load=load)) > load


def test_aimd_stays_below_what_the_backend_refuses_and_comes_back():
    knee = lambda now_s: 20 if now_s < 100 else 5 if now_s < 200 else 30  # noqa: E731 - a table
    trace = run(AimdLimit(ConcurrencyPolicy(), 0), 500, knee=knee, refuses=True)
    assert mean_limit(trace, 60, 100) == pytest.approx(20, rel=0.2)
    assert mean_limit(trace, 150, 200) == pytest.approx(5, rel=0.2)
    assert mean_limit(trace, 420, 500) == pytest.approx(30, rel=0.2)


def test_aimd_keeps_to_a_bound_on_the_time():
    trace = run(AimdLimit(ConcurrencyPolicy(slow_ms=250), 0), 300, knee=lambda _now_s: 30)
    assert mean_limit(trace, 150, 300) == pytest.approx(30 * 250 / 200, rel=0.2)


def test_the_gradient_also_stays_below_what_the_backend_refuses():
    trace = run(GradientLimit(ConcurrencyPolicy(), 0), 200, refuses=True)
    assert mean_limit(trace, 60, 200) == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("kind", [GradientLimit, AimdLimit])
def test_fifty_errors_of_one_moment_lower_the_limit_once(kind):
    limiter = kind(ConcurrencyPolicy(initial=50), 0)
    for _ in range(50):
        limiter.started(0)
    for _ in range(50):
        limiter.ended(S, None, OVERLOADED)
    assert limiter.limit == 45


@pytest.mark.parametrize("kind", [GradientLimit, AimdLimit])
def test_calls_that_say_nothing_change_nothing(kind):
    limiter = kind(ConcurrencyPolicy(), 0)
    for n in range(1000):
        limiter.started(n)
        limiter.ended(n, 10_000.0, IGNORED)
        limiter.started(n)
        limiter.ended(n, None, OK)
    assert limiter.limit == 8


def test_nothing_ends_that_has_not_started():
    with pytest.raises(AssertionError):
        AimdLimit(ConcurrencyPolicy(), 0).ended(0, 1.0, OK)


@pytest.mark.parametrize("wrong", [{"minimum": 0}, {"initial": 300}, {"minimum": 10}, {"slow_ms": 0}])
def test_a_policy_makes_sense(wrong):
    with pytest.raises(ValueError):
        ConcurrencyPolicy(**wrong)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([GradientLimit, AimdLimit]),
    st.lists(
        st.tuples(
            st.integers(1, 60),
            st.sampled_from([OK, OK, OK, OVERLOADED, IGNORED]),
            st.floats(0, 1e7),
            st.integers(-S, 200 * S),
        ),
        max_size=60,
    ),
)
def test_the_limit_stays_within_its_bounds_whatever_comes(kind, bursts):
    limiter, now_ns = kind(ConcurrencyPolicy(minimum=2, maximum=30, initial=4, slow_ms=100), 0), 0
    for number, outcome, latency_ms, elapsed_ns in bursts:
        now_ns += elapsed_ns
        for _ in range(number):
            limiter.started(now_ns)
        for _ in range(number):
            limiter.ended(now_ns, latency_ms, outcome)
        assert 2 <= limiter.limit <= 30
        assert limiter.in_flight == 0
        assert len(limiter._samples) <= 400
