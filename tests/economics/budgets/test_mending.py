import asyncio

import pytest

from podium.core.budgets import Budget
from podium.economics.budgets.book import Book
from podium.economics.budgets.mending import Mender
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.spending import SPEND_COLUMNS, Spent
from podium.economics.budgets.store import MemoryBudgetStore
from podium.economics.budgets.values import Cost
from podium.testing.clock import TestClock

DAY_S = 86_400
LEASE_S = 100.0
ESTIMATE = Cost(5, 5)


class Ledger:
    """All exchanges as (moment, payer, cost)."""

    def __init__(self):
        self.exchanges = []
        self.behind = False
        self.alone = True
        self.queries = []

    async def caught_up(self):
        return not self.behind

    async def all_here(self):
        return self.alone

    async def spent(self, query):
        self.queries.append(query)
        rows = []
        for unix_ns, payer, cost in self.exchanges:
            if query.start_ns <= unix_ns < query.end_ns:
                start_ns = unix_ns // query.bucket_ns * query.bucket_ns if query.bucket_ns else query.start_ns
                tags = ",".join(f"{name}={value}" for name, value in payer.tags)
                values = {**payer._asdict(), "tags": tags}
                told = (values[name] if name in query.by else "" for name in SPEND_COLUMNS)
                rows.append(Spent(start_ns, *told, *cost))
        return tuple(rows)


class World:
    """A book, a ledger and a mender of some budgets."""

    def __init__(self, **budgets):
        self.clock = TestClock()
        self.book = Book(lease_s=LEASE_S)
        self.store = MemoryBudgetStore(self.clock, self.book)
        self.ledger = Ledger()
        self.crossings = []
        self.pauses = []
        self.on_pause = {}
        self.table = BudgetTable(budgets)
        self.serial = 0

    async def pause(self, seconds):
        await asyncio.sleep(0)
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        self.on_pause.pop(len(self.pauses), lambda: None)()

    def reserve(self, payer, estimate=ESTIMATE):
        self.serial += 1
        unix_ns = self.clock.unix_ns()
        charges = self.table.charges(payer, unix_ns)
        return self.book.reserve(bytes([self.serial]), charges, estimate, unix_ns, self.clock.monotonic_ns())

    def ended(self, payer, cost, *, loaded=True, settled=True):
        held = self.reserve(payer)
        if settled:
            self.book.settle(held.id, cost)
        if loaded:
            self.ledger.exchanges.append((held.made_unix_ns, payer, cost))
        return held

    async def mend(self):
        mender = Mender(
            self.store, self.ledger, self.clock, pause=self.pause, told=self.crossings.extend, patience_s=LEASE_S
        )
        return await mender.round(self.table)

    def settled(self, payer):
        charges = self.table.charges(payer, self.clock.unix_ns())
        return [standing.settled for standing in self.book.standing(charges, self.clock.unix_ns())]


def monthly(**changes):
    return Budget(**({"unit": "usd", "amount": 100, "period": "month"} | changes))


ACME, OTHER = Payer("acme", "k1", "ann", "small"), Payer("other", "k2", "bob", "large")


async def test_where_both_agree_nothing_is_mended():
    world = World(all=monthly())
    world.ended(ACME, Cost(7, 70))
    report = await world.mend()
    assert (report.compared, report.mended, report.busy, report.behind, report.sentences) == (1, 0, 0, False, ())


async def test_what_was_never_settled_is_added_and_what_the_ledger_does_not_have_is_taken_off():
    world = World(dollars=monthly(), tokens=monthly(unit="tokens", per=("key",)))
    lost = world.ended(ACME, Cost(7, 70), settled=False)
    world.book.release(lost.id)
    world.ended(OTHER, Cost(3, 30), loaded=False)
    report = await world.mend()
    assert (world.settled(ACME), world.settled(OTHER)) == ([7, 70], [0, 0])
    assert (report.compared, report.mended) == (4, 4)
    assert len(report.sentences) == 4
    assert "tenant 'acme'" in "".join(report.sentences)


async def test_accounts_that_a_store_has_lost_are_made_anew():
    world = World(all=monthly(), window=monthly(period="rolling", rolling_s=3600, per=("user",)))
    world.ended(ACME, Cost(7, 70))
    world.ended(OTHER, Cost(9, 90))
    world.clock.advance(120)
    world.store.book = world.book = Book(lease_s=LEASE_S)
    assert world.settled(ACME) == [0, 0]
    report = await world.mend()
    assert (world.settled(ACME), world.settled(OTHER), report.mended) == ([7, 7], [9, 9], 4)
    assert (await world.mend()).mended == 0


async def test_only_exchanges_that_a_budget_holds_for_are_counted():
    tagged = Payer("acme", "k1", "ann", "small", (("project", "x"), ("team", "a")))
    world = World(team=monthly(per=("tag:team",), where={"model": ("sm*",), "tag:project": ("x",)}))
    elsewhere = tagged._replace(model="large")
    for payer in (tagged, ACME, elsewhere):
        world.ledger.exchanges.append((world.clock.unix_ns(), payer, Cost(4, 4)))
    report = await world.mend()
    assert (report.compared, report.mended, world.settled(tagged)) == (1, 1, [4])
    assert world.ledger.queries[0].by == ("model", "tags")


