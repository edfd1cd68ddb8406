import asyncio
import inspect
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.app.shared import open_shared
from podium.store.redis.limits import RedisGrant
from podium.store.redis.quotas import QuotaGrant
from podium.store.redis.settings import RedisSettings
from podium.testing.clock import TestClock
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import Bucket, Refusal, charge_of
from podium.traffic.limiting.limiter import Grant

SECOND = 10**9
HOUR = 3600 * SECOND
WINDOW = Bucket(key="window", what="tokens", amount=4800, window_ns=HOUR, algorithm="sliding_window")
RATE = Bucket(key="rate", what="input_tokens", amount=1000, window_ns=100 * SECOND, burst=640)
PLACES = Bucket(key="places", what="concurrency", amount=32)
ALL = (WINDOW, RATE, PLACES)
ONE = charge_of(1, 0)


class House:
    """Some gateways with quota leases over one store, all by one clock that the test moves."""

    def __init__(self, gateways, clock):
        self.gateways, self.clock = gateways, clock
        for one in gateways:
            one.members.count = len(gateways)

    async def acquire(self, number, charge, buckets=ALL):
        outcome = self.gateways[number].limits.acquire(buckets, charge, self.clock.monotonic_ns())
        outcome = await outcome if inspect.isawaitable(outcome) else outcome
        await self.rest()
        return outcome

    def settle(self, number, grant, facts):
        self.gateways[number].limits.settle(grant, facts, self.clock.monotonic_ns())

    async def pass_time(self, seconds):
        self.clock.advance(seconds)
        for one in self.gateways:
            one.limiter.skew_us += round(seconds * 1e6)
        for one in self.gateways:
            await one.limits.quotas.keep(self.clock.monotonic_ns())
        await self.rest()

    async def rest(self):
        """Until nothing is under way."""
        for one in self.gateways:
            await one.limits.quotas.refilled()

    async def warm_up(self, number, buckets=ALL, asks=8):
        """Use the buckets often enough for slices to be worth while."""
        for _ in range(2):
            for _ in range(asks):
                self.settle(number, await self.acquire(number, ONE, buckets), ONE)
            await self.pass_time(0.5)
        self.settle(number, await self.acquire(number, ONE, buckets), ONE)

    async def told(self):
        """Until the store knows everything."""
        await self.pass_time(1)
        for one in self.gateways:
            await eventually(lambda one=one: not one.limits.outbox and not one.limits.quotas.busy)

    async def left(self, bucket):
        return (await self.gateways[0].limits.look_now(bucket)).left


async def opened(stack, url, count, prefix="{podium}", **changes):
    clock, gateways = TestClock(), []
    options = {"timeout_ms": 2000, "connect_timeout_ms": 2000, "probe_interval_ms": 50} | changes
    for number in range(count):
        given_settings = RedisSettings(url=url, prefix=prefix, quota_leases=True, member_ttl_s=600.0, **options)
        gateways.append(await stack.enter_async_context(open_shared(given_settings, str(number), clock)))
    return House(gateways, clock)


@pytest.fixture
async def open_house():
    async with AsyncExitStack() as stack:

        async def open_it(server, count=1, **changes):
            return await opened(stack, server.url, count, **changes)

        yield open_it


async def test_what_is_used_much_is_decided_without_a_round_trip(open_house, server):
    house = await open_house(server)
    await house.warm_up(0, asks=40)
    calls = house.gateways[0].client.figures.calls

    outcomes = [house.gateways[0].limits.acquire(ALL, ONE, house.clock.monotonic_ns()) for _ in range(3)]

    assert [type(outcome) for outcome in outcomes] == [QuotaGrant] * 3
    assert house.gateways[0].client.figures.calls - calls <= 1  # and perhaps a heartbeat
    await house.rest()


async def test_what_is_used_seldom_is_asked_for(open_house, server):
    house = await open_house(server)
    for _ in range(20):
        assert isinstance(await house.acquire(0, ONE), RedisGrant)
        await house.pass_time(0.3)


