import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.round_robin import RoundRobin

CALL = CallFacts(0)


def pool(names):
    return tuple(LOADS[name] for name in names)


LOADS = {name: BackendLoad(name) for name in "abcdefgh"}


def take(balancer, backends, count=1, excluded=()):
    return "".join(backends[balancer.choose(backends, excluded, CALL).index].key for _ in range(count))


def test_each_backend_comes_in_turn():
    assert take(RoundRobin(), pool("abc"), 7) == "abcabca"
    assert RoundRobin().choose(pool("abc"), (), CALL) == Choice(0, Why.TURN)


def test_a_second_try_does_not_bring_the_turn_back_to_a_dead_backend():
    balancer, backends, first = RoundRobin(), pool("ab"), ""
    for _ in range(6):
        first += take(balancer, backends)
        if first[-1] == "a":  # dead
            assert take(balancer, backends, excluded=[0]) == "b"
    assert first == "ababab"


def test_the_second_tries_after_a_dead_backend_are_shared_too():
    balancer, backends, load = RoundRobin(), pool("abcd"), Counter()
    for _ in range(120):
        key = take(balancer, backends)
        load[key if key != "a" else take(balancer, backends, excluded=[0])] += 1
    assert load == {"b": 40, "c": 40, "d": 40}


def test_the_turns_go_on_when_the_pool_changes():
    balancer = RoundRobin()
    assert take(balancer, pool("abcd"), 2) == "ab"
    assert take(balancer, pool("abcde"), 1) == "c"
    assert take(balancer, pool("abde"), 1) == "d"
    assert take(balancer, pool("abe"), 3) == "eab"


def test_one_that_comes_and_goes_has_its_turns():
    balancer, load, dice = RoundRobin(), Counter(), random.Random(1)
    for _ in range(300):
        load[take(balancer, pool(dice.choice(["abc", "ab"])))] += 1
    assert load["c"] > 45  # an even share would be 50
    assert abs(load["a"] - load["b"]) < 40


@given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.integers(1, 50))
def test_the_load_is_even_over_what_is_left(size, excluded, calls):
    balancer, backends = RoundRobin(), pool("abcdefgh"[:size])
    left = set(range(size)) - excluded
    chosen = Counter(balancer.choose(backends, excluded, CALL) for _ in range(calls))
    if not left:
        assert chosen == {None: calls}
    else:
        counts = {choice.index: count for choice, count in chosen.items()}
        assert set(counts) <= left
        assert max(counts.values()) - min(counts.get(index, 0) for index in left) <= 1


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=2), min_size=1, max_size=30))
def test_nobody_has_two_turns_in_a_row_whatever_the_pool_becomes(pools):
    balancer, last = RoundRobin(), ""
    for members in pools:
        key = take(balancer, pool(sorted(members)))
        assert key != last
        last = key
