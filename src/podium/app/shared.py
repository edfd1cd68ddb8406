"""What gateways share: limits, budgets, notices and leases in Redis or Valkey, opened together."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from podium.core.clock import Clock
from podium.economics.budgets.values import Crossing
from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.circuit import StoreState
from podium.store.redis.client import RedisClient
from podium.store.redis.connection import check_url
from podium.store.redis.exchanges import Exchanges
from podium.store.redis.leases import Leases
from podium.store.redis.limits import RedisLimiter
from podium.store.redis.members import Members
from podium.store.redis.notices import Notices
from podium.store.redis.scripts import Scripts
from podium.store.redis.settings import RedisSettings
from podium.store.redis.shared_admission import SharedAdmission
from podium.store.redis.shared_budgets import SharedBudgets
from podium.store.redis.shared_limits import SharedLimits
from podium.telemetry.process_metrics import ProcessMetrics
from podium.traffic.limiting.limiter import Limiter

__all__ = ["Shared", "open_shared", "register_shared_gauges"]

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Shared:
    """What is open. `store` are the budgets as the repair and operators ask for them."""

    client: RedisClient
    limits: SharedLimits
    budgets: SharedBudgets
    members: Members
    notices: Notices
    leases: Leases
    store: RedisBudgetStore
    limiter: RedisLimiter
    admission: SharedAdmission | None  # None: with quota leases, most of it is not asked for at all


@asynccontextmanager
async def open_shared(
    settings: RedisSettings,
    gateway: str,
    clock: Clock,
    *,
    local: Limiter | None = None,
    crossed: Callable[[Crossing], None] = lambda _: None,
) -> AsyncIterator[Shared]:
    """Open it while the block runs; a store that is away is waited for `connect_timeout_ms`, and used when it comes.

    `local`: decides in memory while the store is away; None: one as large as a limiter usually is. `crossed` hears of
    soft marks of budgets, in the event loop. OperatorError: the settings name no store.
    """
    check_url(settings)
    async with RedisClient(settings) as client:
        scripts = Scripts(client)
        exchanges = Exchanges(scripts, settings.prefix)
        limiter = RedisLimiter(client, scripts, lease_ns=int(settings.lease_s * _SECOND_NS), exchanges=exchanges)
        store = RedisBudgetStore(client, scripts, lease_s=settings.lease_s, exchanges=exchanges)
        async with (
            Members(
                client, scripts, gateway, ttl_s=settings.member_ttl_s, expected=settings.expected_gateways
            ) as members,
            SharedLimits(client, limiter, members, clock, local=local, quota_leases=settings.quota_leases) as limits,
            SharedBudgets(
                client, store, members, clock, crossed=crossed, quota_leases=settings.quota_leases
            ) as budgets,
        ):
            admission = None
            if not settings.quota_leases:
                admission = SharedAdmission(client, exchanges, limiter, store, limits, budgets, clock)
            yield Shared(
                client=client,
                limits=limits,
                budgets=budgets,
                members=members,
                notices=Notices(client, scripts),
                leases=Leases(client, scripts),
                store=store,
                limiter=limiter,
                admission=admission,
            )


def register_shared_gauges(metrics: ProcessMetrics, shared: Shared) -> None:
    """Expose how the shared store does on the page of `metrics`; `podium_shared_store_down` is the one to alert on."""
    client, figures, limits, budgets = shared.client, shared.client.figures, shared.limits, shared.budgets
    metrics.gauge(
        "podium_shared_store_down",
        "1: the shared store is away, limits and budgets are at their local shares.",
        lambda: client.state is not StoreState.UP,
    )
    metrics.gauge("podium_shared_store_waiting_calls", "Calls that wait for their turn.", lambda: client.waiting)
    metrics.gauge("podium_shared_store_gateways", "Gateways that share limits.", lambda: shared.members.count)
    metrics.gauge(
        "podium_shared_store_untold",
        "Ends of exchanges that the store is still to be told.",
        lambda: len(limits.outbox) + len(budgets.outbox),
    )
    metrics.labelled_gauge(
        "podium_shared_store_failed_calls",
        "Calls without an answer since the start, by what kept them from it.",
        ("trouble",),
        lambda: {(str(trouble),): count for trouble, count in figures.troubles.items()},
    )
    metrics.labelled_gauge(
        "podium_shared_store_local_decisions",
        "Decisions by the local share since the start.",
        ("what", "outcome"),
        lambda: {
            ("limits", "granted"): limits.local.granted,
            ("limits", "refused"): limits.local.refused,
            ("budgets", "granted"): budgets.granted_here,
            ("budgets", "refused"): budgets.refused_here,
        },
    )
    quotas = {"limits": limits.quotas, "budgets": budgets.quotas}
    if limits.quotas is not None:
        metrics.labelled_gauge(
            "podium_shared_store_quota_decisions",
            "Decisions since the start: out of slices taken ahead, or by asking the store.",
            ("what", "by"),
            lambda: {
                (what, by): count
                for what, one in quotas.items()
                if one is not None
                for by, count in (("slice", one.granted), ("store", one.missed))
            },
        )
    for name, help_text, read in (
        ("calls", "Calls that were answered.", lambda: figures.calls),
        ("round_trips", "Round trips; one may carry many calls.", lambda: figures.round_trips),
        ("times_down", "How often it went away.", lambda: figures.times_down),
        ("times_unusable", "How often it was found to forbid what is needed.", lambda: figures.times_unusable),
        ("late_calls", "Decisions that it did not take because nobody waited any more.", lambda: figures.late),
        (
            "given_up",
            "Ends of exchanges that it could not be told in time.",
            lambda: limits.outbox.given_up + budgets.outbox.given_up,
        ),
    ):
        metrics.counter(f"podium_shared_store_{name}_total", help_text, read)
