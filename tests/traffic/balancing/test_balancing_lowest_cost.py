from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.lowest_cost import LowestCost
from podium.traffic.balancing.ports import CallFacts, Choice, Why


def pool(*prices, in_flight=(), weights=()):
    backends = tuple(BackendLoad(f"p{number}/m", price=price) for number, price in enumerate(prices))
    for load, running in zip(backends, in_flight, strict=False):
        load.in_flight = running
    for load, weight in zip(backends, weights, strict=False):
        load.weight = weight
    return backends


def test_the_cheapest_is_chosen_while_it_has_room():
    assert LowestCost().choose(pool(300, 100, 200), (), CallFacts(0)) == Choice(1, Why.CHEAPEST)
    assert LowestCost().choose(pool(300, 100, in_flight=[0, 16]), (), CallFacts(0)) == Choice(1, Why.CHEAPEST)
    assert LowestCost().choose(pool(300, 100, in_flight=[20, 40]), (), CallFacts(0)) == Choice(1, Why.CHEAPEST)


def test_the_next_dearer_one_is_chosen_when_it_has_none():
    assert LowestCost().choose(pool(300, 100, in_flight=[0, 17]), (), CallFacts(0)) == Choice(0, Why.CHEAPER_FULL)
    assert LowestCost().choose(pool(300, 100, in_flight=[20, 41]), (), CallFacts(0)) == Choice(0, Why.CHEAPER_FULL)
    assert LowestCost().choose(pool(1, 2, 3, in_flight=[90, 40, 3]), (), CallFacts(0)).index == 2


def test_room_grows_with_weight():
    backends = pool(300, 100, in_flight=[0, 40], weights=[1, 3])
    assert LowestCost().choose(backends, (), CallFacts(0)).index == 1
    assert LowestCost(room=10).choose(backends, (), CallFacts(0)).index == 0


def test_unknown_prices_come_last_and_free_ones_first():
    assert LowestCost().choose(pool(None, 900, 0), (), CallFacts(0)).index == 2
    assert LowestCost().choose(pool(None, 900, 0), {2}, CallFacts(0)).index == 1
    assert LowestCost().choose(pool(None, 900, 0), {1, 2}, CallFacts(0)) == Choice(0, Why.CHEAPEST)


def test_of_equal_prices_the_less_busy_one_is_chosen():
    backends = pool(100, 100, 900, in_flight=[5, 3, 0])
    assert {LowestCost().choose(backends, (), CallFacts(0, random=step / 9)).index for step in range(9)} == {1}


def test_a_ratio_that_never_spills_evenly_is_refused():
    with pytest.raises(ValueError, match="ratio"):
        LowestCost(ratio=1.0)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(1, 600))
def test_under_load_each_price_carries_at_most_twice_what_the_next_does(prices, calls):
    prices = sorted(set(prices))
    balancer, backends, why = LowestCost(), pool(*prices), Counter()
    for _ in range(calls):
        choice = balancer.choose(backends, (), CallFacts(0))
        backends[choice.index].in_flight += 1
        why[choice.why] += 1
    running = [load.in_flight for load in backends]
    assert running == sorted(running, reverse=True)
    assert all(cheaper <= max(16, 2 * dearer) + 1 for cheaper, dearer in pairwise(running))
    assert why[Why.CHEAPEST] == running[0]
