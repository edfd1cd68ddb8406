import asyncio
import inspect
import time

import pytest

from podium.store.redis.limits import RedisGrant
from podium.testing.limiter_conformance import LimiterConformance
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import Bucket, Refusal, charge_of
from podium.traffic.limiting.limiter import Grant

SECOND = 10**9
HOUR = 3600 * SECOND
ONE = charge_of(0, 0)
BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}

REQUESTS = Bucket(key="requests", what="requests", amount=10, window_ns=HOUR)
PLACES = Bucket(key="places", what="concurrency", amount=4)
TOKENS = Bucket(key="tokens", what="tokens", amount=900, window_ns=HOUR, burst=300)


class Conforming:
    """The shared limits as the suite asks a limiter: an end is told before the next thing is asked."""

    def __init__(self, gateway, ask):
        self._gateway, self._ask, self._limiter = gateway, ask, gateway.shared.limiter
        self.lease_ns = self._limiter.lease_ns

    async def acquire(self, buckets, charge):
        return await self._gateway.acquire(buckets, charge)

    async def settle(self, grant, facts):
        self._gateway.settle(grant, facts)
        await eventually(lambda: not self._gateway.untold)

    async def release(self, grant):
        self._gateway.release(grant)
        await eventually(lambda: not self._gateway.untold)

    async def renew(self, grant):
        return await self._limiter.renew(grant)

    async def standings(self, grant):
        return await self._limiter.standings(grant) if isinstance(grant, RedisGrant) else ()

    async def advance(self, duration_ns):
        self._limiter.skew_us += duration_ns // 1000
        self._gateway.clock.advance(max(0, duration_ns) / SECOND)


class TestSharedLimits(LimiterConformance):
    @pytest.fixture
    async def limiter(self, open_gateway, server, ask):
        return Conforming(await open_gateway(server, lease_s=300.0), ask)


async def left(gateway, bucket):
    return (await gateway.limits.look_now(bucket)).left


async def away(*gateways):
    await eventually(lambda: all(gateway.client.state != "up" for gateway in gateways))


async def back(*gateways):
    await eventually(lambda: all(gateway.client.state == "up" for gateway in gateways))


async def test_only_what_the_store_has_to_decide_is_waited_for(open_gateway, server):
    gateway = await open_gateway(server)

    asked = gateway.limits.acquire((REQUESTS,), ONE, 0)

    assert inspect.isawaitable(asked)
    assert isinstance(await asked, RedisGrant)
    assert isinstance(gateway.limits.acquire((), ONE, 0), Grant)


async def test_two_gateways_at_once_never_exceed_a_limit(open_gateway, server):
    gateways = [await open_gateway(server, name) for name in ("one", "two")]

    outcomes = await asyncio.gather(*(gateways[n % 2].acquire((REQUESTS,), ONE) for n in range(50)))

    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 10


async def test_an_end_frees_its_place_before_what_is_asked_next(open_gateway, server):
    gateway = await open_gateway(server)
    place = Bucket(key="place", what="concurrency", amount=1)

    for _ in range(20):
        grant = await gateway.acquire((place,), ONE)
        assert isinstance(grant, Grant)
        gateway.settle(grant, ONE)


async def test_ends_of_one_turn_of_the_loop_make_one_call(open_gateway, server):
    gateway = await open_gateway(server)
    gateway.release(await gateway.acquire((TOKENS, PLACES), charge_of(10, 0)))  # teaches the scripts
    await eventually(lambda: not gateway.untold)
    grants = [await gateway.acquire((TOKENS, PLACES), charge_of(10, 0)) for _ in range(4)]
    calls = gateway.client.figures.calls

    for grant in grants * 2:
        gateway.settle(grant, charge_of(3, 0))
    await eventually(lambda: not gateway.untold)

    assert gateway.client.figures.calls - calls <= 2  # and perhaps a heartbeat
    assert gateway.limits.running == 0
    assert (await left(gateway, PLACES), await left(gateway, TOKENS)) == (4, 288)


