import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts
from podium.traffic.balancing.region import RegionFilter, RegionOrder, RegionWhy
from podium.traffic.balancing.regional import RegionalBalancer
from podium.traffic.balancing.registry import STRATEGIES, make_balancer

REGIONS = ["eu-west", "eu-north", "us-east", "asia", ""]
EU = frozenset({"eu-west", "eu-north"})


def pool(*regions):
    return tuple(BackendLoad(f"p{number}/m", region=region) for number, region in enumerate(regions))


def picked(backends, order, excluded=()):
    pick = RegionFilter().pick(backends, excluded, order)
    return None if pick is None else (pick.part.indexes, pick.why)


def test_the_nearest_region_comes_first():
    backends = pool("us-east", "eu-west", "eu-west", "asia")
    order = RegionOrder(("eu-west", "us-east"))
    assert picked(backends, order) == ([1, 2], RegionWhy.NEAREST)
    assert picked(backends, order, [1]) == ([1, 2], RegionWhy.NEAREST)
    assert picked(backends, order, [1, 2]) == ([0], RegionWhy.OTHER)
    assert picked(backends, order, [0, 1, 2]) == ([3], RegionWhy.OTHER)
    assert picked(backends, order, [0, 1, 2, 3]) is None


def test_without_an_order_all_that_is_allowed_is_one_part():
    backends = pool("us-east", "eu-west", "eu-north", "")
    assert picked(backends, RegionOrder()) == ([0, 1, 2, 3], RegionWhy.ANYWHERE)
    assert picked(backends, RegionOrder(allowed=EU)) == ([1, 2], RegionWhy.ALLOWED)
    assert picked(backends, RegionOrder(("asia",), EU)) == ([1, 2], RegionWhy.ALLOWED)


def test_residency_is_never_widened():
    backends = pool("us-east", "eu-west", "")
    order = RegionOrder(("us-east", "eu-west", ""), frozenset({"eu-west", ""}))
    assert picked(backends, order) == ([1], RegionWhy.NEAREST)
    assert picked(backends, order, [1]) is None
    backends[1].weight = 0
    assert picked(backends, order) is None
    assert picked(backends, RegionOrder(allowed=frozenset())) is None


def test_a_region_that_is_down_is_not_called_the_nearest():
    assert picked(pool("us-east", "asia"), RegionOrder(("eu-west", "us-east"))) == ([0], RegionWhy.OTHER)


def test_a_part_is_the_same_tuple_as_long_as_its_backends_are():
    loads, parts = pool("us-east", "eu-west", "eu-west", "asia"), RegionFilter()
    west, anywhere = RegionOrder(("eu-west",)), RegionOrder(("eu-west",), frozenset({"us-east"}))

    def tuples(backends):
        return (
            parts.pick(backends, (), west).part.backends,
            parts.pick(backends, (), anywhere).part.backends,
        )

    first = tuples(loads)
    assert all(one is other for one, other in zip(tuples(loads), first, strict=True))
    assert all(one is other for one, other in zip(tuples(loads[:3]), first, strict=True))  # asia is out
    changed = tuples((*loads[:2], loads[3]))
    assert changed[0] == (loads[1],) and changed[1] is first[1]


def test_orders_are_remembered_within_a_bound():
    parts, backends = RegionFilter(), pool("eu-west", "us-east")
    for number in range(1000):
        parts.pick(backends, (), RegionOrder((f"r{number}",)))
    assert len(parts._routes) <= 256 and len(parts._rests) <= 256


regions = st.sampled_from(REGIONS)


@pytest.mark.parametrize("name", STRATEGIES)
@given(
    pools=st.lists(st.lists(regions, max_size=8), min_size=1, max_size=4),
    orders=st.lists(
        st.builds(
            RegionOrder,
            st.lists(regions, max_size=4).map(tuple),
            st.none() | st.frozensets(regions),
        ),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 2**32),
)
def test_no_call_leaves_its_allowed_regions_and_none_is_refused_that_has_one(name, pools, orders, seed):
    dice, balancer = random.Random(seed), RegionalBalancer(lambda: make_balancer(name))
    for places in pools:
        backends = pool(*places)
        for number in range(12):
            order = dice.choice(orders)
            excluded = [index for index in range(len(backends)) if dice.random() < 0.3]
            if dice.random() < 0.2:  # begins to drain
                dice.choice(backends or pool("")).weight = 0
            left = {
                index
                for index, load in enumerate(backends)
                if load.weight
                and index not in excluded
                and (order.allowed is None or (load.region and load.region in order.allowed))
            }
            facts = CallFacts(0, "t", f"s{number % 3}", b"hello world " * 50, dice.random())
            choice = balancer.choose(backends, excluded, facts, order)
            if choice is None:
                assert not left
                continue
            assert choice.index in left
            backends[choice.index].began(0)
            ranks = {region: rank for rank, region in reversed(list(enumerate(order.nearest)))}
            last = len(order.nearest)
            nearest = min(ranks.get(backends[index].region, last) for index in left)
            assert ranks.get(backends[choice.index].region, last) == nearest


def test_regions_take_turns_of_their_own():
    balancer, backends = RegionalBalancer(lambda: make_balancer("round_robin")), pool("a", "a", "b", "b")
    near_a, near_b = RegionOrder(("a",)), RegionOrder(("b",))
    chosen = [balancer.choose(backends, (), CallFacts(0), order).index for _ in range(4) for order in (near_a, near_b)]
    assert chosen == [0, 2, 1, 3, 0, 2, 1, 3]


def test_the_balancers_of_many_parts_are_bounded():
    made = []
    balancer = RegionalBalancer(lambda: made.append(make_balancer("least_in_flight")) or made[-1])
    backends = pool("a", "b")
    for number in range(300):
        balancer.choose(backends, (), CallFacts(0), RegionOrder((f"r{number}",)))
    assert len(made) == 300 and len(balancer._balancers) == 64
