"""Which budgets an exchange falls under, and under which accounts it counts there."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from podium.core.budgets import Budget
from podium.core.money import nanousd_from_usd
from podium.economics.budgets.periods import Calendar, Period
from podium.economics.budgets.values import Charge, Rule

__all__ = ["BudgetTable", "CompiledBudget", "Payer"]

_MAX_VALUE = 64  # characters of one value in an account's key
_MAX_REMEMBERED = 16_384
_Payer = tuple[str, str, str, str, tuple[tuple[str, str], ...]]  # as `Payer`


class Payer(NamedTuple):
    """Whom an exchange is counted for; "" where it has no value."""

    tenant: str = ""
    key: str = ""  # the key's id, never the key
    user: str = ""
    model: str = ""  # the public name
    tags: tuple[tuple[str, str], ...] = ()  # names and values, each name once

    def value(self, dimension: str) -> str:
        """The value of a dimension of podium.core.budgets; "" when there is none."""
        if dimension.startswith("tag:"):
            return dict(self.tags).get(dimension[4:], "")
        value: str = getattr(self, dimension)
        return value


class CompiledBudget:
    """One budget, ready to be asked."""

    __slots__ = ("_calendar", "_charges", "_period_end_ns", "_period_start_ns", "_where", "per", "rule")

    def __init__(self, name: str, budget: Budget) -> None:
        self.per = budget.per
        self.rule = _rule(name, budget)
        self._calendar = Calendar(budget)
        self._where = tuple((dimension, _matcher(values)) for dimension, values in sorted(budget.where.items()))
        self._charges: dict[tuple[str, ...], Charge] = {}
        self._period_start_ns = self._period_end_ns = 0

    @property
    def dimensions(self) -> set[str]:
        """Everything that decides whether an exchange falls under it, and under which account."""
        return {*self.per, *(dimension for dimension, _ in self._where)}

    def matches(self, payer: Payer) -> bool:
        """True when the payer's exchanges fall under it."""
        return all(matches(payer.value(dimension)) for dimension, matches in self._where)

    def period_at(self, unix_ns: int) -> Period:
        """The period that the moment lies in."""
        return self._calendar.period_at(unix_ns)

    def charge(self, payer: Payer, unix_ns: int) -> Charge:
        """The account of the payer in the period of that moment. Exchanges without a value share the one of ""."""
        return self.charge_of(tuple([payer.value(dimension) for dimension in self.per]), unix_ns)

    def charge_of(self, values: tuple[str, ...], unix_ns: int) -> Charge:
        """As `charge`, of the values of `per`."""
        if not self._period_start_ns <= unix_ns < self._period_end_ns or len(self._charges) >= _MAX_REMEMBERED:
            period = self._calendar.period_at(unix_ns)
            self._period_start_ns, self._period_end_ns = period.start_ns, period.end_ns
            self._charges.clear()
        known = self._charges.get(values)
        if known is None:
            known = self._charges[values] = self._make(values, unix_ns)
        return known

    def _make(self, values: tuple[str, ...], unix_ns: int) -> Charge:
        period = self._calendar.period_at(unix_ns)
        return Charge(
            key="|".join((self.rule.budget, *map(_bounded, values), period.key)),
            rule=self.rule,
            subject=tuple((dimension, value[:256]) for dimension, value in zip(self.per, values, strict=True)),
            label=period.label,
            start_ns=period.start_ns,
            end_ns=period.end_ns,
            bucket_ns=period.bucket_ns,
            buckets=period.buckets,
        )


class BudgetTable:
    """All budgets by name; build one a snapshot."""

    __slots__ = ("_from_ns", "_remembered", "_until_ns", "budgets")

    def __init__(self, budgets: Mapping[str, Budget]) -> None:
        self.budgets = {name: CompiledBudget(name, budget) for name, budget in sorted(budgets.items())}
        self._remembered: dict[_Payer, tuple[Charge, ...]] = {}  # as long as no period has ended
        self._from_ns = self._until_ns = 0

    def charges(self, payer: Payer | _Payer, unix_ns: int) -> tuple[Charge, ...]:
        """Every account that an exchange of the payer counts in, at the moment when it is reserved.

        Mostly the same tuple for the same payer. A payer may be a plain tuple, which is quicker made.
        """
        if not self._from_ns <= unix_ns < self._until_ns or len(self._remembered) >= _MAX_REMEMBERED:
            periods = [budget.period_at(unix_ns) for budget in self.budgets.values()]
            self._from_ns = max((period.start_ns for period in periods), default=0)
            self._until_ns = min((period.end_ns for period in periods), default=0)
            self._remembered.clear()
        known = self._remembered.get(payer)
        if known is None:
            payer = Payer(*payer)
            matching = [budget for budget in self.budgets.values() if budget.matches(payer)]
            known = self._remembered[payer] = tuple(budget.charge(payer, unix_ns) for budget in matching)
        return known


def _rule(name: str, budget: Budget) -> Rule:
    amount = nanousd_from_usd(str(budget.amount)) if budget.unit == "usd" else int(budget.amount)
    often = f"in {budget.rolling_s:,} seconds" if budget.period == "rolling" else f"a {budget.period}"
    whom = " and ".join(_spoken(dimension) for dimension in budget.per)
    return Rule(
        budget=name,
        unit=budget.unit,
        amount=amount,
        hard=budget.hard,
        soft=tuple((share, max(1, round(amount * share))) for share in sorted(set(budget.soft))),
        whom=f" for this {whom}" if whom else "",
        how_often=often,
        zone=budget.time_zone,
    )


def _spoken(dimension: str) -> str:
    return f"tag {dimension[4:]!r}" if dimension.startswith("tag:") else dimension


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether one of them, in which `*` is any run of characters, covers a value. No value matches nothing."""
    search = re.compile("|".join(map(_translate, patterns)), re.DOTALL).match
    return lambda value: bool(value) and search(value) is not None


def _translate(pattern: str) -> str:
    if "*" not in pattern:
        return f"{re.escape(pattern)}\\Z"
    head, *middle, tail = map(re.escape, pattern.split("*"))
    # Atomic groups: the leftmost place of each middle part is as good as any later one, so nothing backtracks.
    return head + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{tail}\\Z"


def _bounded(value: str) -> str:
    """The value as a piece of a key: never with a bar in it, never longer than 64 characters and the escapes."""
    if len(value) > _MAX_VALUE:
        digest = hashlib.blake2b(value.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        value = f"{value[:24]}#{digest}"  # no short value can look like it: its # is escaped
    elif "#" in value or "%" in value:
        value = value.replace("%", "%25").replace("#", "%23")
    return value.replace("|", "%7C")
