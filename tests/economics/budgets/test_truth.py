import pytest

from podium.core.budgets import Budget
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.truth import learn, read_truth
from podium.economics.budgets.values import Cost, Reservation
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger

NOW_NS = 1_760_000_000 * 10**9
HOUR_NS = 3600 * 10**9
MONTHLY = Budget(unit="usd", amount=1, period="month", per=("user",), soft=(0.5,))
WINDOW = Budget(unit="tokens", amount=1000, period="rolling", rolling_s=3600, per=("tag:team",))
ANN = Payer("acme", "k", "ann", "small", (("team", "a"),))


async def truth_of(events, budgets, unix_ns=NOW_NS):
    ledger = MemoryLedger()
    await ledger.load("a/1", 1, tuple(events))
    return await read_truth(budgets, ledger, unix_ns)


def event(**changes):
    return make_event(**({"started_unix_ns": NOW_NS - 60 * 10**9, "user": "ann", "tags": "team=a"} | changes))


def spend(book, table, cost, serial=1):
    held = book.reserve(bytes([serial]), table.charges(ANN, NOW_NS), Cost(0, 0), NOW_NS, 0)
    assert isinstance(held, Reservation)
    book.settle(held.id, cost)


def settled(book, table):
    return [standing.settled for standing in book.standing(table.charges(ANN, NOW_NS), NOW_NS)]


async def test_a_new_book_learns_what_was_spent_before():
    budgets = {"month": MONTHLY, "window": WINDOW}
    truth = await truth_of([event(), event(cost_nanousd=10), event(user="bob", tags="team=b")], budgets)
    book, table = Book(lease_s=9), BudgetTable(budgets)
    learn(book, table, truth.known, NOW_NS)
    assert settled(book, table) == [1_510, 240]
    assert len(truth.known) == 4


async def test_what_a_book_counts_itself_is_not_counted_twice():
    budgets = {"month": MONTHLY, "window": WINDOW}
    book, table = Book(lease_s=9), BudgetTable(budgets)
    spend(book, table, Cost(1_500, 120))
    learn(book, table, (await truth_of([event(started_unix_ns=NOW_NS)], budgets)).known, NOW_NS)
    assert settled(book, table) == [1_500, 120]
    elsewhere = [event(started_unix_ns=NOW_NS), event(started_unix_ns=NOW_NS)]
    for _ in range(2):
        learn(book, table, (await truth_of(elsewhere, budgets)).known, NOW_NS)
    assert settled(book, table) == [3_000, 240]


async def test_soft_marks_that_are_learnt_are_told_once():
    book, table = Book(lease_s=9), BudgetTable({"month": MONTHLY})
    truth = await truth_of([event(cost_nanousd=600_000_000)], {"month": MONTHLY})
    assert [crossing.share for crossing in learn(book, table, truth.known, NOW_NS)] == [0.5]
    assert learn(book, table, truth.known, NOW_NS) == ()


async def test_what_has_left_the_window_or_the_period_is_not_learnt():
    budgets = {"month": MONTHLY, "window": WINDOW}
    old = [event(started_unix_ns=NOW_NS - 2 * HOUR_NS), event(started_unix_ns=NOW_NS - 40 * 24 * HOUR_NS)]
    truth = await truth_of(old, budgets)
    assert [(one.budget, one.amount) for one in truth.known] == [("month", 1_500)]


@pytest.mark.parametrize(
    "changed",
    [
        {"per": ("key",)},
        {"per": ("user", "key")},
        {"unit": "tokens"},
        {"period": "day"},
    ],
)
async def test_nothing_is_learnt_of_a_budget_that_has_changed(changed):
    truth = await truth_of([event()], {"month": MONTHLY})
    other = Budget(**({"unit": "usd", "amount": 1, "period": "month", "per": ("user",)} | changed))
    if changed == {"per": ("key",)}:
        truth = await truth_of([event(user="ann-of-old")], {"month": MONTHLY})
    for table in (BudgetTable({"month": other}), BudgetTable({})):
        book = Book(lease_s=9)
        learn(book, table, truth.known, NOW_NS)
        assert len(book) == (1 if changed == {"per": ("key",)} and table.budgets else 0)


async def test_corrections_after_learning_still_fit():
    book, table = Book(lease_s=9), BudgetTable({"month": MONTHLY})
    book.set_mark(NOW_NS + 1)
    learn(book, table, (await truth_of([event()], {"month": MONTHLY})).known, NOW_NS)
    (standing,) = book.standing(table.charges(ANN, NOW_NS), NOW_NS)
    assert standing.parts[0].settled == standing.settled == 1_500
