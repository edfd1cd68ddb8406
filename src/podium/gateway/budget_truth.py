"""Budgets of a gateway that shares nothing: kept in memory; the ledger teaches what was spent before and elsewhere.

`podium.economics.budgets.truth` says what that comes to.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from podium.core.clock import Clock
from podium.core.errors import PodiumError
from podium.economics.budgets.book import Book
from podium.economics.budgets.truth import BudgetTruth, learn
from podium.economics.budgets.values import Cost, Crossing, Settlement
from podium.gateway.world import World

__all__ = ["BudgetTruthFollower", "OwnBudgets", "TruthSource"]

log = structlog.get_logger(__name__)

_LOOK_TIMEOUT_S = 5.0
_AT_ONCE = 500
Crossed = Callable[[Sequence[Crossing]], None]


class OwnBudgets:
    """The book of this process (podium.gateway.ports.Budgets) that tells which soft marks were reached."""

    __slots__ = ("_crossed", "book", "release", "reserve")

    def __init__(self, book: Book, crossed: Crossed) -> None:
        self.book = book
        self.reserve = book.reserve
        self.release = book.release
        self._crossed = crossed

    def settle(self, reservation_id: bytes, fact: Cost) -> Settlement:
        """As Budgets."""
        settlement = self.book.settle(reservation_id, fact)
        if settlement.crossings:
            self._crossed(settlement.crossings)
        return settlement


class TruthSource(Protocol):
    """Where control publishes what the ledger knows. PodiumError: it cannot be asked, or used."""

    async def stamp(self) -> object | None:
        """A value that differs whenever what is published differs; None when nothing is."""

    async def read(self) -> BudgetTruth:
        """What is published."""


class BudgetTruthFollower:
    """Teaches a book what is published, again and again. Until it can be read the book stays as it is."""

    def __init__(
        self,
        source: TruthSource,
        book: Book,
        world: Callable[[], World | None],
        clock: Clock,
        crossed: Crossed,
        *,
        poll_s: float = 5.0,
    ) -> None:
        self.read_unix_ns = 0  # when the ledger was read that the book has learnt from; 0: from none yet
        self._source = source
        self._book = book
        self._world = world
        self._clock = clock
        self._crossed = crossed
        self._poll_s = poll_s
        self._learnt: object | None = None
        self._failed = False

    async def run(self) -> None:
        """Look for news, forever."""
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)

    async def look(self) -> None:
        """Learn what is published, if it is new or budgets have changed. Call it once before serving begins.

        Soft marks that were reached before this process began were told then.
        """
        world = self._world()
        if world is None:
            return
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                stamp = await self._source.stamp()
                if stamp is None or self._learnt == (stamp, world.snapshot.revision):
                    return
                truth = await self._source.read()
        except (PodiumError, TimeoutError) as error:
            if not self._failed:
                log.warning("budgets_not_learnt", error=str(error) or type(error).__name__)
            self._failed = True
            return
        self._failed = False
        for start in range(0, len(truth.known), _AT_ONCE):
            some = truth.known[start : start + _AT_ONCE]
            crossings = learn(self._book, world.budgets, some, self._clock.unix_ns())
            if crossings and self._learnt is not None:
                self._crossed(crossings)
            await asyncio.sleep(0)  # exchanges go on meanwhile
        self._learnt = (stamp, world.snapshot.revision)
        self.read_unix_ns = truth.read_unix_ns
