import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.limits import RedisGrant, RedisLimiter
from podium.store.redis.scripts import Scripts
from podium.store.redis.settings import RedisSettings
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import Bucket, Refusal, charge_of
from podium.traffic.limiting.limiter import Limiter

SECOND = 10**9
HOUR = 3600 * SECOND
MINUTE = 60 * SECOND
ONE = charge_of(0, 0)
BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}

REQUESTS = Bucket(key="requests", what="requests", amount=3, window_ns=HOUR)
PLACES = Bucket(key="places", what="concurrency", amount=2)


@pytest.fixture
def limiter(client, scripts):
    return RedisLimiter(client, scripts)


def limiter_of(client):
    return RedisLimiter(client, Scripts(client))


async def test_many_gateways_keep_one_limit(open_client, server):
    limiters = [limiter_of(await open_client(server)) for _ in range(3)]

    outcomes = await asyncio.gather(*(limiters[number % 3].acquire((REQUESTS,), ONE) for number in range(60)))

    assert sum(isinstance(outcome, RedisGrant) for outcome in outcomes) == 3


async def test_decisions_of_one_turn_of_the_loop_make_one_round_trip(limiter, client):
    await limiter.acquire((REQUESTS,), ONE)
    before = client.figures.round_trips

    await asyncio.gather(*(limiter.acquire((REQUESTS, PLACES), ONE) for _ in range(100)))

    assert client.figures.round_trips - before == 1


async def test_a_grant_says_how_its_buckets_stand(limiter):
    grant = await limiter.acquire((REQUESTS, PLACES), ONE)

    assert [standing.left for standing in grant.told] == [2, 1]
    assert grant.told[0].reset_ns == pytest.approx(HOUR / 3, abs=SECOND)


async def test_a_decision_that_the_server_took_after_a_stall_takes_nothing(own_server, open_client):
    client = await open_client(own_server, **BRISK)
    limiter = limiter_of(client)
    await limiter.acquire((REQUESTS,), ONE)
    own_server.stall()
    began = time.monotonic()

    ends = await asyncio.gather(*(limiter.acquire((REQUESTS, PLACES), ONE) for _ in range(2)), return_exceptions=True)
    took_s = time.monotonic() - began
    await eventually(lambda: client.state == "down")
    await asyncio.sleep(0.15)  # the stall has to outlast the deadlines
    own_server.resume()
    await eventually(lambda: client.state == "up")

    assert {end.trouble for end in ends} == {StoreTrouble.TIMEOUT}
    assert took_s < 2
    grant = await limiter.acquire((REQUESTS, PLACES), ONE)
    assert [standing.left for standing in grant.told] == [1, 1]
    assert limiter.unended == 0


async def test_an_end_that_could_not_be_told_is_told_later(own_server, open_client):
    client = await open_client(own_server, **BRISK)
    limiter = limiter_of(client)
    grants = [await limiter.acquire((PLACES,), ONE) for _ in range(2)]
    own_server.kill()
    for grant in grants:
        await limiter.settle(grant, ONE)
    assert limiter.unended == 2
    with pytest.raises(StoreUnavailable):
        await limiter.acquire((PLACES,), ONE)
    own_server.start()
    await eventually(lambda: client.state == "up")

    await limiter.acquire((), ONE)
    outcomes = [await limiter.acquire((PLACES,), ONE) for _ in range(3)]

    assert limiter.unended == 0
    assert sum(isinstance(outcome, RedisGrant) for outcome in outcomes) == 2


async def test_who_goes_away_while_it_is_decided_takes_nothing(limiter):
    await limiter.acquire((REQUESTS,), ONE)
    asked = asyncio.create_task(limiter.acquire((REQUESTS, PLACES), ONE))
    for _ in range(4):  # until it is sent
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    assert asked.cancelled() and limiter.unended == 1
    await limiter.acquire((), ONE)
    await limiter.acquire((REQUESTS,), ONE)
    grant = await limiter.acquire((REQUESTS, PLACES), ONE)
    assert [standing.left for standing in grant.told] == [0, 1]
    assert limiter.unended == 0


async def test_a_decision_that_is_asked_for_twice_is_taken_once(limiter):
    grant = limiter.grant((REQUESTS, PLACES), ONE)

    first, second = await limiter._take(grant), await limiter._take(grant)

    assert (first[0], second[0]) == (1, 1)
    assert (first[2], second[2]) == (2, 2)


