"""Where reservations and accounts are kept: the face of every such store, and the one in memory.

A store decides alone what `podium.economics.budgets.book` states as rules, in one atomic step a call: two gateways that
ask at the same time never both get the last dollar. `podium.testing.budget_conformance` is those rules as tests.
"""

from collections.abc import Sequence
from typing import Protocol

from podium.core.clock import Clock
from podium.economics.budgets.book import Book
from podium.economics.budgets.values import (
    Charge,
    Correction,
    Cost,
    Crossing,
    Refusal,
    Reservation,
    Settlement,
    Standing,
)

__all__ = ["MARK_AHEAD_S", "BudgetStore", "MemoryBudgetStore"]

MARK_AHEAD_S = 5.0  # clocks of gateways may differ by less than this


class BudgetStore(Protocol):
    """Reservations and accounts. Calls may wait, but bounded: Unavailable when the store cannot be asked in time.

    Leases run by the store's clock; the period, and the place in a rolling window, by the caller's `unix_ns`.
    """

    async def reserve(
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int
    ) -> Reservation | Refusal:
        """Hold the estimate in every account, or nothing. The same id again: what it holds already.

        `unix_ns`: when the exchange began, the moment that the ledger files it under. `charges` are of that moment.
        ValueError: the id is that of a reservation that has ended.
        """

    async def settle(self, reservation_id: bytes, fact: Cost) -> Settlement:
        """Give back what was held and count what it cost, once; also after the lease's end."""

    async def release(self, reservation_id: bytes) -> Settlement:
        """Give back what was held, once: it cost nothing."""

    async def expire(self) -> int:
        """Give back what is held by reservations whose lease has ended; how many. `reserve` needs no help of it."""

    async def standing(self, charges: Sequence[Charge], unix_ns: int) -> tuple[Standing, ...]:
        """How these accounts stand, in this order; one that is not known stands at nothing."""

    async def accounts(self, after: str, limit: int) -> tuple[Standing, ...]:
        """A page of the known accounts by key, from the first one behind `after`; "" is before all."""

    async def mark(self) -> int:
        """Cut for the repair `MARK_AHEAD_S` from now; the moment, Unix nanoseconds."""

    async def repair(
        self, corrections: Sequence[Correction], unix_ns: int
    ) -> tuple[tuple[bool, ...], tuple[Crossing, ...]]:
        """Apply corrections: for each whether it took effect, and the soft marks that were reached.

        One is void when the mark or the figure that it expects is no longer there, so twice does no harm.
        """


class MemoryBudgetStore:
    """The store of one process. `book` is the same without waiting."""

    __slots__ = ("_clock", "book")

    def __init__(self, clock: Clock, book: Book) -> None:
        self._clock = clock
        self.book = book

    async def reserve(
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int
    ) -> Reservation | Refusal:
        """As BudgetStore."""
        return self.book.reserve(reservation_id, charges, estimate, unix_ns, self._clock.monotonic_ns())

    async def settle(self, reservation_id: bytes, fact: Cost) -> Settlement:
        """As BudgetStore."""
        return self.book.settle(reservation_id, fact)

    async def release(self, reservation_id: bytes) -> Settlement:
        """As BudgetStore."""
        return self.book.release(reservation_id)

    async def expire(self) -> int:
        """As BudgetStore."""
        return self.book.expire(self._clock.monotonic_ns())

    async def standing(self, charges: Sequence[Charge], unix_ns: int) -> tuple[Standing, ...]:
        """As BudgetStore."""
        self.book.expire(self._clock.monotonic_ns())
        return self.book.standing(charges, unix_ns)

    async def accounts(self, after: str, limit: int) -> tuple[Standing, ...]:
        """As BudgetStore."""
        self.book.expire(self._clock.monotonic_ns())
        return self.book.accounts(after, limit)

    async def mark(self) -> int:
        """As BudgetStore."""
        mark_ns = self._clock.unix_ns() + int(MARK_AHEAD_S * 1e9)
        self.book.set_mark(mark_ns)
        return mark_ns

    async def repair(
        self, corrections: Sequence[Correction], unix_ns: int
    ) -> tuple[tuple[bool, ...], tuple[Crossing, ...]]:
        """As BudgetStore."""
        return self.book.correct(corrections, unix_ns)
