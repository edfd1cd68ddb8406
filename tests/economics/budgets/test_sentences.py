"""What callers and operators read."""

from dataclasses import replace

import pytest

from podium.core.budgets import Budget
from podium.economics.budgets.book import Book
from podium.economics.budgets.explain import explain
from podium.economics.budgets.refusals import format_amount, format_moment
from podium.economics.budgets.repair import LedgerReading, compare, report, wanted
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.values import Cost, Part
from podium.testing.budget_conformance import make_charge

SECOND = 10**9
NOW = 1_760_000_000 * SECOND
USD = 10**9


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (USD, "$1.00"), (1_234_567 * USD, "$1,234,567.00"), (4_125_000, "$0.004125"), (USD // 2, "$0.50")],
)
def test_money_has_as_many_decimals_as_it_needs(amount, text):
    assert format_amount(make_charge().rule, amount) == text


def test_tokens_are_tokens():
    assert format_amount(make_charge(unit="tokens").rule, 12_000) == "12,000 tokens"


def test_moments_are_told_in_the_budgets_zone():
    assert format_moment(NOW, "Europe/Berlin") == "2025-10-09 10:53:20 Europe/Berlin"
    assert format_moment(1_759_276_799 * SECOND + 1, "UTC") == "2025-10-01 00:00 UTC"


def standing(settled=0, reserved=0, **changes):
    spec = {"unit": "usd", "amount": 10, "period": "month", "per": ("tenant", "user"), "time_zone": "Europe/Berlin"}
    book, table = Book(lease_s=60), BudgetTable({"team": Budget(**(spec | changes))})
    charges = table.charges(Payer(tenant="acme"), NOW)
    for number, (held, cost) in enumerate([(0, settled), (reserved, None)]):
        if held or cost:
            book.reserve(bytes([number]), charges, Cost(held, held), NOW, 0)
        if cost:
            book.settle(bytes([number]), Cost(cost, cost))
    return book.standing(charges, NOW)[0]


def test_a_budget_is_explained():
    assert explain(standing(8 * USD, USD), NOW) == (
        "Budget 'team' of tenant 'acme', no user: $10.00 a month, 2025-10.",
        "Settled $8.00 (80.0%), reserved $1.00 for 1 running exchange, left $1.00.",
        "It starts anew at 2025-11-01 00:00 Europe/Berlin; what does not fit is refused with 402.",
        "Soft marks reached: 80%.",
    )


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (standing(10 * USD), "; until then everything that costs is refused with 402."),
        (standing(8 * USD, 2 * USD), "; all that is left is reserved, so requests are refused with 402 until running"),
        (standing(hard=False), "Berlin; nothing is refused."),
        (standing(period="rolling", rolling_s=3600), "Room comes back as use leaves the window; what does not fit"),
    ],
)
def test_what_happens_next_is_explained(one, word):
    assert word in explain(one, NOW)[2]


def test_an_ended_period_is_explained():
    assert explain(standing(), NOW + 40 * 86_400 * SECOND)[2].startswith("This period has ended")


def test_of_several_budgets_without_room_the_last_to_have_it_is_told():
    book = Book(lease_s=60)
    soon, late = (make_charge(name, 100, end_ns=NOW + end) for name, end in (("soon", 1), ("late", 2)))
    book.reserve(b"1", (soon, late), Cost(100, 0), NOW, 0)
    book.settle(b"1", Cost(100, 0))

    assert book.reserve(b"2", (late, soon), Cost(1, 0), NOW, 0).budget == "late"
    assert book.reserve(b"2", (soon, late), Cost(1, 0), NOW, 0).budget == "late"


def test_of_what_is_left_too_little_is_not_called_used_up():
    book, charge = Book(lease_s=60), make_charge()
    book.reserve(b"1", (charge,), Cost(90, 0), NOW, 0)
    book.settle(b"1", Cost(90, 0))

    assert book.reserve(b"2", (charge,), Cost(11, 0), NOW, 0).message.startswith("Too little of the budget 'b'")


def marked(key, settled, *, running=0, mark_ns=50):
    one = standing(settled)
    charge = replace(one.charge, key=key, start_ns=0)
    part = Part(0, mark_ns, settled)
    return replace(one, charge=charge, mark_ns=mark_ns, running_before_mark=running, parts=(part,))


def test_a_repair_says_what_it_mended_and_what_it_left_alone():
    standings = [marked("low", USD), marked("high", 3 * USD), marked("same", USD), marked("busy", USD, running=2)]
    behind = marked("behind", USD, mark_ns=60)
    sums = {("low", 0): 2 * USD, ("same", 0): USD, ("busy", 0): 9 * USD, ("behind", 0): 9 * USD}
    comparison = compare([*standings, behind], LedgerReading(50, sums))
    named = "Budget 'team' of tenant 'acme', user '' (2025-10)"

    assert report(comparison, (True, False)) == (
        "Compared 3 accounts with the ledger: 1 correction made.",
        f"{named}: $1.00 had been settled, and the ledger has $2.00; $1.00 added.",
        f"{named} changed during the repair and is left to the next one: $3.00 had been settled, and the ledger has $0.00.",
        f"{named} was left alone: 2 reservations from before the mark still run.",
        f"{named} was left alone: the ledger has not loaded all of it yet.",
    )


def test_a_repair_with_nothing_to_do_says_so():
    comparison = compare([marked("same", USD)], LedgerReading(50, {("same", 0): USD}))

    assert report(comparison, ()) == ("Compared 1 account with the ledger: nothing to mend.",)


def test_the_ledger_is_asked_for_every_part():
    (asked,) = wanted([marked("a", USD)])

    assert (asked.key, asked.part, asked.subject) == ("a", Part(0, 50, USD), (("tenant", "acme"), ("user", "")))
