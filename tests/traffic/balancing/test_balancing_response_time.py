import random

import pytest

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Why
from podium.traffic.balancing.response_time import ResponseTime

S = 1_000_000_000
MS = 1_000_000


def measured(key, ttft_ms=None, per_token_ms=None, *, in_flight=0, weight=1):
    load = BackendLoad(key, weight=weight)
    if ttft_ms is not None:
        load.began(0)
        load.first_content(0, ttft_ms)
        load.ended(0, time_per_output_token_ms=per_token_ms, failed=False)
    load.in_flight = in_flight
    return load


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (measured("a", 100), measured("b", 300), Why.FASTER),
        (measured("a", 300, 10), measured("b", 100, 20), Why.FASTER),  # tokens weigh more than the first
        (measured("a", 100), measured("b", 300, 1), Why.FASTER),  # only one knows its time per token
        (measured("a", 100, 99), measured("b", 300), Why.FASTER),
        (measured("a", 100, in_flight=1), measured("b", 300, in_flight=0), Why.FASTER),
        (measured("a", 300, in_flight=0), measured("b", 100, in_flight=3), Why.FASTER),
        (measured("a", 300, weight=4), measured("b", 100), Why.FASTER),
        (measured("a"), measured("b", 1), Why.UNTRIED),
        (measured("a"), measured("b", in_flight=2), Why.FEWER_IN_FLIGHT),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_of_two_the_one_that_is_likely_done_sooner_is_chosen(one, other, why, swap):
    backends = (other, one) if swap else (one, other)
    for value in (0.0, 0.3, 0.6, 0.9):
        choice = ResponseTime().choose(backends, (), CallFacts(0, random=value))
        assert backends[choice.index] is one
        assert choice.why is why


def test_an_unknown_backend_gets_one_call_at_a_time_until_it_answers():
    known, new = measured("known", 100), measured("new")
    balancer, backends = ResponseTime(), (known, new)
    for number in range(20):
        load = backends[balancer.choose(backends, (), CallFacts(number, random=number / 20)).index]
        assert (load is new) == (number == 0)
        load.began(number)
        if load is known:
            load.first_content(number, 100)
    new.first_content(30, 10)
    assert backends[balancer.choose(backends, (), CallFacts(30)).index] is new


def test_a_backend_that_hangs_is_left_alone_before_its_first_timeout():
    hangs, sound = measured("hangs", 50), measured("sound", 100)
    balancer, backends, dice, hung = ResponseTime(), (hangs, sound), random.Random(1), 0
    for step in range(600):  # a minute
        now_ns = step * 100 * MS
        load = backends[balancer.choose(backends, (), CallFacts(now_ns, random=dice.random())).index]
        load.began(now_ns)
        if load is sound:
            load.first_content(now_ns, 100)
            load.ended(now_ns, time_per_output_token_ms=None, failed=False)
        else:
            hung += 1
    assert hung <= 3


def test_a_backend_that_fails_at_once_is_no_magnet():
    broken, sound = measured("broken"), measured("sound", 200)
    balancer, backends, dice, failed = ResponseTime(), (broken, sound), random.Random(1), 0
    for step in range(600):
        now_ns = step * 100 * MS
        load = backends[balancer.choose(backends, (), CallFacts(now_ns, random=dice.random())).index]
        load.began(now_ns)
        if load is sound:
            load.first_content(now_ns, 200)
        failed += load is broken
        load.ended(now_ns, time_per_output_token_ms=None, failed=load is broken)
    assert failed <= 8


def test_a_slow_backend_of_four_gets_little_and_is_tried_again():
    loads = tuple(BackendLoad(f"p{number}/m") for number in range(4))
    balancer, dice, at_slow, last = ResponseTime(), random.Random(2), 0, 0
    running = []
    for step in range(6000):  # a minute at 100 calls a second
        now_ns = step * 10 * MS
        for done_ns, load, ttft_ms in [entry for entry in running if entry[0] <= now_ns]:
            load.first_content(done_ns, ttft_ms)
            load.ended(done_ns, time_per_output_token_ms=None, failed=False)
        running = [entry for entry in running if entry[0] > now_ns]
        load = loads[balancer.choose(loads, (), CallFacts(now_ns, random=dice.random())).index]
        ttft_ms = 100 + dice.random() * 20 + (2000 if load is loads[0] else 0)
        load.began(now_ns)
        running.append((now_ns + int(ttft_ms * MS), load, ttft_ms))
        if load is loads[0]:
            at_slow += 1
            last = step
    assert at_slow < 0.01 * 6000
    assert last > 2000  # not given up for good
