"""The fleet's gauges, over real pools of providers that nobody calls."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium.core.resources import BackendSpec, Model, Version
from podium.core.serving import CircuitBreaker, FailureHandling
from podium.gateway.fleet import Fleet
from podium.gateway.world import World
from podium.telemetry.fleet_gauges import FleetGauges
from podium.telemetry.process_metrics import ProcessMetrics
from podium.telemetry.series import OTHER
from podium.testing.clock import TestClock
from podium.testing.gateway import gateway_snapshot
from podium.traffic.account_backoff import NoticeSource, RateLimitNotice
from podium.traffic.breaker import CallResult
from podium.upstreams.providers import LocalWorkers, Providers

URLS = ["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"]
FIRST = {"model": "m", "backend": "provider-0/m"}
SECOND = {"model": "m", "backend": "provider-1/m"}


class House:
    def __init__(self, providers, **changes):
        self.clock = TestClock()
        self.snapshot = msgspec.structs.replace(gateway_snapshot(URLS, models=("m",)), **changes)
        self.world = World(self.snapshot, providers, Fleet(), self.clock.monotonic_ns())
        self.metrics = ProcessMetrics()

    def show(self, **settings):
        FleetGauges(self.world.pools, self.clock, **settings).register(self.metrics)
        return self

    @property
    def states(self):
        return [backend.state for backend in self.world.pool("m").backends]

    def values(self, name):
        """The samples of a metric as Prometheus reads them: labels and value."""
        families = text_string_to_metric_families(self.metrics.render().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return [(sample.labels, sample.value) for sample in samples]


@pytest.fixture
def house():
    providers = Providers(LocalWorkers({}, ""))
    yield lambda **changes: House(providers, **changes)
    providers.close()


async def test_a_calm_fleet_has_nobody_out(house):
    calm = house().show()

    assert calm.values("podium_backend_out") == []
    assert calm.values("podium_backend_in_flight") == [(FIRST, 0), (SECOND, 0)]
    assert calm.values("podium_backend_breaker_state") == [(FIRST, 0), (SECOND, 0)]
    assert calm.values("podium_account_breaker_state") == []
    assert calm.values("podium_account_left_alone_seconds") == [
        ({"account": "provider-0"}, 0),
        ({"account": "provider-1"}, 0),
    ]


async def test_calls_that_run_are_shown_by_backend_and_account(house):
    busy = house().show()
    first, _ = busy.states

    places = [first.enter(0) for _ in range(3)]
    assert busy.values("podium_backend_in_flight") == [(FIRST, 3), (SECOND, 0)]
    assert busy.values("podium_account_in_flight") == [({"account": "provider-0"}, 3), ({"account": "provider-1"}, 0)]

    for place in places:
        first.leave(place, CallResult.OK, 1, first_content_ms=1.0)
    assert busy.values("podium_backend_in_flight") == [(FIRST, 0), (SECOND, 0)]


async def test_an_open_breaker_is_a_state_and_a_reason(house):
    models = {"m": Model(version="m-1", failure=FailureHandling(breaker=CircuitBreaker(consecutive_failures=2)))}
    failing = house(models=models).show()
    _, second = failing.states

    for _ in range(2):
        now_ns = failing.clock.monotonic_ns()
        second.leave(second.enter(now_ns), CallResult.FAILED, now_ns, first_content_ms=1.0)

    assert failing.values("podium_backend_out") == [(SECOND | {"reason": "breaker_open"}, 1)]
    assert failing.values("podium_backend_breaker_state") == [(FIRST, 0), (SECOND, 2)]
    failing.clock.advance(5)
    second.enter(failing.clock.monotonic_ns())
    assert failing.values("podium_backend_breaker_state") == [(FIRST, 0), (SECOND, 1)]


async def test_an_account_that_rests_says_how_long(house):
    resting = house().show()
    first, _ = resting.states
    notice = RateLimitNotice(refused=True, wait_s=30.0, source=NoticeSource.RETRY_AFTER)

    first.account.backoff.record(notice, resting.clock.monotonic_ns(), probe=False)
    resting.clock.advance(10)

    assert resting.values("podium_backend_out") == [(FIRST | {"reason": "account_left_alone"}, 1)]
    assert resting.values("podium_account_left_alone_seconds")[0] == ({"account": "provider-0"}, 20)
    resting.clock.advance(60)
    assert resting.values("podium_account_left_alone_seconds")[0] == ({"account": "provider-0"}, 0)


async def test_a_thousand_backends_are_bounded_and_all_counted(house):
    backends = tuple(BackendSpec(provider="provider-0", model=f"x{number}", weight=0) for number in range(1_000))
    crowd = house(versions={"m-1": Version(backends=backends)}).show(max_series=100)

    out = crowd.values("podium_backend_out")
    assert len(out) == 101
    assert sum(value for _, value in out) == 1_000
    assert out[-1] == ({"model": OTHER, "backend": OTHER, "reason": "draining"}, 900)
    assert len(crowd.values("podium_backend_in_flight")) == 101
    assert len(crowd.values("podium_backend_breaker_state")) == 100
    assert crowd.values("podium_account_in_flight") == [({"account": "provider-0"}, 0)]
