"""One round of the repair: every account of every budget against the ledger, by the rules of `repair`.

Also accounts that the store does not know are made to stand as the ledger says: after a store has lost its data, what
was spent is counted again. While others bring exchanges in whose progress is not known, nothing is taken off: what the
ledger does not have may still come. Ended periods are compared for a day more. What is busy is looked at again, ever
less often, until the leases of all that ran at the mark have ended.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from podium.core.clock import Clock
from podium.economics.budgets.periods import Period
from podium.economics.budgets.repair import LedgerReading, compare, report
from podium.economics.budgets.rules import BudgetTable, CompiledBudget
from podium.economics.budgets.spending import SpendLedger, SpendQuery, columns_of, payer_of
from podium.economics.budgets.store import BudgetStore
from podium.economics.budgets.values import Charge, Crossing, Standing

__all__ = ["MendReport", "Mender"]

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_PAGE = 1000
_AT_ONCE = 20_000  # accounts that are held in memory
_FIRST_LOOK_AGAIN_S = 5.0
_MAX_TOLD = 100  # sentences of a report


class MendReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did."""

    mark_unix_s: float  # exchanges that were reserved before were compared
    took_s: float
    reading_s: float  # of that, for the ledger's answers
    compared: int  # accounts
    mended: int  # corrections that took effect
    busy: int  # accounts that were left alone: something from before the mark still ran
    behind: bool  # the ledger did not catch up, and what was left was not compared
    sentences: tuple[str, ...]  # what was mended, and what was left alone; the first of them


@dataclass(slots=True)
class _Tally:
    """What a round did so far."""

    compared: int = 0
    mended: int = 0
    behind: bool = False
    reading_ns: int = 0
    sentences: list[str] = field(default_factory=list)

    def tell(self, sentences: Iterable[str]) -> None:
        """Remember sentences while there is room."""
        self.sentences += list(sentences)[: _MAX_TOLD - len(self.sentences)]


