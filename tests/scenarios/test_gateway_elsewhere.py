"""A gateway on another machine: a data folder of its own, and nothing but the addresses of the stores and the secret."""

import asyncio
import os
import time
from contextlib import ExitStack

import httpx
import pytest

from podium.testing.load import Load
from podium.testing.postgres_server import PostgresServer
from podium.testing.processes import Installation
from podium.testing.redis_server import RedisServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site, stores_environment
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario
SECRET = os.urandom(32).hex()


def status(gateway, key):
    """What a look-up at a gateway answers; 0 when nobody does."""
    headers = {"authorization": f"Bearer {key}"}
    try:
        return httpx.get(f"{gateway.url}/models", headers=headers, timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return 0


class House:
    """Control and a gateway in one folder, another gateway in another, PostgreSQL and Redis."""

    def __init__(self, folder, stack):
        self.postgres = stack.enter_context(PostgresServer())
        self.redis = stack.enter_context(RedisServer())
        self.upstream = stack.enter_context(SimulatorProcess(folder / "upstream.log"))
        secret = {"PODIUM_IDENTITY_ROOT_SECRET": SECRET}
        urls = {"database_url": self.postgres.url, "redis_url": self.redis.url}
        self.site = Site(folder / "here", gateways=1, environment=secret, **urls)
        named = {"PODIUM_GATEWAY_NAME": "elsewhere"}
        self.elsewhere = Installation(
            folder / "elsewhere", extra_environment=secret | named | stores_environment(**urls)
        )
        stack.enter_context(self.site.running_control())
        stack.enter_context(self.site.running_gateway())
        self._stack = stack
        self.start_elsewhere()
        self.upstream.wait_up()
        self.site.declare_model(self.upstream.url)

    def start_elsewhere(self):
        """Start the gateway in the other folder, once or again."""
        self.process = self._stack.enter_context(self.elsewhere.start("gateway"))
        self.elsewhere.wait_ready(self.process)

    @property
    def gateways(self):
        return (self.site.gateways[0], self.elsewhere)

    def new_key(self, name):
        """A key that both know."""
        made, known_s = self.site.new_key(name), time.monotonic() + 3
        while {status(one, made[1]) for one in self.gateways} != {200}:
            assert time.monotonic() < known_s
        return made

    def revoke(self, key_id):
        """Revoke a key; when that was done."""
        assert self.site.admin("POST", f"/admin/v1/keys/{key_id}/revoke")[0] // 100 == 2
        return time.monotonic()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("house"), stack)


async def test_what_it_serves_comes_into_the_ledger_from_its_own_disk(house):
    key_id, key = await asyncio.to_thread(house.new_key, "far")
    async with Load(house.elsewhere.port, key, model="m", name="far") as load:
        await eventually(lambda: len(load.served) > 20, timeout_s=10)
    count = "SELECT request_id FROM exchanges WHERE key_id = $1 AND gateway = 'elsewhere'"
    served = {one.request_id for one in load.served}
    await eventually(
        lambda: served <= {row[0] for row in house.postgres.execute(count, key_id)}, timeout_s=12, interval_s=0.2
    )
    assert not (house.elsewhere.data / "secret.key").exists()  # it has the one that it was given


async def refused_by_both(house, key, since_s):
    while {await asyncio.to_thread(status, one, key) for one in house.gateways} != {401}:
        assert time.monotonic() < since_s + 2


async def test_a_revoked_key_is_refused_everywhere_within_two_seconds_whatever_becomes_of_redis(house):
    keys = [await asyncio.to_thread(house.new_key, name) for name in ("up", "stalled", "down")]
    await refused_by_both(house, keys[0][1], await asyncio.to_thread(house.revoke, keys[0][0]))
    house.redis.stall()
    try:
        await refused_by_both(house, keys[1][1], await asyncio.to_thread(house.revoke, keys[1][0]))
    finally:
        house.redis.resume()
    house.redis.kill()
    try:
        await refused_by_both(house, keys[2][1], await asyncio.to_thread(house.revoke, keys[2][0]))
    finally:
        house.redis.start()


async def test_it_starts_again_while_the_database_is_away_and_follows_when_that_is_back(house):
    _, key = await asyncio.to_thread(house.new_key, "kept")
    house.process.kill()
    await asyncio.to_thread(house.postgres.kill)
    try:
        await asyncio.to_thread(house.start_elsewhere)
        assert await asyncio.to_thread(status, house.elsewhere, key) == 200
    finally:
        await asyncio.to_thread(house.postgres.start)
    await eventually(lambda: house.site.admin_status("/readyz") == 200, timeout_s=10, interval_s=0.1)
    assert await asyncio.to_thread(house.new_key, "newest")