async def test_a_store_that_lost_its_data_starts_afresh_and_knows_no_old_grant(own_server, open_client):
    client = await open_client(own_server)
    limiter = limiter_of(client)
    old = [await limiter.acquire((REQUESTS, PLACES), ONE) for _ in range(2)]
    own_server.restart(keep_data=False)

    new = [await limiter.acquire((REQUESTS, PLACES), ONE) for _ in range(2)]
    for grant in old:
        await limiter.release(grant)

    assert all(isinstance(grant, RedisGrant) for grant in new)
    assert [standing.left for standing in await limiter.standings(new[0])] == [1, 0]
    assert not await limiter.renew(old[0])


async def test_what_was_counted_survives_a_failover_to_a_replica(own_server, open_client):
    client = await open_client(own_server)
    limiter = limiter_of(client)
    for _ in range(3):
        await limiter.acquire((REQUESTS,), ONE)

    own_server.restart()

    assert isinstance(await limiter.acquire((REQUESTS,), ONE), Refusal)


async def test_every_key_ends_by_itself(limiter, server):
    window = Bucket(key="window", what="tokens", amount=100, window_ns=MINUTE, algorithm="sliding_window")
    await limiter.acquire((REQUESTS, PLACES, window), charge_of(5, 5))

    keys = [key.decode() for key in server.command("KEYS", "*")]

    assert len(keys) == 4
    assert all(key.startswith("{podium}:limit2:") and server.command("PTTL", key) >= 600_000 for key in keys)


BUCKETS = (
    Bucket(key="g", what="tokens", amount=600, window_ns=MINUTE),
    Bucket(key="b", what="input_tokens", amount=600, window_ns=MINUTE, burst=50),
    Bucket(key="s", what="tokens", amount=300, window_ns=MINUTE, algorithm="sliding_window"),
    Bucket(key="c", what="concurrency", amount=3),
)
TOKENS = st.integers(0, 120)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), TOKENS, st.sets(st.integers(0, 3), min_size=1)),
        st.tuples(st.just("settle"), st.integers(0, 8), TOKENS),
        st.tuples(st.just("advance"), st.integers(1, 40), st.none()),
    ),
    max_size=30,
)
_NAMES = iter(range(10**9))


async def _compare(url, steps):
    """Both limiters go through the same; the shared one's clock runs on while it does, but by far less than a step."""
    memory, now_ns, name = Limiter(lease_ns=600 * SECOND), 0, next(_NAMES)
    async with RedisClient(RedisSettings(url=url, timeout_ms=2000, prefix=f"{{p{name}}}")) as client:
        shared = RedisLimiter(client, Scripts(client), lease_ns=600 * SECOND)
        (seconds, micros) = await client.send("TIME")
        # Slots of sliding windows begin at the same moments for both.
        shared.skew_us = -(int(seconds) * 1_000_000 + int(micros)) % (60 * 1_000_000) + 100_000
        grants = []
        for kind, number, more in steps:
            if kind == "advance":
                now_ns += number * SECOND
                shared.skew_us += number * 1_000_000
            elif kind == "settle" and grants:
                one, other = grants.pop(number % len(grants))
                memory.settle(one, charge_of(more, 0), now_ns)
                await shared.settle(other, charge_of(more, 0))
            elif kind == "acquire":
                buckets = tuple(BUCKETS[index] for index in sorted(more))
                one = memory.acquire(buckets, charge_of(number, 0), now_ns)
                other = await shared.acquire(buckets, charge_of(number, 0))
                if isinstance(one, Refusal) is not isinstance(other, Refusal):
                    assert isinstance(one, Refusal), "later is never stricter"
                    assert _is_close(memory, buckets, charge_of(number, 0), now_ns), (steps, one, other)
                    return
                if isinstance(one, Refusal):
                    assert one.bucket == other.bucket or one.retry_after_s == pytest.approx(other.retry_after_s, abs=2)
                else:
                    grants.append((one, other))


def _is_close(memory, buckets, charge, now_ns):
    """True when a few seconds more or less change the decision: the shared limiter's clock had run on."""
    outcome = memory.acquire(buckets, charge, now_ns + 2 * SECOND)
    return not isinstance(outcome, Refusal)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, database=None)
def test_the_shared_limiter_decides_as_the_one_in_memory(shared_server, steps):
    asyncio.run(_compare(shared_server.url, steps))