@dataclass(frozen=True, slots=True)
class _Place:
    """The accounts of one budget in one period."""

    budget: CompiledBudget
    moment_ns: int  # in the period
    period: Period

    def holds(self, standing: Standing) -> bool:
        """True for accounts of this period that still count."""
        charge = standing.charge
        if not charge.key.endswith(f"|{self.period.key}"):
            return False
        if not charge.bucket_ns:
            return True
        oldest_ns = (self.moment_ns // charge.bucket_ns - charge.buckets) * charge.bucket_ns
        return not standing.parts or standing.parts[-1].end_ns > oldest_ns


class Mender:
    """Compares and corrects. `pause` waits so many seconds; `told` hears the soft marks that corrections reach.

    `patience_s`: as long as a lease.
    """

    def __init__(
        self,
        store: BudgetStore,
        ledger: SpendLedger,
        clock: Clock,
        *,
        pause: Callable[[float], Awaitable[object]],
        told: Callable[[Sequence[Crossing]], None],
        patience_s: float,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._pause = pause
        self._told = told
        self._patience_s = patience_s

    async def round(self, table: BudgetTable, mark_ns: int | None = None) -> MendReport:
        """Compare all accounts. `mark_ns`: a mark that was just set; None: set one. Unavailable: store or ledger."""
        began_ns = self._clock.monotonic_ns()
        mark_ns = await self._store.mark() if mark_ns is None else mark_ns
        await self._pause(max(0.0, (mark_ns - self._clock.unix_ns()) / _SECOND_NS))
        tally = _Tally()
        busy = [(place, await self._mend(place, mark_ns, tally)) for place in _places(table, mark_ns)]
        wait_s = _FIRST_LOOK_AGAIN_S
        while (busy := [(place, left) for place, left in busy if left]) and not tally.behind:
            if (self._clock.monotonic_ns() - began_ns) / _SECOND_NS > self._patience_s:
                break
            await self._pause(wait_s)
            wait_s *= 2
            busy = [(place, await self._mend_again(place, left, mark_ns, tally)) for place, left in busy]
        left_alone = sum(len(left) for _, left in busy)
        if left_alone:
            accounts = "account was" if left_alone == 1 else "accounts were"
            tally.tell([f"{left_alone} {accounts} left alone: what was reserved before the mark still runs."])
        return MendReport(
            mark_unix_s=mark_ns / _SECOND_NS,
            took_s=(self._clock.monotonic_ns() - began_ns) / _SECOND_NS,
            reading_s=tally.reading_ns / _SECOND_NS,
            compared=tally.compared,
            mended=tally.mended,
            busy=left_alone,
            behind=tally.behind,
            sentences=tuple(tally.sentences),
        )

    async def _mend(self, place: _Place, mark_ns: int, tally: _Tally) -> list[Charge]:
        """Compare all accounts of a place; those that are busy."""
        seen: set[str] = set()
        busy: list[Charge] = []
        charges: dict[str, Charge] = {}
        reading = None
        async for standings in self._accounts(place):
            seen.update(standing.charge.key for standing in standings)
            ready, running = _parted(standings, mark_ns)
            busy += running
            reading, charges = await self._read(place, ready, mark_ns, tally)
            if reading is None:
                return busy
            await self._correct(ready, reading, tally)
        if reading is None:
            reading, charges = await self._read(place, (), mark_ns, tally)
        unknown = [charge for key, charge in charges.items() if key not in seen]
        for start in range(0, len(unknown), _PAGE):
            some = await self._store.standing(unknown[start : start + _PAGE], place.moment_ns)
            ready, running = _parted(some, mark_ns)
            busy += running
            if reading is not None:
                await self._correct(ready, reading, tally)
        return busy

    async def _mend_again(self, place: _Place, charges: Sequence[Charge], mark_ns: int, tally: _Tally) -> list[Charge]:
        """Compare those that were busy; those that still are."""
        await self._store.expire()
        standings: list[Standing] = []
        for start in range(0, len(charges), _PAGE):
            standings += await self._store.standing(charges[start : start + _PAGE], place.moment_ns)
        ready, busy = _parted(standings, mark_ns)
        if ready:
            reading, _ = await self._read(place, ready, mark_ns, tally)
            if reading is not None:
                await self._correct(ready, reading, tally)
        return busy

    async def _accounts(self, place: _Place) -> AsyncIterator[list[Standing]]:
        """The store's accounts of a place, some at a time."""
        await self._store.expire()
        prefix = after = f"{place.budget.rule.budget}|"
        standings: list[Standing] = []
        while page := await self._store.accounts(after, _PAGE):
            after = page[-1].charge.key
            standings += [one for one in page if one.charge.key.startswith(prefix) and place.holds(one)]
            if not after.startswith(prefix):
                break
            if len(standings) >= _AT_ONCE:
                yield standings
                standings = []
        if standings:
            yield standings

    async def _read(
        self, place: _Place, ready: Sequence[Standing], mark_ns: int, tally: _Tally
    ) -> tuple[LedgerReading | None, dict[str, Charge]]:
        """What the ledger says of a place, asked after the standings: all that has ended is in it then."""
        query = _query(place, ready, mark_ns)
        if query is None:
            return LedgerReading(mark_ns, {}), {}
        if not await self._ledger.caught_up():
            tally.behind = True
            return None, {}
        budget = place.budget
        unit = 0 if budget.rule.unit == "usd" else 1
        sums: dict[tuple[str, int], int] = {}
        charges: dict[str, Charge] = {}
        asked_ns = self._clock.monotonic_ns()
        rows = await self._ledger.spent(query)
        tally.reading_ns += self._clock.monotonic_ns() - asked_ns
        for row in rows:
            payer, amount = payer_of(row), (row.nanousd, row.tokens)[unit]
            if amount and budget.matches(payer):
                charge = budget.charge(payer, place.moment_ns)
                charges[charge.key] = charge
                sums[charge.key, row.start_ns] = sums.get((charge.key, row.start_ns), 0) + amount
        return LedgerReading(mark_ns, sums), charges

    async def _correct(self, ready: Sequence[Standing], reading: LedgerReading, tally: _Tally) -> None:
        comparison = compare(ready, reading)
        if not await self._ledger.all_here():
            raising = tuple(one for one in comparison.corrections if one.actual > one.expected)
            comparison = replace(comparison, corrections=raising)
        tally.compared += comparison.compared
        for start in range(0, len(comparison.corrections), _PAGE):
            some = replace(comparison, corrections=comparison.corrections[start : start + _PAGE])
            applied, crossings = await self._store.repair(some.corrections, self._clock.unix_ns())
            tally.mended += sum(applied)
            tally.tell(report(some, applied)[1:])
            if crossings:
                self._told(crossings)


def _places(table: BudgetTable, mark_ns: int) -> Iterator[_Place]:
    for budget in table.budgets.values():
        moment_ns = mark_ns - 1
        period = budget.period_at(moment_ns)
        yield _Place(budget, moment_ns, period)
        if not period.bucket_ns and mark_ns - period.start_ns < _DAY_NS:
            before_ns = period.start_ns - 1
            yield _Place(budget, before_ns, budget.period_at(before_ns))


def _parted(standings: Iterable[Standing], mark_ns: int) -> tuple[list[Standing], list[Charge]]:
    """Those that can be compared, and those in which something from before the mark runs.

    Those that stand under another mark are neither: somebody else repairs them now.
    """
    marked = [standing for standing in standings if standing.mark_ns == mark_ns]
    ready = [standing for standing in marked if not standing.running_before_mark]
    return ready, [standing.charge for standing in marked if standing.running_before_mark]


def _query(place: _Place, ready: Sequence[Standing], mark_ns: int) -> SpendQuery | None:
    """The question that holds all parts of these standings and of accounts that are not known; None: there is none."""
    period = place.period
    if not period.bucket_ns:
        start_ns, end_ns = period.start_ns, min(period.end_ns, mark_ns)
    else:
        starts = [standing.parts[0].start_ns for standing in ready if standing.parts]
        start_ns = min(starts, default=period.start_ns - period.buckets * period.bucket_ns)
        start_ns = min(start_ns, period.start_ns - period.buckets * period.bucket_ns)
        end_ns = mark_ns // period.bucket_ns * period.bucket_ns
    if end_ns <= start_ns:
        return None
    return SpendQuery(by=columns_of(place.budget), start_ns=start_ns, end_ns=end_ns, bucket_ns=period.bucket_ns)
