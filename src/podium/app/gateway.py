"""The gateway process."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from podium.app.backends import backends_out
from podium.app.budget_truth_place import budget_truth
from podium.app.feedback import ControlAsker
from podium.app.garbage import collect_between_exchanges
from podium.app.process import (
    gateway_token,
    prepare_data_folder,
    root_secret,
    run_until_stopped,
    steadily,
    worker_key,
)
from podium.app.reachable import reachable
from podium.app.snapshots import published_snapshots, snapshot_poll_s, told_by_database
from podium.config import Settings
from podium.core.clock import Clock, SystemClock
from podium.core.errors import OperatorError
from podium.core.trace import Sampler
from podium.economics.budgets.book import Book
from podium.gateway.budget_truth import BudgetTruthFollower, OwnBudgets
from podium.gateway.feedback import FeedbackDesk
from podium.gateway.flag_reads import FlagReads
from podium.gateway.fleet import Fleet
from podium.gateway.flight import Flight
from podium.gateway.follow import SnapshotFollower
from podium.gateway.pool import Pool
from podium.gateway.standings import GatewayStandings
from podium.gateway.world import World
from podium.identity.keys import derive_secret
from podium.store.journal import JournalWriter
from podium.telemetry.budget_alerts import BudgetAlerts
from podium.telemetry.fleet_gauges import FleetGauges
from podium.telemetry.gateway_gauges import GatewayReadings, register_gateway_gauges
from podium.telemetry.logging import configure_logging
from podium.telemetry.metrics import GatewayMetrics
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.sinks import Sinks
from podium.upstreams.checks import HealthChecks
from podium.upstreams.providers import LocalWorkers, Providers
from podium.upstreams.registered import RegisteredWorkers
from podium.upstreams.workers import WorkerWatch
from podium.web.feedback.path import FeedbackPath
from podium.web.http1.server import HttpServer
from podium.web.ofrep.paths import OfrepPaths
from podium.web.openai.surface import OpenAiSurface
from podium.web.probe_surface import ProbeSurface
from podium.web.probes import Part, Probes
from podium.web.settings import GatewayServerSettings
from podium.web.standings import StandingsPath

if TYPE_CHECKING:
    from podium.app.journal_turns import JournalTurns
    from podium.app.shared import Shared
    from podium.store.sql.database import Database

__all__ = ["Gateway", "run"]

Duty = Callable[[], Coroutine[Any, Any, None]]  # runs until it is cancelled

_CONNECTIONS = 2  # to the database, which a gateway asks for snapshots only
_PROBE_CONNECTIONS = 64
_LEASE_S = 90_000.0  # of a reservation: above the longest that an exchange may be given to take
_ENDED = 1000  # each exchange ends once here; few are touched again and again, so they stay in the processor's caches
_LANDING_TIMEOUT_S = 5.0  # for exchanges that were cut off: counting their tokens may have to load the tokenizer


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT."""
    configure_logging(settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        alerts = BudgetAlerts()
        async with _shared(settings, alerts) as shared:
            gateway = Gateway(settings, shared, alerts)
            async with gateway.running():
                await collect_between_exchanges(stop, lambda: gateway.flight.in_flight)
        return 0

    return run_until_stopped(serve)


class Gateway:
    """One data plane. `running` starts it and, at its end, drains it."""

    def __init__(self, settings: Settings, shared: "Shared | None" = None, alerts: BudgetAlerts | None = None) -> None:
        """OperatorError: data folder, secret or telemetry settings cannot be used. `shared` None: nothing is."""
        self._shared = shared
        alerts = alerts or BudgetAlerts()
        data = settings.data
        prepare_data_folder(data.path)
        root = root_secret(settings)
        key = worker_key(root)
        self.registered = _registered_workers(settings, key)
        workers = LocalWorkers(_worker_urls(), key, self.registered)
        self.providers = Providers(workers)
        self.watch = WorkerWatch(workers.urls, self.registered)
        self._database = _shared_database(settings)
        clock = self._clock = SystemClock()
        self.checks = HealthChecks(self.watch, clock)
        self.fleet = Fleet(self.checks)
        self.checks.tell(self.fleet.noticed)
        self.follower = SnapshotFollower(
            published_snapshots(settings, root, self._database),
            self.providers,
            self.fleet,
            clock,
            poll_s=snapshot_poll_s(settings, self._database),
        )
        self.turns = None if self._database is None else _journal_turns(settings, self._database, clock)
        name = self.name = settings.gateway.name
        self._journal_folder = data.journals / name
        self.journal = JournalWriter(self._journal_folder, settings.journal, asyncio.get_running_loop())
        self.sinks = Sinks(settings.telemetry, gateway=name)
        own = OwnBudgets(Book(lease_s=_LEASE_S, max_ended=_ENDED), alerts) if shared is None else None
        self.truth = None
        if own is not None:
            source = budget_truth(settings, root, self._database)
            self.truth = BudgetTruthFollower(source, own.book, self._world, clock, alerts)
        pepper = derive_secret(root, "api-keys")
        self.asker = ControlAsker(_control_address(settings), gateway_token(root))
        self.desk = FeedbackDesk(
            self.follower,
            self.journal,
            clock,
            pepper=pepper,
            requests_per_s=settings.gateway.feedback_requests_per_s,
            subjects=settings.gateway.limited_subjects,
            asker=self.asker,
        )
        self.flight = Flight(
            worlds=self.follower,
            journal=self.journal,
            sinks=(self.sinks, self.fleet.bursts, self.desk),
            settings=settings.gateway,
            pepper=pepper,
            clock=clock,
            limits=None if shared is None else shared.limits,
            budgets=own if shared is None else shared.budgets,
            together=None if shared is None else shared.admission,
        )
        standings = StandingsPath(self._standings(pepper, None if own is None else own.book).answer)
        surface = self._surface(settings, pepper, standings)
        self.server = HttpServer(settings.server, surface)
        self.probe_server = _probe_server(settings.server, self, standings)
        alerts.register(self.sinks.metrics)
        _register_gauges(self.sinks.metrics, self, settings.telemetry)

    def _standings(self, pepper: bytes, book: Book | None) -> GatewayStandings:
        return GatewayStandings(
            self.name,
            self._world,
            self.flight.admitter.limits,
            book,
            self._clock,
            pepper=pepper,
            flags=self.flight.flag_counts,
            bursts=self.fleet.bursts,
        )

    def _surface(self, settings: Settings, pepper: bytes, standings: StandingsPath) -> OpenAiSurface:
        reads = FlagReads(
            self.follower,
            self.flight.flag_counts,
            self._clock,
            pepper=pepper,
            requests_per_s=settings.gateway.flag_requests_per_s,
            subjects=settings.gateway.limited_subjects,
        )
        traced = settings.telemetry.trace_sample_ratio if settings.telemetry.otlp_endpoint else 0.0
        return OpenAiSurface(
            self.flight,
            probes=self,
            sampler=Sampler(traced),
            clock=self._clock,
            standings=standings,
            flags=OfrepPaths(reads),
            feedback=FeedbackPath(self.desk),
        )

    def pools(self) -> Mapping[str, Pool]:
        """All pools by their models; none before the first snapshot."""
        world = self.follower.current
        return world.pools() if world else {}

    def every_pool(self) -> Mapping[str, Pool]:
        """The same with the versions that rollouts bring."""
        world = self.follower.current
        return world.every_pool() if world else {}

    def workers_up(self) -> Mapping[str, bool]:
        """Which workers of this machine answer."""
        return self.watch.up if self.registered is None else self.watch.up | self.registered.up

    def journal_bytes(self) -> int:
        """Bytes of segments on disk that the ledger does not have yet, about."""
        try:
            with os.scandir(self._journal_folder) as entries:
                return sum(entry.stat().st_size for entry in entries if entry.is_file())
        except FileNotFoundError:  # a segment was loaded and removed meanwhile
            return 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while open. At the end: no new exchange, the running ones finish, the journal is flushed."""
        self.journal.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self.follower.look()
            if self.truth is not None:
                await self.truth.look()
            await stack.enter_async_context(told_by_database(self._database, self.follower.tell))
            duties = [self.follower.run, self.watch.run, self.checks.run]
            if self.registered is not None:
                duties.append(self.registered.run)
            if self.truth is not None:
                duties.append(self.truth.run)
            if self.turns is not None:
                duties.append(self.turns.run)
            if self._shared is not None:
                duties.append(await stack.enter_async_context(_in_touch(self._shared, self)))
            if self.probe_server is not None:  # first: whoever watches sees why the other one does not listen yet
                await self.probe_server.start()
                stack.push_async_callback(self.probe_server.stop)
            await self.server.start()
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(steadily(duty), name=duty.__qualname__) for duty in duties]
                yield
                await self.server.stop()
                await self.flight.all_landed(_LANDING_TIMEOUT_S)
                await self.flight.mirrors.close(_LANDING_TIMEOUT_S)
                await self.flight.judges.close(_LANDING_TIMEOUT_S)
                for loop in loops:
                    loop.cancel()

    async def _close(self) -> None:
        self.providers.close()
        self.asker.close()
        await self.journal.close()
        await self.sinks.close()
        if self._database is not None:
            await self._database.close()

    def _world(self) -> World | None:
        return self.follower.current

    # podium.web.probes.Probes

    def parts(self) -> list[Part]:
        """Everything that readiness depends on; a worker that is down takes only its model away."""
        world = self.follower.current
        accepting = self.journal.accepting
        return [
            Part("snapshot", world is not None, "" if world else "none yet: does `podium control` run?"),
            Part("journal", accepting, "" if accepting else "cannot be written: is the disk full?"),
            *(
                Part(f"worker {model}", up, "" if up else "starting, or down", required=False)
                for model, up in self.watch.up.items()
            ),
            *self._backends_out(),
        ]

    def _backends_out(self) -> list[Part]:
        world = self.follower.current
        return [] if world is None else backends_out(world, self.providers.unusable, self._clock.monotonic_ns())

    def metrics(self) -> bytes:
        """Prometheus's text format."""
        return self.sinks.metrics.render()


@asynccontextmanager
async def _shared(settings: Settings, alerts: BudgetAlerts) -> "AsyncIterator[Shared | None]":
    """What gateways share in Redis, open; None: each counts for itself."""
    if settings.redis.url is None:
        yield None
        return
    from podium.app.shared import open_shared  # noqa: PLC0415 - an extra, and heavy

    name = settings.gateway.name
    async with open_shared(settings.redis, name, SystemClock(), crossed=lambda one: alerts((one,))) as shared:
        yield shared


@asynccontextmanager
async def _in_touch(shared: "Shared", gateway: Gateway) -> AsyncIterator[Duty]:
    """Hears what other processes tell through the shared store; the duty that tells them."""
    from podium.app.gossip import BREAKERS, GossipCarrier  # noqa: PLC0415 - an extra, and heavy
    from podium.app.notices import SNAPSHOTS  # noqa: PLC0415 - as above
    from podium.app.shared import register_shared_gauges  # noqa: PLC0415 - as above
    from podium.store.redis.notices import Listener  # noqa: PLC0415 - as above

    register_shared_gauges(gateway.sinks.metrics, shared)
    carrier = GossipCarrier(gateway.name, gateway.pools, gateway.fleet, shared.notices, SystemClock())
    hear = {SNAPSHOTS: lambda _: gateway.follower.tell(), BREAKERS: carrier.take}
    async with Listener(shared.client, tuple(hear), lambda notice: hear[notice.topic](notice)):
        yield carrier.run


def _shared_database(settings: Settings) -> "Database | None":
    """PostgreSQL, where gateways and control meet; None: they meet in the data folder."""
    url = settings.database.url
    if url is None or url.startswith("sqlite"):
        return None
    from podium.store.sql.database import open_database  # noqa: PLC0415 - SQL loads only where it is used

    few = replace(settings.database, pool_size=_CONNECTIONS)
    return open_database(few, settings.data.database_file)


def _journal_turns(settings: Settings, database: "Database", clock: Clock) -> "JournalTurns":
    from podium.app.journal_turns import JournalTurns  # noqa: PLC0415 - as above

    return JournalTurns(settings, database, clock)


def _probe_server(settings: GatewayServerSettings, probes: Probes, standings: StandingsPath) -> HttpServer | None:
    if not settings.probe_port:
        return None
    own = replace(
        settings,
        host=settings.probe_host,
        port=settings.probe_port,
        share_port=False,
        max_connections=_PROBE_CONNECTIONS,
        drain_timeout_s=min(settings.drain_timeout_s, 1.0),
    )
    return HttpServer(own, ProbeSurface(probes, standings))


def _registered_workers(settings: Settings, key: str) -> RegisteredWorkers | None:
    """Workers of registered versions; None: no engine runs on this machine."""
    address = os.environ.get("PODIUM_ENGINE", "")
    return RegisteredWorkers(address, key, wait_s=settings.engine.load_wait_s) if address else None


def _control_address(settings: Settings) -> str:
    given = settings.gateway.control.rstrip("/")
    return given or f"http://{reachable(settings.admin.host, settings.admin.port)}"


def _worker_urls() -> dict[str, str]:
    text = os.environ.get("PODIUM_WORKERS", "")
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise OperatorError(f"PODIUM_WORKERS is not a JSON object of URLs: {error}.") from error


def _register_gauges(metrics: GatewayMetrics, gateway: Gateway, settings: TelemetrySettings) -> None:
    def snapshot_age_s() -> float | None:
        world = gateway.follower.current
        return time.time() - world.snapshot.published_unix_s if world else None

    def snapshot_revision() -> int | None:
        world = gateway.follower.current
        return world.snapshot.revision if world else None

    register_gateway_gauges(
        metrics,
        GatewayReadings(
            in_flight=lambda: gateway.flight.in_flight,
            journal_accepting=lambda: gateway.journal.accepting,
            journal_buffered_bytes=lambda: gateway.journal.buffered_bytes,
            journal_backlog_bytes=gateway.journal_bytes,
            snapshot_age_s=snapshot_age_s,
            snapshot_revision=snapshot_revision,
            queued=lambda: gateway.providers.waiting_calls,
            workers_up=gateway.workers_up,
            flag_evaluations=gateway.flight.flag_counts.totals,
            flag_requests=gateway.flight.flag_counts.requests,
            rollouts_tripped=lambda: {(one.rollout, one.arm): 1 for one in gateway.fleet.bursts.tripped()},
            rollout_mirrors=gateway.flight.mirrors.counts,
            rollout_judgements=gateway.flight.judges.counts,
            feedback=gateway.desk.counts,
        ),
    )
    FleetGauges(gateway.every_pool, SystemClock(), max_series=settings.metrics_max_series).register(metrics)
