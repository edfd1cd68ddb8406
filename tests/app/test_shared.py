import pytest

from podium.app.shared import open_shared, register_shared_gauges
from podium.core.clock import SystemClock
from podium.core.errors import OperatorError
from podium.economics.budgets.values import Cost
from podium.store.redis.settings import RedisSettings
from podium.telemetry.process_metrics import ProcessMetrics
from podium.testing.budget_conformance import make_charge
from podium.testing.redis_server import RedisServer
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import Bucket, charge_of

PLACES = Bucket(key="places", what="concurrency", amount=1)


@pytest.fixture
def server():
    with RedisServer() as running:
        yield running


def settings_of(server):
    return RedisSettings(url=server.url, timeout_ms=500, connect_timeout_ms=500, probe_interval_ms=50)


def figures_of(shared):
    """The values that are exposed, by the names and labels of their lines."""
    metrics = ProcessMetrics()
    register_shared_gauges(metrics, shared)
    lines = (line.rpartition(" ") for line in metrics.render().decode().splitlines() if line[0] != "#")
    return {name.removeprefix("podium_shared_store_"): float(value) for name, _, value in lines}


async def test_an_alarm_rises_while_the_store_is_away_and_decisions_are_counted(server):
    server.kill()
    async with open_shared(settings_of(server), "one", SystemClock()) as shared:
        shared.limits.acquire((PLACES,), charge_of(0, 0), 0)
        shared.limits.acquire((PLACES,), charge_of(0, 0), 0)
        shared.budgets.reserve(bytes(16), (make_charge(),), Cost(1, 1), 0, 0)
        shared.budgets.settle(bytes(16), Cost(1, 1))
        found = figures_of(shared)

        assert found["down"] == 1
        assert found["times_down_total"] == 1
        assert found["untold"] == 1
        assert found['local_decisions{what="limits",outcome="granted"}'] == 1
        assert found['local_decisions{what="limits",outcome="refused"}'] == 1
        assert found['local_decisions{what="budgets",outcome="granted"}'] == 1

        server.start()
        await eventually(lambda: shared.client.state == "up" and not shared.budgets.outbox)
        found = figures_of(shared)
        assert (found["down"], found["untold"], found["gateways"]) == (0, 0, 1)
        assert found["calls_total"] > 0


async def test_its_parts_use_one_store(server):
    async with open_shared(settings_of(server), "one", SystemClock()) as shared:
        assert await shared.notices.give("snapshot") > 0
        assert (await shared.leases.take("repair", "one", 1000)).owner == "one"
        assert await shared.store.accounts("", 10) == ()
        assert (await shared.limits.look_now(PLACES)).left == 1


async def test_settings_that_can_never_work_stop_the_start():
    for url in (None, "redis:///0"):
        with pytest.raises(OperatorError):
            async with open_shared(RedisSettings(url=url), "one", SystemClock()):
                pass
