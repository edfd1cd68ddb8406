"""What gateways tell each other of breakers, and what they make of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.resources import BackendSpec, Model, Provider, Version
from podium.core.serving import CircuitBreaker, FailureHandling
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.gossip import LONGEST_WORD, Gossip
from podium.gateway.world import World
from podium.traffic.breaker import Admission, BreakerCause, BreakerState, CallResult
from podium.upstreams.providers import LocalWorkers, Providers

SECOND_NS = 1_000_000_000


class Gateway:
    """One of several with the same snapshot: providers `a` and `b` serve `m`, `a` alone serves `lonely`."""

    def __init__(self, name, providers, *, account=None, **policy):
        place = {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1"}
        both = Version(backends=(BackendSpec(provider="a", model="x"), BackendSpec(provider="b", model="x")))
        snapshot = Snapshot(
            revision=1,
            published_unix_s=0.0,
            providers={"a": Provider(**place, breaker=account), "b": Provider(**place)},
            versions={"m-1": both, "lonely-1": Version(backends=(BackendSpec(provider="a", model="y"),))},
            models={
                "m": Model(version="m-1", failure=FailureHandling(breaker=CircuitBreaker(**policy))),
                "lonely": Model(version="lonely-1"),
            },
        )
        self.fleet = Fleet()
        self.world = World(snapshot, providers, self.fleet, 0)
        self.gossip = Gossip(name, self.fleet)
        self.fleet.opened = self.gossip.opened

    def state(self, model="m", place=0):
        return self.world.pools()[model].backends[place].state

    def breaker(self, **which):
        return self.state(**which).breaker

    def call(self, result, now_ns=0, **which):
        state = self.state(**which)
        state.leave(state.enter(now_ns), result, now_ns, first_content_ms=1.0)

    def break_it(self, now_ns=0, **which):
        while self.breaker(**which).state is not BreakerState.OPEN:
            self.call(CallResult.FAILED, now_ns, **which)

    def pass_probes(self, now_ns):
        while self.breaker().state is not BreakerState.CLOSED:
            assert self.breaker().would_admit(now_ns) is Admission.PROBE
            self.call(CallResult.OK, now_ns)

    def news(self):
        return self.gossip.news()

    def hear(self, word, now_ns=0):
        return self.gossip.hear(word, self.world.pools().values(), now_ns)


@pytest.fixture
async def gateways():
    """Makes gateways by their names."""
    providers = Providers(LocalWorkers({}, "key"))
    yield lambda *names, **policy: [Gateway(name, providers, **policy) for name in names]
    providers.close()


async def test_what_one_found_out_opens_the_breaker_of_the_other_which_then_probes(gateways):
    first, second = gateways("first", "second")
    first.break_it()
    (word,) = first.news()
    assert second.hear(word).key == "m a/x"
    breaker = second.breaker()
    assert breaker.state is BreakerState.OPEN
    assert breaker.change.why is BreakerCause.HEARD
    assert breaker.admit(0) is Admission.OPEN
    later_ns = breaker.half_open_at_ns
    assert breaker.admit(later_ns) is Admission.PROBE
    assert breaker.admit(later_ns) is Admission.PROBES_BUSY
    assert second.breaker(place=1).state is BreakerState.CLOSED


async def test_an_opening_is_told_once_and_what_was_heard_is_not_told_on(gateways):
    first, second = gateways("first", "second")
    assert first.news() == []
    first.break_it()
    (word,) = first.news()
    assert first.news() == []
    assert second.hear(word)
    assert second.news() == []


async def test_a_failed_probe_is_no_news_but_the_next_opening_is(gateways):
    (gateway,) = gateways("first")
    gateway.break_it()
    assert len(gateway.news()) == 1
    breaker = gateway.breaker()
    now_ns = breaker.half_open_at_ns
    assert breaker.would_admit(now_ns) is Admission.PROBE
    gateway.call(CallResult.FAILED, now_ns)
    assert breaker.state is BreakerState.OPEN
    assert gateway.news() == []
    now_ns = breaker.half_open_at_ns
    gateway.pass_probes(now_ns)
    assert gateway.news() == []
    gateway.break_it(now_ns)
    assert len(gateway.news()) == 1


async def test_own_words_come_back_and_are_not_heard(gateways):
    (gateway,) = gateways("first")
    gateway.break_it()
    (word,) = gateway.news()
    breaker = gateway.breaker()
    assert gateway.hear(word) is None
    assert gateway.gossip.heard == 0
    assert breaker.state is BreakerState.OPEN


async def test_a_pool_with_nobody_else_to_call_believes_nothing(gateways):
    first, second = gateways("first", "second")
    first.break_it(model="lonely")
    (word,) = first.news()
    assert second.hear(word) is None
    assert second.breaker(model="lonely").state is BreakerState.CLOSED
    second.break_it(place=1)  # now `m` has nobody but `a`
    first.break_it()
    (word,) = first.news()
    assert second.hear(word) is None
    assert second.breaker().state is BreakerState.CLOSED


async def test_an_account_that_a_pool_needs_is_not_given_up(gateways):
    first, second = gateways("first", "second", account=CircuitBreaker(consecutive_failures=3))
    for model in ("m", "lonely", "m"):  # no backend fails as often as their account
        first.call(CallResult.FAILED, model=model)
    (word,) = first.news()  # once, though two backends are of that account
    assert b'"account"' in word
    assert second.hear(word) is None
    assert second.state().account.breaker.state is BreakerState.CLOSED


async def test_for_one_window_own_probes_outweigh_hearsay(gateways):
    first, second = gateways("first", "second")
    first.break_it()
    (word,) = first.news()
    assert second.hear(word)
    breaker = second.breaker()
    now_ns = breaker.half_open_at_ns
    second.pass_probes(now_ns)
    assert second.hear(word, now_ns + SECOND_NS) is None
    assert breaker.state is BreakerState.CLOSED
    assert second.hear(word, now_ns + int(breaker.policy.window_s * SECOND_NS))
    assert breaker.state is BreakerState.OPEN


async def test_hearsay_weighs_no_more_than_the_failures_of_one_window(gateways):
    first, calm, busy = gateways("first", "calm", "busy", consecutive_failures=None)
    first.break_it()
    (word,) = first.news()
    for _ in range(1000):
        busy.call(CallResult.OK)
    assert calm.hear(word)
    assert busy.hear(word) is None
    assert busy.breaker().state is BreakerState.CLOSED
    assert (calm.gossip.believed, busy.gossip.believed, busy.gossip.heard) == (1, 0, 1)


async def test_what_the_other_does_not_have_is_no_word_for_it(gateways):
    (gateway,) = gateways("first")
    for key in ("m gone/x", "", "a"):
        word = msgspec.json.encode({"gateway": "other", "kind": "backend", "key": key, "why": "consecutive"})
        assert gateway.hear(word) is None


@given(st.binary(max_size=LONGEST_WORD) | st.text().map(str.encode))
def test_what_cannot_be_read_says_nothing(payload):
    assert Gossip("first", Fleet()).hear(payload, (), 0) is None


def test_when_all_breaks_at_once_few_words_are_told_and_none_that_is_too_long():
    gossip = Gossip("first", Fleet())
    gossip.opened("backend", "x" * LONGEST_WORD, BreakerCause.CONSECUTIVE)
    for number in range(1000):
        gossip.opened("backend", f"m {number}/x", BreakerCause.CONSECUTIVE)
    words = gossip.news()
    assert 1 < len(words) < 100
    assert all(len(word) <= LONGEST_WORD for word in words)
    assert gossip.news() == []