async def test_without_the_store_each_gateway_admits_its_share_at_once(own_server, open_gateway):
    gateways = [await open_gateway(own_server, name, **BRISK) for name in ("one", "two", "three")]
    await eventually(lambda: all(gateway.members.count == 3 for gateway in gateways))
    own_server.kill()
    await away(*gateways)

    outcomes = [gateway.limits.acquire((REQUESTS,), ONE, 0) for gateway in gateways for _ in range(8)]

    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 12  # 10 / 3, rounded up, of three
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert {refusal.message for refusal in refusals} == {
        "The limit of 10 requests an hour for all callers together is used up."
    }
    assert {refusal.bucket for refusal in refusals} == {REQUESTS}
    assert all(gateway.members.count == 3 for gateway in gateways)


async def test_a_request_larger_than_the_share_is_told_to_come_again(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK, expected_gateways=3)
    await open_gateway(own_server, "two", **BRISK)
    await eventually(lambda: gateway.members.count == 2)
    own_server.kill()
    await away(gateway)

    assert (await gateway.acquire((TOKENS,), charge_of(200, 0))).retry_after_s == 1.0
    assert (await gateway.acquire((TOKENS,), charge_of(301, 0))).retry_after_s is None
    assert isinstance(await gateway.acquire((TOKENS,), charge_of(150, 0)), Grant)


async def test_a_store_that_was_never_there_stops_nobody(own_server, open_gateway):
    own_server.kill()
    gateway = await open_gateway(own_server, **BRISK, expected_gateways=5)

    outcomes = [gateway.limits.acquire((REQUESTS,), ONE, 0) for _ in range(3)]
    assert [isinstance(outcome, Grant) for outcome in outcomes] == [True, True, False]

    own_server.start()
    await back(gateway)
    assert isinstance(await gateway.acquire((REQUESTS,), ONE), RedisGrant)
    await eventually(lambda: gateway.members.count == 1)


async def test_a_killed_store_costs_a_caller_no_more_than_its_time_limit(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    grants = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(3)]
    own_server.kill()
    began = time.monotonic()
    outcomes = await asyncio.gather(*(gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(20)))
    assert time.monotonic() - began < 1.5  # twenty limits one after the other would be 2 s
    local = [outcome for outcome in outcomes if isinstance(outcome, Grant)]
    assert [type(grant) for grant in local] == [Grant] * 4
    for grant in (*grants, *local):
        gateway.settle(grant, ONE)
    await away(gateway)
    assert isinstance(gateway.limits.acquire((PLACES,), ONE, 0), Grant)

    own_server.start()
    await back(gateway)
    await eventually(lambda: not gateway.untold)

    assert (await left(gateway, PLACES), await left(gateway, REQUESTS)) == (4, 7)
    assert gateway.limits.local.granted == 5


async def test_a_stalled_store_takes_nothing_afterwards(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    await gateway.acquire((REQUESTS,), ONE)
    own_server.stall()
    began = time.monotonic()
    outcomes = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(6)]
    assert time.monotonic() - began < 2.0  # three time limits, and then none
    assert [type(outcome) for outcome in outcomes] == [Grant] * 4 + [Refusal] * 2
    await away(gateway)
    await asyncio.sleep(0.15)  # the stall has to outlast the deadlines
    own_server.resume()
    await back(gateway)

    await eventually(lambda: not gateway.untold)
    assert (await left(gateway, REQUESTS), await left(gateway, PLACES)) == (9, 4)


async def test_a_store_that_lost_its_data_starts_afresh(own_server, open_gateway):
    gateway = await open_gateway(own_server)
    old = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(3)]
    own_server.restart(keep_data=False)

    new = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(4)]
    for grant in old:
        gateway.settle(grant, ONE)
    await eventually(lambda: not gateway.untold)

    assert all(isinstance(grant, RedisGrant) for grant in new)
    assert (await left(gateway, REQUESTS), await left(gateway, PLACES)) == (6, 0)


async def test_what_was_counted_survives_a_restart(own_server, open_gateway):
    gateway = await open_gateway(own_server)
    grants = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(3)]
    own_server.restart()
    for grant in grants:
        gateway.settle(grant, ONE)
    await back(gateway)
    await eventually(lambda: not gateway.untold)

    assert (await left(gateway, REQUESTS), await left(gateway, PLACES)) == (7, 4)