async def test_a_limit_too_small_to_be_shared_out_is_kept_exactly(open_house, server):
    house = await open_house(server, 2)
    small = Bucket(key="small", what="requests", amount=60, window_ns=HOUR)
    outcomes = []
    for _ in range(10):
        outcomes += [await house.acquire(number, ONE, (small,)) for number in (0, 1) for _ in range(4)]
        await house.pass_time(0.5)

    assert {type(outcome) for outcome in outcomes} == {RedisGrant, Refusal}
    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 60


async def test_what_is_left_of_a_slice_is_given_back(open_house, server):
    house = await open_house(server)
    await house.warm_up(0, asks=20)
    await house.told()

    assert await house.left(WINDOW) == 4800 - 41
    assert await house.left(PLACES) == 32
    assert house.gateways[0].limits.running == 0
    assert server.command("KEYS", "*:grant:*") == []


@pytest.mark.parametrize("ended", [False, True])
async def test_no_more_than_a_sixteenth_is_used_before_the_store_is_asked_again(open_house, server, ended):
    house = await open_house(server)
    for _ in range(2):
        await house.warm_up(0, (WINDOW,), asks=400)
    now_ns = house.clock.monotonic_ns()
    quick = 0
    for _ in range(600):  # without a turn of the loop
        outcome = house.gateways[0].limits.acquire((WINDOW,), ONE, now_ns)
        if isinstance(outcome, QuotaGrant):
            quick += 1
            if ended:
                house.settle(0, outcome, charge_of(0, 0))
        else:
            outcome.close()

    assert 200 <= quick <= 4800 // 16
    await house.rest()


async def test_an_estimate_is_corrected_long_after_its_slice(open_house, server):
    house = await open_house(server)
    await house.warm_up(0, asks=20)
    first = await house.acquire(0, charge_of(3, 2))
    second = await house.acquire(0, charge_of(3, 2))
    assert (type(first), type(second)) == (QuotaGrant, QuotaGrant)
    await house.pass_time(5)
    assert await house.left(WINDOW) == 4800 - 41 - 10

    house.settle(0, first, charge_of(3, 0))
    house.settle(0, first, charge_of(3, 90))
    await house.pass_time(0)
    assert await house.left(WINDOW) == 4800 - 41 - 8
    house.settle(0, second, charge_of(3, 50))
    await house.told()
    assert await house.left(WINDOW) == 4800 - 41 - 56
    assert await house.left(PLACES) == 32


async def test_a_lowered_limit_takes_back_what_was_lent(open_house, server):
    house = await open_house(server)
    await house.warm_up(0, (WINDOW,), asks=20)
    lower = Bucket(key="window", what="tokens", amount=44, window_ns=HOUR, algorithm="sliding_window")

    outcomes = [await house.acquire(0, ONE, (lower,)) for _ in range(10)]
    await house.told()
    more = [await house.acquire(0, ONE, (lower,)) for _ in range(10)]

    assert not any(isinstance(outcome, QuotaGrant) for outcome in outcomes)
    assert sum(isinstance(outcome, Grant) for outcome in (*outcomes, *more)) == 3


async def test_slices_survive_a_loss_of_the_store_and_are_corrected_when_it_is_back(own_server, open_house):
    house = await open_house(own_server, timeout_ms=100, connect_timeout_ms=200)
    gateway = house.gateways[0]
    await house.warm_up(0, asks=20)
    grant = await house.acquire(0, charge_of(3, 2))
    assert isinstance(grant, QuotaGrant)
    own_server.kill()
    await eventually(lambda: gateway.client.state != "up")
    local = await house.acquire(0, ONE)
    assert type(local) is Grant
    house.settle(0, grant, charge_of(3, 0))
    await house.pass_time(2)
    own_server.start()
    await eventually(lambda: gateway.client.state == "up")
    await house.told()

    assert await house.left(WINDOW) == 4800 - 41 - 3
    assert await house.left(PLACES) == 32


async def test_places_that_the_store_has_forgotten_are_lent_no_more(own_server, open_house):
    house = await open_house(own_server)
    limits = house.gateways[0].limits
    await house.warm_up(0, (PLACES,), asks=20)
    grant = await house.acquire(0, ONE, (PLACES,))
    assert isinstance(grant, QuotaGrant)
    own_server.command("FLUSHALL")
    await limits._renew(list(limits._running._since_s))
    house.settle(0, grant, ONE)

    assert isinstance(await house.acquire(0, ONE, (PLACES,)), RedisGrant)


