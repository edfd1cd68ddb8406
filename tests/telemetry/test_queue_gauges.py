"""The queues' gauges, over a real pool of a provider that nobody calls."""

import asyncio

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium.core.resources import Model
from podium.core.serving import Concurrency, Queueing
from podium.gateway.fleet import Fleet
from podium.gateway.queue import Turn
from podium.gateway.world import World
from podium.telemetry.fleet_gauges import FleetGauges
from podium.telemetry.process_metrics import ProcessMetrics
from podium.testing.clock import TestClock
from podium.testing.gateway import gateway_snapshot
from podium.traffic.queueing.fair_queue import Priority
from podium.upstreams.providers import LocalWorkers, Providers

NEVER_NS = 1 << 62


class House:
    def __init__(self, providers, models, **settings):
        self.clock = TestClock()
        snapshot = gateway_snapshot(models=tuple(models))
        specs = {name: Model(version=f"{name}-1", queueing=queueing) for name, queueing in models.items()}
        self.fleet = Fleet()
        self.world = World(
            msgspec.structs.replace(snapshot, models=specs), providers, self.fleet, self.clock.monotonic_ns()
        )
        self.metrics = ProcessMetrics()
        FleetGauges(self.world.pools, self.clock, **settings).register(self.metrics)

    def values(self, name):
        """The samples of a metric as Prometheus reads them: values by labels."""
        families = text_string_to_metric_families(self.metrics.render().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {tuple(sample.labels.values()): sample.value for sample in samples}


@pytest.fixture
def house():
    providers = Providers(LocalWorkers({}, ""))
    yield lambda models, **settings: House(providers, models, **settings)
    providers.close()


async def test_models_without_a_queue_have_no_figures(house):
    plain = house({"m": None})
    for name in ("entries", "wait_seconds", "running", "places"):
        assert plain.values(f"podium_queue_{name}") == {}
    assert plain.values("podium_saturation") == plain.values("podium_backend_limit") == {}


async def test_a_queue_shows_who_runs_who_waits_and_how_saturated_it_is(house):
    busy = house({"m": Queueing(places=2, max_wait_s=10.0, max_entries=10), "plain": None})
    queue, clock, loop = busy.world.pool("m").queue, busy.clock, asyncio.get_running_loop()
    assert busy.values("podium_queue_places") == {("m",): 2}
    assert busy.values("podium_saturation") == {("m",): 0}
    for _ in range(2):
        assert queue.try_enter(clock.monotonic_ns())
    turns = [Turn("t", NEVER_NS), Turn("t", NEVER_NS), Turn("t", NEVER_NS, Priority.BATCH)]
    waits = [asyncio.create_task(queue.wait(turn, clock, loop, lambda: 0.0)) for turn in turns]
    await asyncio.sleep(0)
    assert busy.values("podium_queue_running") == {("m",): 2}
    assert busy.values("podium_queue_entries") == {("m", "critical"): 0, ("m", "standard"): 2, ("m", "batch"): 1}
    assert busy.values("podium_queue_wait_seconds") == {("m",): pytest.approx(3.0)}  # a guess: 3 of 10 entries
    busy.values("podium_saturation")
    clock.advance(60)
    assert busy.values("podium_saturation")[("m",)] == pytest.approx(1.3, abs=0.05)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert set(busy.values("podium_queue_entries").values()) == {0}


async def test_limits_that_were_found_are_shown_by_backend(house):
    found = house({"m": Queueing(concurrency=Concurrency(initial=7))})
    assert found.values("podium_backend_limit") == {("m", "provider-0/m"): 7}
    assert found.values("podium_queue_places") == {("m",): 7}
    found.world.pool("m").backends[0].state.load.weight = 0
    found.fleet.noticed()
    assert found.values("podium_queue_places") == {("m",): 0}


async def test_of_many_models_the_first_are_shown(house):
    crowd = house({f"m{number}": Queueing(places=1) for number in range(30)}, max_series=30)
    assert len(crowd.values("podium_queue_places")) == 10
    assert len(crowd.values("podium_queue_entries")) == 30