async def test_a_store_that_forbids_scripts_is_done_without(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    own_server.forbid("EVAL", "EVALSHA")

    outcomes = [await gateway.acquire((REQUESTS,), ONE) for _ in range(11)]
    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 10
    await eventually(lambda: gateway.client.state == "unusable")

    own_server.allow("EVAL", "EVALSHA")
    await back(gateway)
    assert isinstance(await gateway.acquire((REQUESTS,), ONE), RedisGrant)


async def test_a_store_that_answers_slower_than_allowed_is_done_without(own_server, open_gateway, relayed):
    async with relayed(own_server.port) as relay:
        gateway = await open_gateway(own_server, url=f"redis://127.0.0.1:{relay.port}/0", **BRISK)
        assert isinstance(await gateway.acquire((REQUESTS, PLACES), ONE), RedisGrant)
        relay.slowness_s = 0.3
        began = time.monotonic()
        outcomes = [await gateway.acquire((REQUESTS, PLACES), ONE) for _ in range(20)]
        assert time.monotonic() - began < 1.9  # at 0.1 s each it would be 2 s
        assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 4
        relay.slowness_s = 0
        await back(gateway)
        await eventually(lambda: not gateway.untold)
        assert (await left(gateway, REQUESTS), await left(gateway, PLACES)) == (9, 3)


async def test_a_key_of_another_kind_does_not_fail_a_caller(open_gateway, server):
    gateway = await open_gateway(server)
    server.command("LPUSH", "{podium}:limit2:bucket:requests", "?")

    assert type(await gateway.acquire((REQUESTS,), ONE)) is Grant


async def test_who_goes_away_while_it_is_decided_takes_nothing(open_gateway, server):
    gateway = await open_gateway(server)
    await gateway.acquire((REQUESTS,), ONE)
    asked = asyncio.create_task(gateway.acquire((REQUESTS, PLACES), ONE))
    for _ in range(3):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await eventually(lambda: not gateway.untold)

    assert (await left(gateway, REQUESTS), await left(gateway, PLACES)) == (9, 4)


async def test_what_runs_longer_than_a_lease_keeps_its_place(open_gateway, server):
    gateway = await open_gateway(server, lease_s=0.12)
    grant = await gateway.acquire((PLACES,), ONE)
    (lost,) = [await gateway.acquire((PLACES,), ONE)]
    gateway.limits._running.end(lost)  # as if its gateway had died

    await eventually(lambda: gateway.client.figures.calls > 12)
    assert await left(gateway, PLACES) == 3
    gateway.settle(grant, ONE)
    await eventually(lambda: not gateway.untold)
    assert await left(gateway, PLACES) == 4


async def test_ends_that_cannot_be_told_are_given_up_and_counted(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK, lease_s=0.2)
    grant = await gateway.acquire((REQUESTS,), ONE)
    own_server.kill()
    gateway.settle(grant, ONE)

    await eventually(lambda: gateway.limits.outbox.given_up == 1)
    assert gateway.untold == 0


async def test_what_waits_is_told_at_the_end(open_gateway, server):
    other = await open_gateway(server, "two")
    gateway = await open_gateway(server)
    grants = [await gateway.acquire((PLACES,), ONE) for _ in range(4)]
    for grant in grants:
        gateway.settle(grant, ONE)
    await gateway.limits.__aexit__(None, None, None)

    assert await left(other, PLACES) == 4
    await gateway.limits.__aenter__()


async def test_operators_see_what_the_store_last_said(open_gateway, server):
    gateway = await open_gateway(server)
    for _ in range(11):
        await gateway.acquire((REQUESTS,), ONE)
    gateway.clock.advance(60)

    standing, refused = gateway.limits.look(REQUESTS, gateway.clock.monotonic_ns())

    assert (standing.left, standing.reset_ns // SECOND) == (0, 3539)
    assert (refused.ago_ns, refused.amount, refused.wait_ns // SECOND) == (60 * SECOND, 1, 359)
    other = Bucket(key="other", what="requests", amount=5, window_ns=HOUR)
    assert gateway.limits.look(other, 0)[0].left == 5
