"""Comparing what was settled with the ledger, while exchanges run.

A repair goes like this:
1. `store.mark()` cuts time. From then on a store sums apart what was reserved before the mark.
2. Wait until every reservation from before the mark has ended (a lease) and the ledger has loaded what they cost.
3. Read the standings, and for each of their parts (`wanted`) the ledger's sum of exchanges that began in that stretch.
4. `compare`, then `store.repair(corrections)`, then the report says what took effect.

Nothing is compared before it can be: an account in which something from before the mark still runs is left alone, and
so is everything while the ledger is behind the mark. Each comparison is of whole parts, so an error of one repair, say
by clocks that differ, is mended by the next and never adds up. A settle that comes after its lease ended and after the
repair is not counted again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from podium.economics.budgets.refusals import format_amount
from podium.economics.budgets.values import Correction, Part, Standing

__all__ = ["Comparison", "LedgerReading", "Wanted", "compare", "report", "wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sum that is asked of the ledger: of the exchanges of this account that began in the part."""

    key: str
    subject: tuple[tuple[str, str], ...]
    part: Part


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """What the ledger says: sums in the budget's unit by account key and start of the part; none is 0."""

    complete_until_ns: int  # every exchange that began before is in it
    sums: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be mended, and which accounts could not be compared yet."""

    compared: int  # accounts
    corrections: tuple[Correction, ...]
    busy: tuple[Standing, ...]  # something from before the mark still runs in them
    behind: tuple[Standing, ...]  # the ledger has not reached their mark


def wanted(standings: Iterable[Standing]) -> Iterator[Wanted]:
    """What to ask the ledger for."""
    for standing in standings:
        for part in standing.parts:
            yield Wanted(standing.charge.key, standing.charge.subject, part)


def compare(standings: Sequence[Standing], ledger: LedgerReading) -> Comparison:
    """Where the ledger says something else than what was settled."""
    busy, behind, corrections = [], [], []
    for standing in standings:
        if standing.running_before_mark:
            busy.append(standing)
        elif ledger.complete_until_ns < max((part.end_ns for part in standing.parts), default=0):
            behind.append(standing)
        else:
            corrections += list(_corrections(standing, ledger))
    compared = len(standings) - len(busy) - len(behind)
    return Comparison(compared, tuple(corrections), tuple(busy), tuple(behind))


def report(comparison: Comparison, applied: Sequence[bool]) -> tuple[str, ...]:
    """What the repair did, in sentences: a summary, then one for each correction and each account left alone."""
    mended = sum(applied)
    mended_text = f"{mended} correction{'' if mended == 1 else 's'} made" if mended else "nothing to mend"
    summary = f"Compared {comparison.compared} account{'' if comparison.compared == 1 else 's'} with the ledger: "
    return (
        summary + mended_text + ".",
        *(_sentence(one, took) for one, took in zip(comparison.corrections, applied, strict=True)),
        *(
            f"{_named(one)} was left alone: {one.running_before_mark} reservations from before the mark still run."
            for one in comparison.busy
        ),
        *(f"{_named(one)} was left alone: the ledger has not loaded all of it yet." for one in comparison.behind),
    )


def _corrections(standing: Standing, ledger: LedgerReading) -> Iterator[Correction]:
    for part in standing.parts:
        actual = ledger.sums.get((standing.charge.key, part.start_ns), 0)
        if actual != part.settled:
            yield Correction(standing.charge, standing.mark_ns, part.start_ns, part.settled, actual)


def _sentence(one: Correction, took: bool) -> str:  # noqa: FBT001 - a row of two columns
    rule = one.charge.rule
    figures = (
        f"{format_amount(rule, one.expected)} had been settled, and the ledger has {format_amount(rule, one.actual)}"
    )
    if not took:
        return f"{_named(one)} changed during the repair and is left to the next one: {figures}."
    change = one.actual - one.expected
    way = "added" if change > 0 else "taken off"
    return f"{_named(one)}: {figures}; {format_amount(rule, abs(change))} {way}."


def _named(one: Correction | Standing) -> str:
    charge = one.charge
    subject = ", ".join(f"{dimension} {value!r}" for dimension, value in charge.subject)
    return f"Budget {charge.rule.budget!r}{f' of {subject}' if subject else ''} ({charge.label})"
