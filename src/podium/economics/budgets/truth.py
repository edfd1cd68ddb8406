"""What the ledger knows was spent, for gateways that keep budgets in memory.

A gateway counts what it settles itself, exactly, until it ends. What it did before, and what other gateways spend, it
learns from the ledger: an account then stands at no less than the ledger says. So a gateway that starts anew knows all
but what was spent since the last reading, and several gateways together may spend more than a budget by what they
spend between two readings.
"""

from collections.abc import Iterable, Mapping

import msgspec

from podium.core.budgets import Budget, BudgetUnit
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, CompiledBudget
from podium.economics.budgets.spending import SpendLedger, SpendQuery, columns_of, payer_of
from podium.economics.budgets.values import Crossing

__all__ = ["BudgetTruth", "KnownSpending", "learn", "read_truth"]

_MOST = 200_000  # parts of accounts in one reading


class KnownSpending(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one account, of a rolling window of one bucket of it."""

    budget: str
    unit: BudgetUnit
    key: str  # the account's
    values: tuple[str, ...]  # of the budget's `per`
    start_ns: int
    amount: int


class BudgetTruth(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of the ledger."""

    read_unix_ns: int
    known: tuple[KnownSpending, ...]
    left_out: int = 0  # parts that there was no room for: the smallest


async def read_truth(budgets: Mapping[str, Budget], ledger: SpendLedger, unix_ns: int) -> BudgetTruth:
    """All that was spent in the running periods. Unavailable: the ledger cannot be asked."""
    known: list[KnownSpending] = []
    for budget in BudgetTable(budgets).budgets.values():
        known += await _known(budget, ledger, unix_ns)
    known.sort(key=lambda one: one.amount, reverse=True)
    return BudgetTruth(read_unix_ns=unix_ns, known=tuple(known[:_MOST]), left_out=max(0, len(known) - _MOST))


async def _known(budget: CompiledBudget, ledger: SpendLedger, unix_ns: int) -> list[KnownSpending]:
    period, unit = budget.period_at(unix_ns), budget.rule.unit
    start_ns = period.start_ns - period.buckets * period.bucket_ns
    query = SpendQuery(by=columns_of(budget), start_ns=start_ns, end_ns=unix_ns + 1, bucket_ns=period.bucket_ns)
    sums: dict[tuple[str, tuple[str, ...], int], int] = {}
    for row in await ledger.spent(query):
        payer, amount = payer_of(row), row.nanousd if unit == "usd" else row.tokens
        if amount > 0 and budget.matches(payer):
            values = tuple(payer.value(dimension) for dimension in budget.per)
            part = (budget.charge(payer, unix_ns).key, values, row.start_ns)
            sums[part] = sums.get(part, 0) + amount
    return [KnownSpending(budget.rule.budget, unit, *part, amount) for part, amount in sums.items()]


def learn(book: Book, table: BudgetTable, known: Iterable[KnownSpending], unix_ns: int) -> tuple[Crossing, ...]:
    """Make accounts stand at no less than is known; the soft marks that this reached.

    Of a budget that has changed since, nothing is learnt: its accounts were others.
    """
    crossings: tuple[Crossing, ...] = ()
    for one in known:
        budget = table.budgets.get(one.budget)
        if budget is None or len(budget.per) != len(one.values) or budget.rule.unit != one.unit:
            continue
        charge = budget.charge_of(one.values, unix_ns)
        if charge.key == one.key:
            crossings += book.learn(charge, one.start_ns, one.amount, unix_ns)
    return crossings
