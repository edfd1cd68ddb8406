"""What processes tell each other through Redis: new snapshots, and breakers that opened."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from podium.app.gossip import BREAKERS, GossipCarrier
from podium.app.notices import SNAPSHOTS, ToldSnapshots
from podium.core.clock import SystemClock
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.world import World
from podium.store.redis.client import RedisClient
from podium.store.redis.notices import Listener, Notices
from podium.store.redis.scripts import Scripts
from podium.store.redis.settings import RedisSettings
from podium.store.snapshot_store import SnapshotStore
from podium.testing.gateway import gateway_snapshot
from podium.testing.redis_server import RedisServer
from podium.testing.waiting import eventually
from podium.traffic.breaker import BreakerState, CallResult
from podium.upstreams.providers import LocalWorkers, Providers

KEY = b"k" * 32


@pytest.fixture(scope="module")
def redis():
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def connected(redis):
    async with RedisClient(RedisSettings(url=redis.url, timeout_ms=1000)) as client:
        yield client, Notices(client, Scripts(client))


async def test_a_publication_is_told_to_who_listens_and_only_once_it_can_be_read(redis, tmp_path):
    file, heard = SnapshotStore(tmp_path / "snapshot.bin", KEY), []

    def hear(notice):
        heard.append((notice.payload, (tmp_path / "snapshot.bin").exists()))

    async with connected(redis) as (client, notices), Listener(client, (SNAPSHOTS,), hear, poll_s=30.0) as listener:
        await eventually(lambda: listener.subscribed)
        await ToldSnapshots(file, notices).publish(Snapshot(revision=7, published_unix_s=1.0))
        await eventually(lambda: (b"7", True) in heard)


async def test_a_store_that_is_away_hinders_no_publication(tmp_path):
    file = SnapshotStore(tmp_path / "snapshot.bin", KEY)
    settings = RedisSettings(url="redis://127.0.0.1:9/0", connect_timeout_ms=50)
    async with RedisClient(settings) as client, asyncio.timeout(2):
        told = ToldSnapshots(file, Notices(client, Scripts(client)))
        await told.publish(Snapshot(revision=7, published_unix_s=1.0))
    assert await told.last_revision() == 7


class Gateway:
    """What gossip needs of one."""

    def __init__(self, name, providers, client, notices):
        self.fleet = Fleet()
        pools = World(gateway_snapshot([f"http://127.0.0.1:{n}/v1" for n in (7, 9)]), providers, self.fleet, 0).pools()
        self.state = next(iter(pools.values())).backends[0].state
        self.breaker = self.state.breaker
        self.carrier = GossipCarrier(name, lambda: pools, self.fleet, notices, SystemClock())
        self.listener = Listener(client, (BREAKERS,), self.carrier.take, poll_s=30.0)


async def test_a_breaker_that_opens_in_one_gateway_opens_in_the_others(redis):
    providers = Providers(LocalWorkers({}, "key"))
    async with AsyncExitStack() as stack:
        stack.callback(providers.close)
        gateways = []
        for _ in range(3):  # all of one name, as a careless operator would have it
            gateway = Gateway("same", providers, *await stack.enter_async_context(connected(redis)))
            await stack.enter_async_context(gateway.listener)
            task = asyncio.create_task(gateway.carrier.run())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            gateways.append(gateway)
        await eventually(lambda: all(one.listener.subscribed for one in gateways))
        first, *others = gateways
        changes = [one.fleet.changes for one in others]
        while first.breaker.state is not BreakerState.OPEN:
            now_ns = SystemClock().monotonic_ns()
            first.state.leave(first.state.enter(now_ns), CallResult.FAILED, now_ns, first_content_ms=1.0)
        await eventually(lambda: all(one.breaker.state is BreakerState.OPEN for one in others), timeout_s=5)
        assert all(one.fleet.changes > before for one, before in zip(others, changes, strict=True))
        assert [one.carrier.gossip.believed for one in gateways] == [0, 1, 1]