async def test_at_the_end_everything_is_given_back(open_house, server):
    house, other = await open_house(server), await open_house(server)
    await house.warm_up(0, asks=20)
    await house.gateways[0].limits.__aexit__(None, None, None)

    assert await other.left(WINDOW) == 4800 - 41
    assert await other.left(PLACES) == 32
    await house.gateways[0].limits.__aenter__()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("burst"), st.integers(0, 2), st.integers(4, 30), st.integers(1, 40)),
        st.tuples(st.just("flow"), st.integers(0, 2), st.integers(4, 60), st.integers(1, 20)),
        st.tuples(st.just("settle"), st.integers(0, 50), st.integers(1, 12), st.integers(0, 100)),
        st.tuples(st.just("advance"), st.sampled_from([0.1, 0.3, 0.5, 0.5, 1.0, 3.0]), st.none(), st.none()),
    ),
    min_size=4,
    max_size=16,
)
_NAMES = iter(range(10**9))


class Model:
    """What was admitted: it may never be more than the limits allow, whoever admitted it."""

    def __init__(self, gateways):
        self.gateways = gateways
        self.admitted = []  # [moment, input tokens, all tokens]
        self.running = []  # (gateway, grant, its entry above)

    def check(self):
        assert len(self.running) <= PLACES.amount
        assert sum(entry[2] for entry in self.admitted) <= WINDOW.amount  # all of it is within one window
        ahead = RATE.burst // 16
        for first, (began_ns, *_) in enumerate(self.admitted):
            total = 0
            for moment_ns, tokens, _ in self.admitted[first:]:
                total += tokens
                back = RATE.amount * (moment_ns - began_ns) / RATE.window_ns
                assert total <= RATE.burst + back + ahead + 2, "more than what may be ahead"


async def _walk(url, count, steps):
    """Bursts on some gateways, ends with facts below the estimate, and time; `advance` ends slices."""
    async with AsyncExitStack() as stack:
        house = await opened(stack, url, count, prefix=f"{{q{next(_NAMES)}}}")
        model, quick = Model(count), 0
        for kind, number, times, tokens in steps:
            if kind == "advance":
                await house.pass_time(number)
            for _ in range(times or 0):
                if kind in ("burst", "flow"):
                    who = number % count
                    grant = await house.acquire(who, charge_of(tokens, tokens))
                    if isinstance(grant, Grant):
                        quick += isinstance(grant, QuotaGrant)
                        entry = [house.clock.monotonic_ns(), tokens, 2 * tokens]
                        model.admitted.append(entry)
                        if kind == "flow":
                            house.settle(who, grant, charge_of(tokens, tokens))
                        else:
                            model.running.append((who, grant, entry))
                elif model.running:
                    who, grant, entry = model.running.pop(number % len(model.running))
                    entry[1:] = fact = [entry[1] * tokens // 100, entry[2] // 2 * tokens // 100 * 2]
                    house.settle(who, grant, charge_of(fact[0], fact[1] - fact[0]))
            model.check()
        for who, grant, entry in model.running:
            house.settle(who, grant, charge_of(entry[1], entry[2] - entry[1]))
        await house.told()
        assert await house.left(WINDOW) == WINDOW.amount - sum(entry[2] for entry in model.admitted)
        assert await house.left(PLACES) == PLACES.amount
        return quick


@given(count=st.integers(1, 3), steps=STEPS)
@settings(max_examples=25, deadline=None, database=None)
def test_gateways_with_slices_never_admit_more_than_is_said_and_lose_nothing(shared_server, count, steps):
    asyncio.run(_walk(shared_server.url, count, steps))


def test_the_walk_uses_slices(shared_server):
    turn = [
        ("burst", 0, 10, 1),
        ("burst", 1, 10, 1),
        ("settle", 0, 12, 50),
        ("settle", 0, 8, 50),
        ("advance", 0.5, 0, 0),
    ]

    assert asyncio.run(_walk(shared_server.url, 2, turn * 6)) > 60
