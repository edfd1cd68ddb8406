"""What the repair of budgets and the operators' view need of the outside: the store that gateways share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podium.control.plane import ControlPlane
from podium.control.standings import SharedStandings
from podium.store.redis.settings import RedisSettings
from podium.telemetry.process_metrics import ProcessMetrics

__all__ = ["open_shared_standings", "register_repair_metrics"]


@asynccontextmanager
async def open_shared_standings(settings: RedisSettings) -> AsyncIterator[SharedStandings | None]:
    """Limits and budgets in Redis or Valkey, without being one of the gateways; None: they share nothing."""
    if settings.url is None:
        yield None
        return
    from podium.store.redis.budgets import RedisBudgetStore  # noqa: PLC0415 - an extra, and heavy
    from podium.store.redis.client import RedisClient  # noqa: PLC0415 - as above
    from podium.store.redis.connection import check_url  # noqa: PLC0415 - as above
    from podium.store.redis.limits import RedisLimiter  # noqa: PLC0415 - as above
    from podium.store.redis.scripts import Scripts  # noqa: PLC0415 - as above

    check_url(settings)
    async with RedisClient(settings) as client:
        scripts = Scripts(client)
        yield SharedStandings(
            limits=RedisLimiter(client, scripts, lease_ns=int(settings.lease_s * 1e9)),
            budgets=RedisBudgetStore(client, scripts, lease_s=settings.lease_s),
        )


def register_repair_metrics(metrics: ProcessMetrics, plane: ControlPlane) -> None:
    """Expose what the repair does."""
    repair = plane.repair
    if repair is None:
        return
    metrics.counter(
        "podium_budget_repairs_total", "Comparisons of shared budgets with the ledger.", lambda: repair.status.rounds
    )
    metrics.counter(
        "podium_budget_repairs_failed_total", "Comparisons that broke off.", lambda: repair.status.failed_rounds
    )
    metrics.counter(
        "podium_budget_corrections_total",
        "Accounts of shared budgets that were made to stand as the ledger says.",
        lambda: repair.status.corrections,
    )
