"""Redis fails in every way that it can, alone and with PostgreSQL, while two gateways share limits and budgets in it.

`FAULT_SECONDS=60` makes each fault last that long.
"""

import asyncio
import os
import time
from contextlib import ExitStack

import httpx
import pytest

from podium.testing.openai_requests import chat_body
from podium.testing.postgres_server import PostgresServer
from podium.testing.redis_server import RedisServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread, unharmed_callers

pytestmark = pytest.mark.scenario

FAULT_S = float(os.environ.get("FAULT_SECONDS", "0.5"))
GATEWAYS = 2
NARROW = 20
DOWN = "podium_shared_store_down"
KNOWN = "podium_shared_store_gateways"
POLICIES = (
    {
        "kind": "LimitPolicy",
        "name": "wide",
        "spec": {
            "where": {"tier": ["wide"]},
            "per": ["key"],
            "limits": [
                {"what": "requests", "amount": 1_000_000, "window_s": 60},
                {"what": "tokens", "amount": 100_000_000, "window_s": 60},
                {"what": "concurrency", "amount": 100},
            ],
        },
    },
    {
        "kind": "LimitPolicy",
        "name": "narrow",
        "spec": {
            "where": {"tier": ["narrow"]},
            "per": ["key"],
            "limits": [
                {"what": "requests", "amount": NARROW, "window_s": 3600, "algorithm": "sliding_window"},
            ],
        },
    },
    {"kind": "Budget", "name": "wide", "spec": {"unit": "usd", "amount": "1000", "period": "day", "per": ["key"]}},
)


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def redis():
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(postgres, redis, tmp_path_factory):
    """A control process and two gateways that all tests here share."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        upstream = stack.enter_context(SimulatorProcess(folder / "upstream.log"))
        site = Site(folder, gateways=GATEWAYS, database_url=postgres.url, redis_url=redis.url)
        stack.enter_context(site.running_control())
        upstream.wait_up()
        site.declare_model(upstream.url, *POLICIES)
        for number in range(GATEWAYS):
            stack.enter_context(site.running_gateway(number))
        yield site


def down(site):
    """For each gateway, whether it counts the shared store as away."""
    return [site.metric(DOWN, number) for number in range(GATEWAYS)]


async def until(site, wanted, *, timeout_s=10):
    await true_in_a_thread(lambda: down(site) == [wanted] * GATEWAYS, timeout_s=timeout_s)


async def until_all_know_each_other(site):
    """A gateway that was told of another one cannot forget it while Redis is away; one that was not cannot know it."""
    everybody = [GATEWAYS] * GATEWAYS
    await true_in_a_thread(
        lambda: [site.metric(KNOWN, number) for number in range(GATEWAYS)] == everybody, timeout_s=10
    )


def callers(site, postgres, name):
    return unharmed_callers(site, postgres, name, workers=2, tier="wide")


async def check_while_it_lasts(site, load):
    """Until the fault's time is over: readiness is green everywhere, calls are answered."""
    until = time.monotonic() + FAULT_S
    while time.monotonic() < until:
        await load.some_more()
        for gateway in site.gateways:
            assert await asyncio.to_thread(gateway.status, "/readyz") == 200
        await asyncio.sleep(0.2)


def chats(site, key, number, count):
    """The statuses of so many chats, one after another, at one gateway."""
    url, headers = f"{site.gateways[number].url}/chat/completions", {"authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers | {"content-type": "application/json"}, trust_env=False) as client:
        return [client.post(url, content=chat_body("m")).status_code for _ in range(count)]


FORBIDDEN = ("EVALSHA", "EVAL", "SCRIPT")
FAULTS = {
    "killed": (RedisServer.kill, RedisServer.start),
    "stalled": (RedisServer.stall, RedisServer.resume),
    "forbids-scripts": (lambda redis: redis.forbid(*FORBIDDEN), lambda redis: redis.allow(*FORBIDDEN)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_callers_do_not_notice_that_redis_is_down(site, postgres, redis, fault):
    begin, end = FAULTS[fault]
    await until(site, 0)
    async with callers(site, postgres, fault) as load:
        await asyncio.to_thread(begin, redis)
        try:
            await until(site, 1)
            await check_while_it_lasts(site, load)
        finally:
            await asyncio.to_thread(end, redis)
        await until(site, 0)


async def test_a_redis_that_loses_its_data_is_used_on(site, postgres, redis):
    await until(site, 0)
    async with callers(site, postgres, "empty") as load:
        await asyncio.to_thread(redis.restart, keep_data=False)
        await load.some_more()
        await until(site, 0)


async def test_callers_do_not_notice_that_postgresql_and_redis_are_down(site, postgres, redis):
    await until(site, 0)
    async with callers(site, postgres, "both") as load:
        await asyncio.to_thread(redis.kill)
        await asyncio.to_thread(postgres.kill)
        try:
            await check_while_it_lasts(site, load)
            assert (await asyncio.to_thread(site.admin, "POST", f"/admin/v1/keys/{load.key_id}/revoke"))[0] == 503
            await load.some_more()
        finally:
            await asyncio.to_thread(postgres.start)
            await asyncio.to_thread(redis.start)
        await until(site, 0)


async def test_limits_are_shared_and_fall_to_their_local_shares_without_redis(site, redis):
    await until(site, 0)
    _, key = await asyncio.to_thread(site.new_key, "shared", tier="narrow")
    statuses = [await asyncio.to_thread(chats, site, key, number, NARROW) for number in range(GATEWAYS)]
    assert statuses == [[200] * NARROW, [429] * NARROW]

    _, key = await asyncio.to_thread(site.new_key, "apart", tier="narrow")
    await until_all_know_each_other(site)
    await asyncio.to_thread(redis.kill)
    try:
        await until(site, 1)
        statuses = [await asyncio.to_thread(chats, site, key, number, NARROW) for number in range(GATEWAYS)]
    finally:
        await asyncio.to_thread(redis.start)
    share = NARROW // GATEWAYS
    assert statuses == [[200] * share + [429] * (NARROW - share)] * GATEWAYS
    await until(site, 0)


@pytest.mark.parametrize("with_redis", [True, False])
async def test_a_revoked_key_is_refused_everywhere_within_two_seconds(site, redis, with_redis):
    await until(site, 0)
    key_id, key = await asyncio.to_thread(site.new_key, "mallory")
    if not with_redis:
        await asyncio.to_thread(redis.kill)
        await until(site, 1)
    try:
        status, text = await asyncio.to_thread(site.admin, "POST", f"/admin/v1/keys/{key_id}/revoke")
        assert status == 200, text
        numbers = range(GATEWAYS)
        await true_in_a_thread(lambda: {site.status_of("m", key, one) for one in numbers} == {401}, timeout_s=2)
    finally:
        if not with_redis:
            await asyncio.to_thread(redis.start)
    await until(site, 0)
