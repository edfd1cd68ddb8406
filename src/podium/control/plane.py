"""The control plane as one object: the use cases, and the loops that run while it is open."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from podium.control.budget_repair import BudgetRepair
from podium.control.budget_spending import LedgerSpending
from podium.control.budget_truth import BudgetTruths, TruthPublisher
from podium.control.exchanges import Exchanges
from podium.control.experiments.ports import ExperimentStore
from podium.control.experiments.reports import ExperimentReports, ReportingAnalyst
from podium.control.experiments.traffic import Traffic
from podium.control.experiments.use import Experiments
from podium.control.feedback import FeedbackList, FeedbackShelf, KnownExchanges
from podium.control.feedback_keeping import FeedbackUpkeep
from podium.control.flag_report import Flags
from podium.control.keys import Keys
from podium.control.leader import Duty, Leader, new_holder, perform
from podium.control.loader import JournalReader, Loader, LoaderStatus
from podium.control.operators import Operators
from podium.control.ports import KeyStore, LeaderLease, Ledger, ResourceStore
from podium.control.resources import Resources
from podium.control.rollouts.loop import RolloutLoop
from podium.control.rollouts.own_key import own_entries
from podium.control.rollouts.ports import Analyst, EvidenceShelf, RolloutGateways
from podium.control.rollouts.standing import Standings
from podium.control.rollouts.use import Rollouts
from podium.control.settings import ControlSettings
from podium.control.snapshots import SnapshotPublisher, Snapshots, SnapshotStatus
from podium.control.standings import GatewayAsker, SharedStandings, StandingsUse
from podium.control.turn import Turn
from podium.control.usage import Usage
from podium.core.clock import Clock, SystemClock
from podium.core.errors import PodiumError
from podium.economics.budgets.values import Crossing

__all__ = ["Budgeting", "ControlPlane", "PlaneStatus", "RollingOut"]

_PROBE_TIMEOUT_S = 2.0


class PlaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the control plane is. The snapshot's is this process's own, and stands still while another leads."""

    holder: str
    leads: bool
    database: str  # "ok", or what is wrong
    resource_revision: int  # -1 while the database cannot be asked
    snapshot: SnapshotStatus
    loader: LoaderStatus

    @property
    def ready(self) -> bool:
        """Whether changes by operators can be made."""
        return self.database == "ok"


@dataclass(frozen=True, slots=True)
class Budgeting:
    """What the loops over budgets need: where gateways that share nothing are told, and how long a lease is."""

    truth: TruthPublisher
    lease_s: float
    told: Callable[[Sequence[Crossing]], None]  # hears of soft marks that a repair reaches


@dataclass(frozen=True, slots=True)
class RollingOut:
    """What the loop over rollouts needs; without it operators move them by hand.

    `analyst` is made of how far the ledger is behind the journals, in seconds.
    """

    analyst: Callable[[Callable[[], float]], Analyst]
    gateways: RolloutGateways
    shelf: EvidenceShelf | None = None
    experiments: ExperimentStore | None = None


