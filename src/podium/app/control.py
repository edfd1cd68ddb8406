"""The control process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from podium.app.budget_repair import open_shared_standings, register_repair_metrics
from podium.app.budget_truth_place import budget_truth
from podium.app.process import check_free, gateway_token, prepare_data_folder, root_secret, run_until_stopped
from podium.app.reachable import reachable
from podium.app.rollouts import HttpRolloutGateways
from podium.app.snapshots import PublishedSnapshots, published_snapshots
from podium.app.standings import HttpGateways, gateway_addresses
from podium.config import Settings
from podium.control.bootstrap import declare_defaults, ensure_admin_key
from podium.control.experiments.analyst import ExperimentAnalyst
from podium.control.plane import Budgeting, ControlPlane, RollingOut
from podium.control.rollouts.own_key import own_key
from podium.control.snapshots import SnapshotPublisher
from podium.economics.budgets.values import Crossing
from podium.identity.keys import derive_secret
from podium.store.journal_folders import JournalFolders
from podium.store.sql.database import open_database
from podium.store.sql.experiment_store import SqlExperimentStore
from podium.store.sql.feedback import SqlFeedback
from podium.store.sql.keys import SqlKeyStore
from podium.store.sql.lease import SqlLeaderLease
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_analyst import SqlAnalyst
from podium.telemetry.budget_alerts import BudgetAlerts
from podium.telemetry.logging import configure_logging
from podium.telemetry.process_metrics import ProcessMetrics
from podium.web.admin.app import build_admin_app

__all__ = ["open_plane", "run"]

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Serve the admin API and run the loops until SIGTERM or SIGINT."""
    configure_logging(settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        alerts = BudgetAlerts()
        async with open_plane(settings, alerts) as plane:
            metrics = ProcessMetrics()
            _register_gauges(metrics, plane)
            register_repair_metrics(metrics, plane)
            alerts.register(metrics)
            token = gateway_token(root_secret(settings))
            app = build_admin_app(plane, settings.admin, metrics=metrics.render, gateways=token)
            await _serve_http(app, settings, stop)
        return 0

    return run_until_stopped(serve)


@asynccontextmanager
async def open_plane(
    settings: Settings, told: Callable[[Sequence[Crossing]], None] = lambda _: None
) -> AsyncIterator[ControlPlane]:
    """The control plane over the real stores, its loops running; the first start sets everything up.

    `told` hears of soft marks of budgets that the repair reaches.
    """
    data = settings.data
    prepare_data_folder(data.path)
    root = root_secret(settings)
    async with AsyncExitStack() as stack:
        database = open_database(settings.database, data.database_file)
        stack.push_async_callback(database.close)
        await database.migrate()
        publisher = await stack.enter_async_context(_telling(published_snapshots(settings, root, database), settings))
        journals = JournalFolders(data.journals, alone=True)
        stack.callback(journals.give_back)
        gateways = HttpGateways(gateway_addresses(settings.control.gateways))
        shared = await stack.enter_async_context(open_shared_standings(settings.redis))
        resources, pepper = SqlResourceStore(database), derive_secret(root, "api-keys")
        kept = SqlExperimentStore(database)
        plane = ControlPlane(
            resource_store=resources,
            key_store=SqlKeyStore(database),
            ledger=SqlLedger(database),
            lease=SqlLeaderLease(database),
            journals=journals,
            publisher=publisher,
            pepper=pepper,
            settings=settings.control,
            budgeting=Budgeting(budget_truth(settings, root, database), settings.redis.lease_s, told),
            gateways=await stack.enter_async_context(gateways),
            shared=shared,
            feedback=SqlFeedback(database),
            rolling_out=RollingOut(
                lambda lag_s: ExperimentAnalyst(SqlAnalyst(kept, resources, lag_s), kept),
                await stack.enter_async_context(_rollout_gateways(settings, own_key(pepper).text)),
                shelf=kept,
                experiments=kept,
            ),
        )
        await declare_defaults(plane.resources)
        await ensure_admin_key(plane.keys, plane.resources, data, plane.clock)
        await stack.enter_async_context(plane)
        yield plane


def _rollout_gateways(settings: Settings, key: str) -> HttpRolloutGateways:
    public = f"http://{reachable(settings.server.host, settings.server.port)}"
    return HttpRolloutGateways(gateway_addresses(settings.control.gateways), key, public=public)


@asynccontextmanager
async def _telling(published: PublishedSnapshots, settings: Settings) -> AsyncIterator[SnapshotPublisher]:
    """The same, telling of each publication where processes share a store for notices."""
    if settings.redis.url is None:
        yield published
        return
    from podium.app.notices import ToldSnapshots  # noqa: PLC0415 - an extra, and heavy
    from podium.store.redis.client import RedisClient  # noqa: PLC0415 - as above
    from podium.store.redis.connection import check_url  # noqa: PLC0415 - as above
    from podium.store.redis.notices import Notices  # noqa: PLC0415 - as above
    from podium.store.redis.scripts import Scripts  # noqa: PLC0415 - as above

    check_url(settings.redis)
    async with RedisClient(settings.redis) as client:
        yield ToldSnapshots(published, Notices(client, Scripts(client)))


async def _serve_http(app: object, settings: Settings, stop: asyncio.Event) -> None:
    host, port = settings.admin.host, settings.admin.port
    check_free(host, port, "--admin-port")  # the server itself would only log it
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        websockets=False,
        log_enabled=False,
    )
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(), name="admin API")
        waiting = group.create_task(stop.wait(), name="stop signal")
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.stop()  # type: ignore[no-untyped-call]


def _register_gauges(metrics: ProcessMetrics, plane: ControlPlane) -> None:
    metrics.gauge("podium_control_leads", "1: this control process leads.", lambda: plane.leader.leads)
    metrics.gauge(
        "podium_ledger_lag_bytes", "Written to journals, not yet in the ledger.", lambda: plane.loader.status.lag_bytes
    )
    metrics.gauge(
        "podium_ledger_lag_seconds", "Since everything was last in the ledger.", lambda: plane.loader.status.lag_s
    )
    metrics.gauge(
        "podium_published_revision", "Snapshot published last.", lambda: plane.snapshots.status.revision or None
    )
    metrics.labelled_counter(
        "podium_opinions_total",
        "Opinions about exchanges, of users and judges, by their kind and what became of them in the ledger.",
        ("kind", "outcome"),
        lambda: {kind: float(count) for kind, count in plane.loader.opinions.items()},
    )
    metrics.counter(
        "podium_ledger_events_total", "Exchanges brought into the ledger.", lambda: plane.loader.status.loaded_events
    )
