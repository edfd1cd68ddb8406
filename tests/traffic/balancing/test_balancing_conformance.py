"""What holds for every strategy."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.registry import STRATEGIES, make_balancer

MS = 1_000_000
names = pytest.mark.parametrize("name", STRATEGIES)


def backend(number, weight=1):
    return BackendLoad(f"p{number}/m", weight=weight, price=number % 3 * 100 or None)


def call(value=0.0, *, now_ns=0, number=0):
    """A call; every other one without session and prompt."""
    told = number % 2
    return CallFacts(
        now_ns, f"t{number % 3}", f"s{number}" if told else "", b"Once upon a time " * 100 if told else b"", value
    )


class Pool:
    """A pool that lives: calls begin and end, backends come, go and drain."""

    def __init__(self, size):
        self.all = [backend(number, number % 4 + 1) for number in range(size)]
        self.now_ns = 0
        self.running = []

    def begin(self, load):
        load.began(self.now_ns)
        self.running.append(load)

    def end(self, value):
        if self.running:
            load = self.running.pop(int(value * len(self.running)))
            load.first_content(self.now_ns, 5 + value * 500)
            load.ended(self.now_ns, time_per_output_token_ms=value * 50, failed=value < 0.1)


@names
@given(data=st.data())
def test_what_is_chosen_is_there_not_drained_and_not_excluded(name, data):
    dice = random.Random(data.draw(st.integers(0, 2**32)))
    balancer, pool = make_balancer(name), Pool(data.draw(st.integers(1, 7)))
    backends = tuple(pool.all)
    for number in range(60):
        pool.now_ns += dice.randrange(500 * MS)
        if dice.random() < 0.2:  # membership and weights
            for load in pool.all:
                load.weight = dice.choice([0, 1, 1, 3, 100])
            backends = tuple(dice.sample(pool.all, dice.randint(0, len(pool.all))))
        elif backends and dice.random() < 0.1:  # draining that the balancer is not told of
            dice.choice(backends).weight = 0
        excluded = [index for index in range(len(backends)) if dice.random() < dice.choice([0, 0, 0.4])]
        left = {index for index, load in enumerate(backends) if load.weight} - set(excluded)
        choice = balancer.choose(backends, excluded, call(dice.random(), now_ns=pool.now_ns, number=number))
        if choice is None:
            assert not left
        else:
            assert choice.index in left
            pool.begin(backends[choice.index])
        if dice.random() < 0.7:
            pool.end(dice.random())


@names
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_chosen_where_nothing_is_left(name, number):
    balancer = make_balancer(name)
    two = (backend(1), backend(2))
    assert balancer.choose((), (), call(number=number)) is None
    assert balancer.choose((backend(0, weight=0),), (), call(number=number)) is None
    assert balancer.choose(two, {0, 1}, call(number=number)) is None
    assert balancer.choose((backend(1), backend(0, weight=0)), {0}, call(number=number)) is None
    assert balancer.choose(two, (), call(number=number)) is not None


@names
def test_the_only_backend_is_chosen_for_every_call(name):
    balancer, backends = make_balancer(name), (backend(1),)
    chosen = {balancer.choose(backends, (), call(number / 20, number=number)).index for number in range(20)}
    assert chosen == {0}
    assert balancer.choose(backends, (), CallFacts(0)) in (Choice(0, Why.ONLY_ONE), Choice(0, Why.CHEAPEST))


@names
def test_equal_backends_share_many_different_calls(name):
    balancer = make_balancer(name)
    backends = tuple(BackendLoad(f"p{number}/m") for number in range(4))
    dice = random.Random(3)
    for number in range(400):
        facts = CallFacts(0, "t", f"session {number}", b"%d" % number * 300, dice.random())
        backends[balancer.choose(backends, (), facts).index].began(0)
    assert min(load.in_flight for load in backends) > 60


@names
def test_a_new_backend_gets_calls_and_a_removed_one_none(name):
    balancer = make_balancer(name)
    old, new = BackendLoad("old/m", price=100), BackendLoad("new/m", price=100)
    other = BackendLoad("other/m", price=100)
    dice = random.Random(4)

    def chosen(backends):
        keys = set()
        for number in range(100):
            facts = CallFacts(0, "t", f"session {number}", b"%d" % number * 300, dice.random())
            load = backends[balancer.choose(backends, (), facts).index]
            load.began(0)
            keys.add(load.key)
        return keys

    assert chosen((old, other)) == {"old/m", "other/m"}
    assert chosen((new, other)) == {"new/m", "other/m"}


@names
def test_the_same_calls_give_the_same_choices(name):
    def run():
        balancer, backends = make_balancer(name), tuple(backend(number, number + 1) for number in range(5))
        dice, keys = random.Random(5), []
        for number in range(100):
            choice = balancer.choose(backends, (), call(dice.random(), number=number))
            backends[choice.index].began(0)
            keys.append(choice)
        return keys

    assert run() == run()


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "round_robin"])
def test_a_backend_with_more_weight_gets_more(name):
    balancer = make_balancer(name)
    backends = (BackendLoad("a/m", weight=1), BackendLoad("b/m", weight=4), BackendLoad("c/m", weight=1))
    dice = random.Random(6)
    for number in range(600):
        facts = CallFacts(0, "t", f"session {number}", b"%d" % number * 300, dice.random())
        backends[balancer.choose(backends, (), facts).index].began(0)
    assert 300 < backends[1].in_flight < 500
