"""What budgets are asked with and what they answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from podium.core.budgets import BudgetUnit
from podium.core.reasons import Reason

__all__ = [
    "Charge",
    "Correction",
    "Cost",
    "Crossing",
    "Part",
    "Refusal",
    "RefusalCause",
    "Reservation",
    "Rule",
    "Settlement",
    "SettlementOutcome",
    "Standing",
]


class Cost(NamedTuple):
    """What an exchange costs, or may cost, in both units."""

    nanousd: int
    tokens: int  # input and output together


@dataclass(frozen=True, slots=True)
class Rule:
    """A budget as it is applied, whoever the subject is."""

    budget: str  # the resource's name
    unit: BudgetUnit
    amount: int  # nano-dollars or tokens
    hard: bool
    soft: tuple[tuple[float, int], ...]  # share and the amount that it comes to, rising
    whom: str  # for people: "for this tenant and user"
    how_often: str  # for people: "a month"
    zone: str  # in which moments are told


@dataclass(frozen=True, slots=True)
class Charge:
    """One account that an exchange has to have room in: a budget, a subject and a period."""

    key: str  # the account's: budget, subject, period; bounded, ASCII or as the values are, no secret in it
    rule: Rule
    subject: tuple[tuple[str, str], ...]  # dimensions and their values
    label: str  # of the period, for people
    start_ns: int  # of the period; of the current bucket when it is rolling
    end_ns: int
    bucket_ns: int = 0  # 0: a calendar period
    buckets: int = 0  # before the current one that count too


class RefusalCause(StrEnum):
    """What the room is missing for."""

    SPENT = "spent"  # what was used leaves too little
    IN_FLIGHT = "in_flight"  # there would be room, were it not for what is reserved for running exchanges
    TOO_LARGE = "too_large"  # not even the whole amount would do


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was reserved: of all budgets without room, the one that has it last."""

    reason: Reason
    cause: RefusalCause
    budget: str
    message: str  # a sentence for the caller
    resets_unix_ns: int | None  # when time alone makes room; None: it never does, or running exchanges decide
    retry_after_s: float | None  # None: waiting does not help
    standing: "Standing"


class Reservation(msgspec.Struct):
    """What is held for one exchange until it is settled, released, or its lease ends."""

    id: bytes  # the exchange's
    charges: tuple[Charge, ...]
    estimate: Cost
    made_unix_ns: int


class SettlementOutcome(StrEnum):
    """What a settle or a release has done."""

    COUNTED = "counted"
    COUNTED_LATE = "counted_late"  # the lease had ended
    RELEASED = "released"
    ALREADY = "already"  # it had been settled or released before; nothing was done
    MENDED = "mended"  # late, and the ledger had been asked since then; nothing was done
    UNKNOWN = "unknown"  # never reserved, or forgotten; nothing was done, the repair finds what it cost


@dataclass(frozen=True, slots=True)
class Crossing:
    """A soft mark that was reached; told once a period, of a rolling window once a window."""

    budget: str
    key: str
    subject: tuple[tuple[str, str], ...]
    share: float
    settled: int
    amount: int
    unit: BudgetUnit


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settle or a release has done, and which soft marks that reached."""

    outcome: SettlementOutcome
    crossings: tuple[Crossing, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What was settled of exchanges that were reserved in a stretch of time before the mark; repair compares it."""

    start_ns: int
    end_ns: int
    settled: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands. An account that is not known stands at nothing."""

    charge: Charge
    settled: int
    reserved: int
    running: int  # reservations
    told: tuple[float, ...]  # soft marks that were reached
    mark_ns: int = 0  # Unix time; 0: none was set
    running_before_mark: int = 0
    parts: tuple[Part, ...] = ()

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return max(0, self.charge.rule.amount - self.settled - self.reserved)


@dataclass(frozen=True, slots=True)
class Correction:
    """Make `expected` of the part that begins at `start_ns` into `actual`; void when either has changed meanwhile."""

    charge: Charge
    mark_ns: int
    start_ns: int
    expected: int
    actual: int