async def test_busy_accounts_are_looked_at_again_until_they_have_ended():
    world = World(all=monthly())
    held = world.reserve(ACME)
    world.on_pause[3] = lambda: (
        world.book.settle(held.id, Cost(1, 1)),
        world.ledger.exchanges.append((held.made_unix_ns, ACME, Cost(6, 6))),
    )
    report = await world.mend()
    assert (report.compared, report.mended, report.busy, world.settled(ACME)) == (1, 1, 0, [6])
    assert world.pauses == [5.0, 5.0, 10.0]


async def test_a_crashed_exchange_is_mended_when_its_lease_has_ended():
    world = World(all=monthly())
    held = world.reserve(ACME)
    world.ledger.exchanges.append((held.made_unix_ns, ACME, Cost(6, 6)))
    report = await world.mend()
    assert (report.mended, world.settled(ACME)) == (1, [6])
    assert sum(world.pauses) >= LEASE_S
    world.book.settle(held.id, Cost(6, 6))
    assert world.settled(ACME) == [6]


async def test_patience_ends():
    world = World(all=monthly())
    world.book = world.store.book = Book(lease_s=10 * LEASE_S)
    world.reserve(ACME)
    report = await world.mend()
    assert (report.compared, report.busy) == (0, 1)
    assert "1 account was left alone" in report.sentences[0]
    assert sum(world.pauses) < 3 * LEASE_S


async def test_nothing_is_touched_while_the_ledger_is_behind():
    world = World(all=monthly())
    world.ended(ACME, Cost(7, 70), loaded=False)
    world.ledger.behind = True
    report = await world.mend()
    assert (report.behind, report.compared, report.mended, world.settled(ACME)) == (True, 0, 0, [7])


async def test_what_settles_during_the_round_is_not_lost():
    world = World(all=monthly())
    world.ended(ACME, Cost(7, 70), settled=False)
    world.on_pause[1] = lambda: world.ended(ACME, Cost(2, 2))
    await world.mend()
    world.clock.advance(1)
    await world.mend()
    assert world.settled(ACME) == [9]


async def test_a_day_that_has_just_ended_is_still_compared():
    world = World(daily=monthly(period="day"))
    world.clock.jump(DAY_S - world.clock.unix_ns() // 10**9 % DAY_S - 60)
    before_ns = world.clock.unix_ns()
    world.ledger.exchanges.append((before_ns, ACME, Cost(7, 7)))
    world.clock.advance(300)
    report = await world.mend()
    old = world.table.charges(ACME, before_ns)
    assert (report.mended, world.settled(ACME)) == (1, [0])
    assert world.book.standing(old, before_ns)[0].settled == 7


async def test_soft_marks_that_a_correction_reaches_are_told_once():
    world = World(all=monthly(amount=1, soft=(0.5,)))
    world.ledger.exchanges.append((world.clock.unix_ns(), ACME, Cost(600_000_000, 1)))
    await world.mend()
    await world.mend()
    assert [(crossing.budget, crossing.share) for crossing in world.crossings] == [("all", 0.5)]


@pytest.mark.parametrize("count", [2500])
async def test_many_accounts_are_compared_in_pages(count):
    world = World(users=monthly(per=("user",)), b=monthly(per=("key",)))
    now_ns = world.clock.unix_ns()
    for number in range(count):
        world.ledger.exchanges.append((now_ns, Payer("acme", "k", f"user-{number}"), Cost(2, 2)))
    first = await world.mend()
    world.ledger.exchanges.append((now_ns, Payer("acme", "k", "user-7"), Cost(2, 2)))
    second = await world.mend()
    assert (first.compared, first.mended) == (count + 1, count + 1)
    assert (second.compared, second.mended, len(second.sentences)) == (count + 1, 2, 2)
    assert len(first.sentences) == 100


async def test_accounts_under_another_mark_are_left_alone():
    world = World(all=monthly())
    world.ended(ACME, Cost(7, 70), loaded=False)
    world.on_pause[1] = lambda: world.book.set_mark(world.clock.unix_ns() + 10**9)
    report = await world.mend()
    assert (report.compared, report.mended, world.settled(ACME)) == (0, 0, [7])


async def test_nothing_is_taken_off_while_others_bring_exchanges_in():
    world = World(all=monthly())
    world.ledger.alone = False
    world.ended(ACME, Cost(7, 70), loaded=False)
    world.ended(OTHER, Cost(3, 30))
    world.ledger.exchanges.append((world.clock.unix_ns(), OTHER, Cost(2, 2)))
    report = await world.mend()
    assert (report.compared, report.mended, world.settled(ACME), world.settled(OTHER)) == (2, 1, [7], [5])
