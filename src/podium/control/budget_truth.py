"""Tells gateways that keep budgets in memory what the ledger knows was spent."""

import asyncio
from typing import Protocol

import structlog

from podium.control.budget_repair import declared_budgets, unhurried_s
from podium.control.ports import ResourceStore
from podium.control.waiting import wait_for
from podium.core.clock import Clock
from podium.core.errors import PodiumError
from podium.economics.budgets.spending import SpendLedger
from podium.economics.budgets.truth import BudgetTruth, read_truth

__all__ = ["BudgetTruths", "TruthPublisher"]

_log = structlog.get_logger("podium.control.budgets")


class TruthPublisher(Protocol):
    """Where gateways find it."""

    async def publish(self, truth: BudgetTruth) -> None:
        """Replace what is published, at once and whole."""


class BudgetTruths:
    """The loop. One at a time leads; a second one does no harm."""

    def __init__(
        self, publisher: TruthPublisher, ledger: SpendLedger, resources: ResourceStore, clock: Clock, *, period_s: float
    ) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._resources = resources
        self._clock = clock
        self._period_s = period_s
        self._published = False
        self._error = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        while not stop.is_set():
            began_ns = self._clock.monotonic_ns()
            try:
                await self.once()
            except PodiumError as error:
                if self._error != error.message:
                    _log.warning("gateways are not told what was spent", error=error.message)
                self._error = error.message
            else:
                self._error = ""
            await wait_for(stop, unhurried_s(self._period_s, (self._clock.monotonic_ns() - began_ns) / 1e9))

    async def once(self) -> BudgetTruth | None:
        """Read and publish; None when no budget is declared, and none was. Unavailable, OperatorError: not possible."""
        budgets = await declared_budgets(self._resources)
        if not budgets and not self._published:
            return None
        truth = await read_truth(budgets, self._ledger, self._clock.unix_ns())
        await self._publisher.publish(truth)
        self._published = bool(budgets)
        if truth.left_out:
            _log.warning("more accounts have budgets than gateways are told of", left_out=truth.left_out)
        return truth
