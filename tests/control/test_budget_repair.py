import asyncio

import pytest
from structlog.testing import capture_logs

from podium.control.budget_repair import BudgetRepair, declared_budgets, unhurried_s
from podium.control.budget_spending import LedgerSpending
from podium.control.loader import Loader
from podium.control.ports import Change
from podium.core.errors import Unavailable
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.store import MemoryBudgetStore
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryJournals, MemoryLedger, MemoryResourceStore
from podium.testing.waiting import eventually

MONTHLY = {"unit": "usd", "amount": 1, "period": "month", "soft": (0.5,)}


class Place:
    def __init__(self, clock):
        self.clock = clock
        self.journals = MemoryJournals()
        self.ledger = MemoryLedger(clock)
        self.loader = Loader(self.journals, self.ledger, clock, poll_s=0.01)
        self.resources = MemoryResourceStore(clock)
        self.book = Book(lease_s=100)
        self.store = MemoryBudgetStore(clock, self.book)
        self.crossings = []
        self.spending = LedgerSpending(self.ledger, self.loader, clock, patience_s=0.3)

    async def declare(self, **spec):
        await self.resources.commit(
            expected=0, author="me", message="", changes=(Change("Budget", "all", None, {**MONTHLY, **spec}),)
        )

    def repair(self, ledger=None):
        return BudgetRepair(
            self.store,
            ledger or self.spending,
            self.resources,
            self.clock,
            told=self.crossings.extend,
            period_s=0.01,
            patience_s=100,
        )

    async def settled(self):
        table = BudgetTable(await declared_budgets(self.resources))
        charges = table.charges(Payer(tenant="acme"), self.clock.unix_ns())
        return self.book.standing(charges, self.clock.unix_ns())[0].settled

    def spend(self, nanousd):
        self.journals.append("g/1", make_event(started_unix_ns=self.clock.unix_ns(), cost_nanousd=nanousd))


class Ready:
    """A ledger that is always complete."""

    def __init__(self, ledger):
        self.spent = ledger.spent

    async def caught_up(self):
        return True

    async def all_here(self):
        return True


@pytest.fixture
def place(clock):
    return Place(clock)


async def test_without_budgets_there_is_nothing_to_do(place):
    assert await place.repair().once() is None


async def test_what_was_mended_is_told(place):
    await place.declare()
    place.spend(700_000_000)
    await place.loader.load_once()
    repair = place.repair(Ready(place.ledger))
    repair._mender._pause = lambda seconds: asyncio.sleep(0, place.clock.advance(seconds))
    with capture_logs() as logs:
        report = await repair.once()
    assert (report.mended, await place.settled()) == (1, 700_000_000)
    assert (repair.status.rounds, repair.status.corrections, repair.status.last) == (1, 1, report)
    assert "$0.70 added" in logs[0]["sentences"][0]
    assert [crossing.share for crossing in place.crossings] == [0.5]


async def test_the_loop_goes_on_after_a_failure(place):
    await place.declare()
    repair = place.repair()
    place.resources.down = True
    stop = asyncio.Event()
    task = asyncio.create_task(repair.run(stop))
    await eventually(lambda: repair.status.failed_rounds > 1)
    assert "cannot be reached" in repair.status.error
    stop.set()
    await task


async def test_the_ledger_has_caught_up_when_a_later_look_found_nothing_left(place):
    await place.loader.load_once()
    waiting = asyncio.create_task(place.spending.caught_up())
    await asyncio.sleep(0)
    place.clock.advance(1)
    await place.loader.load_once()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    place.clock.advance(2)
    await place.loader.load_once()
    assert await waiting


async def test_other_machines_are_known_by_what_they_load(place):
    place.spend(1)
    await place.loader.load_once()
    assert await place.spending.all_here()
    await place.ledger.load("elsewhere/4", 9, ())
    assert not await place.spending.all_here()
    place.clock.advance(2 * 86_400)
    assert await place.spending.all_here()


async def test_a_database_that_is_away_is_told(place):
    await place.declare()
    place.resources.down = True
    with pytest.raises(Unavailable):
        await place.repair().once()


def test_long_rounds_are_made_less_often():
    assert unhurried_s(300, 0.5) == 300
    assert unhurried_s(300, 60) == 1140
