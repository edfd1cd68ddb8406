import random

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.least_in_flight import LeastInFlight
from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Choice, Why


def pool(*in_flight, weights=()):
    backends = tuple(BackendLoad(f"p{number}/m") for number in range(len(in_flight)))
    for load, running in zip(backends, in_flight, strict=True):
        load.in_flight = running
    for load, weight in zip(backends, weights, strict=False):
        load.weight = weight
    return backends


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_of_two_backends_the_less_busy_one_is_always_chosen(one, other, value):
    backends = pool(one, other)
    choice = LeastInFlight().choose(backends, (), CallFacts(0, random=value))
    assert backends[choice.index].in_flight == min(one, other)
    assert choice.why is Why.FEWER_IN_FLIGHT


@given(st.floats(0, 1, exclude_max=True))
def test_the_two_that_are_left_of_many_are_compared_exactly(value):
    assert LeastInFlight().choose(pool(0, 9, 8, 0), {0, 3}, CallFacts(0, random=value)).index == 2


def test_weights_count():
    assert LeastInFlight().choose(pool(5, 12, weights=[1, 3]), (), CallFacts(0)).index == 1
    assert LeastInFlight().choose(pool(0, 0, weights=[1, 3]), (), CallFacts(0)).index == 1


def test_the_busiest_of_many_is_never_chosen():
    backends = pool(3, 9, 5, 4)
    chosen = {LeastInFlight().choose(backends, (), CallFacts(0, random=step / 500)).index for step in range(500)}
    assert chosen == {0, 2, 3}


@given(st.integers(0, 2**32), st.integers(3, 60))
def test_calls_that_stay_pile_up_nowhere(seed, size):
    balancer, backends, dice = LeastInFlight(), pool(*[0] * size), random.Random(seed)
    for _ in range(20 * size):
        backends[balancer.choose(backends, (), CallFacts(0, random=dice.random())).index].in_flight += 1
    # The theory's excess is log2(log(size)) + O(1), about 2; drawing one at random would give 15 and more.
    assert max(load.in_flight for load in backends) <= 20 + 5


def test_the_only_one_says_so():
    assert LeastInFlight().choose(pool(7), (), CallFacts(0)) == Choice(0, Why.ONLY_ONE)
