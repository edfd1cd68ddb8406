from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Why
from podium.traffic.balancing.schedule import TURN, Schedule
from podium.traffic.balancing.weighted_round_robin import WeightedRoundRobin

weights = st.lists(st.integers(1, 60), min_size=1, max_size=9)


def pool(**weights):
    return tuple(BackendLoad(key, weight=weight) for key, weight in weights.items())


def take(balancer, backends, count=1):
    return "".join(backends[balancer.choose(backends, (), CallFacts(0)).index].key for _ in range(count))


def test_turns_are_interleaved():
    assert take(WeightedRoundRobin(), pool(a=1, b=1), 6) == "ababab"
    assert take(WeightedRoundRobin(), pool(a=2, b=1), 6) == "abaaba"
    assert take(WeightedRoundRobin(), pool(a=4, b=1, c=1, d=1, e=1), 16) == "abacadea" * 2


@given(weights, st.integers(1, 400))
def test_in_any_run_from_the_start_each_is_within_one_turn_of_its_share(weights, turns):
    schedule, everything, served = Schedule(weights), sum(weights), Counter()
    for turn in range(1, turns + 1):
        served[schedule.take()] += 1
        assert all(abs(served[i] * everything - turn * weight) < everything for i, weight in enumerate(weights))


@given(weights)
def test_a_round_gives_each_exactly_its_weight(weights):
    schedule = Schedule(weights)
    for _ in range(2):
        assert Counter(schedule.take() for _ in range(sum(weights))) == dict(enumerate(weights))


@given(st.data())
def test_what_each_is_owed_goes_along_when_others_join(data):
    balancer, loads = WeightedRoundRobin(), []
    due, served = Counter(), Counter()
    for number in range(data.draw(st.integers(1, 6))):
        loads.append(BackendLoad(f"p{number}", weight=data.draw(st.integers(1, 20))))
        backends = tuple(data.draw(st.permutations(loads)))
        everything = sum(load.weight for load in loads)
        for _ in range(data.draw(st.integers(0, 30))):
            served[backends[balancer.choose(backends, (), CallFacts(0)).index].key] += 1
            for load in loads:
                due[load.key] += load.weight / everything
        assert all(abs(due[load.key] - served[load.key]) < 1.001 for load in loads)


def test_one_that_comes_and_goes_has_its_turns():
    balancer, load = WeightedRoundRobin(), Counter()
    a, b, c = pool(a=1, b=1, c=1)
    for _ in range(60):
        load[take(balancer, (a, b, c))] += 1
        load[take(balancer, (a, b))] += 1
    assert load["c"] >= 18
    assert abs(load["a"] - load["b"]) <= 2


def test_the_one_with_most_weight_is_not_first_after_every_change():
    balancer, load = WeightedRoundRobin(), Counter()
    members = pool(a=3, b=1)
    for _ in range(80):
        load[take(balancer, tuple(members))] += 1
        members = tuple(reversed(members))
    assert load == {"a": 60, "b": 20}


def test_second_tries_do_not_count_as_turns():
    balancer, backends = WeightedRoundRobin(), pool(a=1, b=1)
    first = []
    for _ in range(6):
        first.append(take(balancer, backends))
        if first[-1] == "a":  # dead
            choice = balancer.choose(backends, [0], CallFacts(0, random=0.9))
            assert (choice.index, choice.why) == (1, Why.SECOND_TRY)
    assert first == list("ababab")


def test_a_draining_backend_seen_at_a_second_try_does_not_mix_up_the_turns():
    balancer, backends = WeightedRoundRobin(), pool(a=1, b=1, c=1)
    take(balancer, backends)
    backends[1].weight = 0
    assert balancer.choose(backends, [0], CallFacts(0, random=0.1)).index == 2
    assert set(take(balancer, backends, 6)) == {"a", "c"}


@given(weights, st.data())
def test_owed_turns_come_first_and_no_credit_lets_anyone_starve(weights, data):
    size = len(weights)
    credits_ = data.draw(st.lists(st.integers(-5 * TURN, 5 * TURN), min_size=size, max_size=size))
    schedule, everything = Schedule(weights, credits_), sum(weights)
    assert abs(sum(schedule.credit(position) for position in range(size))) <= size
    turns = [schedule.take() for _ in range(6 * everything)]
    served = Counter(turns)
    for position, weight in enumerate(weights):
        assert abs(served[position] - 6 * weight) <= 4
    assert all(0 <= one < size and 0 <= other < size for one, other in pairwise(turns))
