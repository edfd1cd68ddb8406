"""Compares shared budgets with the ledger, again and again, and tells what it mended."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from podium.control.ports import ResourceStore
from podium.control.waiting import wait_for
from podium.core.budgets import Budget
from podium.core.clock import Clock
from podium.core.errors import PodiumError
from podium.core.resources import Resource
from podium.economics.budgets.mending import Mender, MendReport
from podium.economics.budgets.rules import BudgetTable
from podium.economics.budgets.spending import SpendLedger
from podium.economics.budgets.store import BudgetStore
from podium.economics.budgets.values import Crossing

__all__ = ["BudgetRepair", "RepairStatus", "budgets_of", "declared_budgets", "unhurried_s"]

_log = structlog.get_logger("podium.control.budgets")

_SHARE_OF_TIME = 0.05  # that a loop over the ledger may take at most


class RepairStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the repair has done since this process began to lead."""

    rounds: int = 0
    failed_rounds: int = 0
    corrections: int = 0  # that took effect
    last: MendReport | None = None  # None: no round has ended yet
    error: str = ""  # of the last round; "" when it went well


class BudgetRepair:
    """The loop. One at a time leads; a second one makes rounds void, and does no other harm."""

    def __init__(
        self,
        store: BudgetStore,
        ledger: SpendLedger,
        resources: ResourceStore,
        clock: Clock,
        *,
        told: Callable[[Sequence[Crossing]], None],
        period_s: float,
        patience_s: float,
    ) -> None:
        """`patience_s`: as long as a reservation's lease. `told` hears the soft marks that corrections reach."""
        self.status = RepairStatus()
        self._resources = resources
        self._period_s = period_s
        self._stop = asyncio.Event()
        self._mender = Mender(
            store, ledger, clock, pause=lambda seconds: wait_for(self._stop, seconds), told=told, patience_s=patience_s
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Repair until `stop` is set."""
        self._stop = stop
        while not stop.is_set():
            reading_s = 0.0
            try:
                report = await self.once()
                reading_s = 0.0 if report is None else report.reading_s
            except PodiumError as error:
                self._failed(error)
            await wait_for(stop, unhurried_s(self._period_s, reading_s))

    async def once(self) -> MendReport | None:
        """One round; None when no budget is declared. Unavailable: store or database cannot be asked."""
        budgets = await declared_budgets(self._resources)
        if not budgets:
            return None
        report = await self._mender.round(BudgetTable(budgets))
        before = self.status
        self.status = RepairStatus(
            rounds=before.rounds + 1,
            failed_rounds=before.failed_rounds,
            corrections=before.corrections + report.mended,
            last=report,
        )
        if report.mended or report.behind or report.busy or before.error:
            _log.warning(
                "budgets were compared with the ledger",
                compared=report.compared,
                mended=report.mended,
                busy=report.busy,
                ledger_behind=report.behind,
                sentences=report.sentences[:20],
            )
        return report

    def _failed(self, error: PodiumError) -> None:
        if self.status.error != error.message:
            _log.warning("budgets cannot be compared with the ledger", error=error.message)
        before = self.status
        self.status = msgspec.structs.replace(before, failed_rounds=before.failed_rounds + 1, error=error.message)


async def declared_budgets(resources: ResourceStore) -> dict[str, Budget]:
    """The budgets by name."""
    _, declared = await resources.current()
    return budgets_of(declared)


def budgets_of(declared: Iterable[Resource]) -> dict[str, Budget]:
    """The budgets among these, by name."""
    return {one.name: one.spec for one in declared if isinstance(one.spec, Budget)}


def unhurried_s(period_s: float, took_s: float) -> float:
    """How long to wait after work that took so long: the period, or longer, so that it never takes most of the time."""
    return max(period_s, took_s / _SHARE_OF_TIME - took_s)
