from types import SimpleNamespace

from podium.core.budgets import Budget
from podium.core.errors import OperatorError
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.truth import BudgetTruth, read_truth
from podium.economics.budgets.values import Cost
from podium.gateway.budget_truth import BudgetTruthFollower, OwnBudgets
from podium.testing.clock import TestClock
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger

BUDGETS = {"all": Budget(unit="usd", amount=1, period="month", soft=(0.5,))}
ACME = Payer(tenant="acme")


class Source:
    def __init__(self):
        self.number = None
        self.truth = BudgetTruth(read_unix_ns=1, known=())
        self.reads = 0

    async def stamp(self):
        return self.number

    async def read(self):
        self.reads += 1
        if self.truth is None:
            raise OperatorError("damaged")
        return self.truth


class Place:
    def __init__(self):
        self.clock = TestClock()
        self.book = Book(lease_s=9)
        self.source = Source()
        self.crossings = []
        self.world = SimpleNamespace(budgets=BudgetTable(BUDGETS), snapshot=SimpleNamespace(revision=1))
        self.ledger = MemoryLedger(self.clock)
        self.follower = BudgetTruthFollower(
            self.source, self.book, lambda: self.world, self.clock, self.crossings.extend
        )

    async def publish(self, cost):
        await self.ledger.load("a", 1, (make_event(started_unix_ns=self.clock.unix_ns(), cost_nanousd=cost),))
        self.source.truth = await read_truth(BUDGETS, self.ledger, self.clock.unix_ns())
        self.source.number = (self.source.number or 0) + 1

    def settled(self):
        charges = self.world.budgets.charges(ACME, self.clock.unix_ns())
        return self.book.standing(charges, self.clock.unix_ns())[0].settled


async def test_what_is_published_is_learnt_once():
    place = Place()
    await place.follower.look()
    assert place.source.reads == 0
    await place.publish(600_000_000)
    await place.follower.look()
    await place.follower.look()
    assert (place.settled(), place.source.reads) == (600_000_000, 1)
    assert place.follower.read_unix_ns == place.clock.unix_ns()


async def test_soft_marks_from_before_the_start_are_not_told_again_but_later_ones_are():
    place = Place()
    await place.publish(600_000_000)
    await place.follower.look()
    assert place.crossings == []
    other = Place()
    await other.publish(100)
    await other.follower.look()
    await other.publish(600_000_000)
    await other.follower.look()
    assert [crossing.share for crossing in other.crossings] == [0.5]


async def test_what_cannot_be_read_changes_nothing_and_is_tried_again():
    place = Place()
    await place.publish(100)
    good, place.source.truth = place.source.truth, None
    await place.follower.look()
    assert (place.settled(), place.follower.read_unix_ns) == (0, 0)
    place.source.truth = good
    await place.follower.look()
    assert place.settled() == 100


async def test_budgets_that_are_new_learn_what_was_published_before():
    place = Place()
    await place.publish(100)
    world, place.world = place.world, None
    await place.follower.look()
    assert place.source.reads == 0
    place.world = world
    await place.follower.look()
    place.book = place.follower._book = Book(lease_s=9)
    world.snapshot.revision = 2
    await place.follower.look()
    assert place.settled() == 100


def test_own_budgets_tell_the_soft_marks_that_are_reached():
    crossings = []
    budgets = OwnBudgets(Book(lease_s=9), crossings.extend)
    charges = BudgetTable(BUDGETS).charges(ACME, 10**18)
    for number, cost in enumerate((100, 600_000_000, 5)):
        budgets.reserve(bytes([number]), charges, Cost(1, 1), 10**18, 0)
        budgets.settle(bytes([number]), Cost(cost, 1))
    budgets.reserve(b"r", charges, Cost(1, 1), 10**18, 0)
    budgets.release(b"r")
    assert [crossing.share for crossing in crossings] == [0.5]
    assert budgets.book.running == 0