class ControlPlane:
    """Groups the use cases; runs the loader, and while this process leads the publisher.

    `pepper` is `derive_secret(root, "api-keys")`. Either `run(stop)` or `async with`; once.
    """

    def __init__(
        self,
        *,
        resource_store: ResourceStore,
        key_store: KeyStore,
        ledger: Ledger,
        lease: LeaderLease,
        journals: JournalReader,
        publisher: SnapshotPublisher,
        pepper: bytes,
        settings: ControlSettings | None = None,
        clock: Clock | None = None,
        holder: str | None = None,
        budgeting: Budgeting | None = None,
        gateways: GatewayAsker | None = None,
        shared: SharedStandings | None = None,
        feedback: FeedbackShelf | None = None,
        rolling_out: RollingOut | None = None,
    ) -> None:
        """`shared`: the store that gateways share limits and budgets in; None: each counts for itself."""
        settings = settings or ControlSettings()
        self.clock = clock or SystemClock()
        self.snapshots = Snapshots(
            resource_store,
            key_store,
            publisher,
            self.clock,
            poll_s=settings.poll_s,
            own_keys=lambda declared: own_entries(pepper, declared),
        )
        self.operators = Operators(key_store, pepper, self.clock)
        turn = Turn()
        self.resources = Resources(resource_store, key_store, self.clock, changed=self.snapshots.changed, turn=turn)
        self.keys = Keys(key_store, resource_store, pepper, self.clock, changed=self._key_changed)
        self.usage = Usage(ledger)
        self.exchanges = Exchanges(ledger)
        self.loader = Loader(
            journals,
            ledger,
            self.clock,
            batch_events=settings.loader_batch_events,
            poll_s=settings.loader_poll_s,
        )
        self.known_exchanges = KnownExchanges(ledger, lambda: self.loader.status)
        self.feedback = FeedbackList(feedback)
        rollouts = Standings(resource_store, changed=self.snapshots.changed, turn=turn)
        traffic, shelf = Traffic(ledger, self.clock), rolling_out.shelf if rolling_out is not None else None
        experiments = rolling_out.experiments if rolling_out is not None else None
        reports = ExperimentReports(resource_store, traffic, store=experiments, shelf=shelf)
        analyst: Analyst | None = None
        if rolling_out is not None:
            analyst = ReportingAnalyst(rolling_out.analyst(lambda: self.loader.status.lag_s), reports)
        loop = _rollout_loop(rolling_out, rollouts, analyst, self.clock, settings)
        self.rollouts = Rollouts(
            rollouts,
            self.clock,
            verdict=loop.verdict if loop is not None else lambda _: None,
            shelf=shelf,
            keeper=analyst,
        )
        self.experiments = Experiments(self.rollouts, rollouts, resource_store, reports, traffic, self.clock)
        self.standings = StandingsUse(key_store, resource_store, ledger, self.clock, gateways=gateways, shared=shared)
        self.flags = Flags(resource_store, self.clock, gateways=gateways)
        spending = LedgerSpending(ledger, self.loader, self.clock)
        budgets = _budget_loop(budgeting, shared, spending, resource_store, self.clock, settings)
        self.repair = budgets if isinstance(budgets, BudgetRepair) else None
        upkeep = FeedbackUpkeep(feedback, self.clock, days=settings.feedback_days)
        duties: list[Duty] = [self.snapshots.run, upkeep.run, *(one.run for one in (loop, budgets) if one is not None)]
        self.leader = Leader(
            lease,
            self.clock,
            tuple(duties),
            holder=holder or new_holder(),
            ttl_s=settings.lease_ttl_s,
        )
        self._stop = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or stand by until `stop` is set; load the journals of this machine either way."""
        async with asyncio.TaskGroup() as group:
            group.create_task(perform(self.loader.run, stop), name="loader")
            await self.leader.run(stop)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._group.create_task(self.run(self._stop), name="control plane")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        cancelled = kind is asyncio.CancelledError
        # Any other error of the body is the caller's: the loops end in their own time, and it goes on unwrapped.
        await self._group.__aexit__(kind if cancelled else None, error if cancelled else None, traceback)

    async def status(self) -> PlaneStatus:
        """How the control plane is now; asks the database, and takes 2 seconds at most."""
        database, revision = "ok", -1
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                revision = await self.resources.newest_revision()
        except TimeoutError:
            database = "does not answer"
        except PodiumError as error:
            database = error.message
        return PlaneStatus(
            holder=self.leader.holder,
            leads=self.leader.leads,
            database=database,
            resource_revision=revision,
            snapshot=self.snapshots.status,
            loader=self.loader.status,
        )

    def _key_changed(self, key_id: str) -> None:
        self.operators.forget(key_id)
        self.snapshots.changed()


def _rollout_loop(
    parts: RollingOut | None,
    standings: Standings,
    analyst: Analyst | None,
    clock: Clock,
    settings: ControlSettings,
) -> RolloutLoop | None:
    if parts is None or analyst is None:
        return None
    return RolloutLoop(
        standings,
        clock,
        analyst=analyst,
        gateways=parts.gateways,
        tick_s=settings.rollout_tick_s,
        prepare_s=settings.rollout_prepare_s,
    )


def _budget_loop(
    parts: Budgeting | None,
    shared: SharedStandings | None,
    spending: LedgerSpending,
    resources: ResourceStore,
    clock: Clock,
    settings: ControlSettings,
) -> BudgetRepair | BudgetTruths | None:
    """Mends what gateways share, or tells those that share nothing."""
    if parts is None:
        return None
    if shared is None:
        return BudgetTruths(parts.truth, spending, resources, clock, period_s=settings.budget_truth_s)
    return BudgetRepair(
        shared.budgets,
        spending,
        resources,
        clock,
        told=parts.told,
        period_s=settings.budget_repair_s,
        patience_s=parts.lease_s,
    )
