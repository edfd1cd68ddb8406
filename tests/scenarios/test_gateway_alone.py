"""A gateway whose disk is full, and one that is all that is left of a Podium."""

import asyncio
import resource
from contextlib import ExitStack

import pytest

from podium.testing.load import Load
from podium.testing.postgres_server import PostgresServer
from podium.testing.redis_server import RedisServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import Callers, true_in_a_thread
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

WORKERS = 4


@pytest.fixture
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis():
    with RedisServer() as server:
        yield server


@pytest.fixture
def upstream(tmp_path):
    with SimulatorProcess(tmp_path / "upstream.log") as upstream:
        upstream.wait_up()
        yield upstream


async def test_everything_but_a_gateway_is_gone_and_it_serves_on_also_after_a_restart(
    postgres, redis, upstream, tmp_path
):
    soon = {"PODIUM_CONTROL_LEASE_TTL_S": "1.5"}  # the next control process need not wait long for the killed one
    site = Site(tmp_path, database_url=postgres.url, redis_url=redis.url, environment=soon)
    with ExitStack() as stack:
        control = stack.enter_context(site.running_control())
        site.declare_model(upstream.url)
        gateway = stack.enter_context(site.running_gateway())
        key = await asyncio.to_thread(site.new_key, "alice")
        await true_in_a_thread(lambda: site.status_of("m", key[1]) == 200, timeout_s=2)
        async with Load(site.gateways[0].port, key[1], model="m", name="before") as before:
            everybody = Callers(site, postgres, key, [before])
            await everybody.some_more()
            for server in (control, redis, postgres):
                await asyncio.to_thread(server.kill)
            await everybody.some_more()
            gateway.kill()
        # Control says what is wrong, and does not stay.
        refuses = site.start_control()
        assert await asyncio.to_thread(refuses.wait, 30) != 0
        assert "database cannot be reached" in refuses.output()
        assert "Traceback" not in refuses.output()

        stack.enter_context(site.running_gateway())
        async with Load(site.gateways[0].port, key[1], model="m", name="after") as after:
            await Callers(site, postgres, key, [after]).some_more()
            for server in (redis, postgres):
                await asyncio.to_thread(server.start)
            stack.enter_context(site.running_control())
            await Callers(site, postgres, key, [after]).some_more()
        assert {(one.whole, one.status) for one in after.seen} == {(True, 200)}
        # What was cut off when the gateway was killed may be there or not; everything else is, once.
        served = {one.request_id for load in (before, after) for one in load.served}
        await true_in_a_thread(lambda: served <= everybody.recorded().keys(), timeout_s=20)
        recorded = await asyncio.to_thread(everybody.recorded)
        assert set(recorded.values()) == {1}
        cut_off = {one.request_id for one in before.seen if not one.whole}
        assert recorded.keys() - served <= cut_off


async def test_a_full_disk_under_the_journal_refuses_calls_before_they_cost_anything(postgres, upstream, tmp_path):
    environment = {"PODIUM_JOURNAL_PROBE_INTERVAL_S": "0.1"}
    site = Site(tmp_path, database_url=postgres.url, environment=environment)
    with ExitStack() as stack:
        stack.enter_context(site.running_control())
        site.declare_model(upstream.url)
        gateway = stack.enter_context(site.running_gateway())
        key = await asyncio.to_thread(site.new_key, "alice")
        await true_in_a_thread(lambda: site.status_of("m", key[1]) == 200, timeout_s=2)

        def refused():
            return [one for one in load.seen if one.status == 503]

        async with Load(site.gateways[0].port, key[1], model="m", workers=WORKERS) as load:
            callers = Callers(site, postgres, key, [load])
            await callers.some_more()
            _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
            # Nothing can be added to any file, the log among them.
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1, hard))
            await eventually(lambda: len(refused()) > 50, timeout_s=10)
            called = await asyncio.to_thread(lambda: upstream.requests)
            sofar, served = len(refused()), len(load.served)
            await eventually(lambda: len(refused()) > sofar + 50, timeout_s=10)
            # As long as the disk is full nobody is called; whoever is refused is told at once.
            assert await asyncio.to_thread(lambda: upstream.requests) == called
            assert len(load.served) == served
            assert await asyncio.to_thread(site.gateways[0].status, "/readyz") == 503
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (hard, hard))
            await callers.some_more()
            assert await asyncio.to_thread(site.gateways[0].status, "/readyz") == 200
        assert gateway.running
        others = [one for one in load.seen if not one.served and one not in refused()]
        assert len(others) <= WORKERS  # in the middle of an answer just then: told of an error
        assert {(one.whole, one.status) for one in others} <= {(True, 599)}
        assert max(one.took_s for one in refused()) < 1.0
        served = {one.request_id for one in load.served}
        await true_in_a_thread(lambda: served <= callers.recorded().keys(), timeout_s=20)
        assert set((await asyncio.to_thread(callers.recorded)).values()) == {1}
