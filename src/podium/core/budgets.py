"""What may be spent: the spec of a Budget."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from podium.core.money import nanousd_from_usd
from podium.core.spec import Share, Strict, Usd

__all__ = ["Budget", "BudgetPeriod", "BudgetUnit", "Dimension", "Weekday"]

BudgetUnit = Literal["usd", "tokens"]
BudgetPeriod = Literal["day", "week", "month", "rolling"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Dimension = Annotated[str, Meta(pattern=r"^(tenant|key|user|model|tag:[A-Za-z0-9_.-]{1,64})\Z")]

Patterns = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(min_length=1, max_length=1000)
]

_MAX_AMOUNT = 9 * 10**15  # tokens or nano-dollars: below 2**53, so that scripts of a store count exactly in floats
_LONGEST_ROLLING_S = 366 * 86_400


class Budget(Strict, frozen=True, kw_only=True):
    """How much money or how many tokens may be used in a period. Budgets add up: each that matches must have room."""

    unit: Annotated[BudgetUnit, Meta(description="What is counted: `usd`, or `tokens` (input and output together).")]
    amount: Annotated[
        Annotated[int, Meta(ge=1, le=_MAX_AMOUNT)] | Usd,
        Meta(description='Dollars as a whole number or as a decimal string such as `"12.50"`; whole tokens.'),
    ]
    period: Annotated[BudgetPeriod, Meta(description="After which it starts anew; `rolling`: a window up to now.")]
    per: Annotated[
        tuple[Dimension, ...],
        Meta(
            description="What it is counted by: `tenant`, `key`, `user`, `model`, `tag:<name>`. Each combination of"
            " values has the whole amount; exchanges without a value share one. Empty: all exchanges together.",
            max_length=4,
        ),
    ] = ("tenant",)
    where: Annotated[
        dict[Dimension, Patterns],
        Meta(
            description="The exchanges that it holds for: values by dimension, of which one must match; `*` matches any"
            " run of characters, and no value matches nothing. Empty: all.",
            max_length=8,
        ),
    ] = msgspec.field(default_factory=dict)
    rolling_s: Annotated[
        Annotated[int, Meta(ge=60, le=_LONGEST_ROLLING_S)] | None,
        Meta(description="Length of the window in seconds, for `rolling`; kept in 60 parts, so it may hold 1/60 more."),
    ] = None
    time_zone: Annotated[
        str, Meta(description="Where days begin, e.g. `Europe/Berlin` (IANA).", min_length=1, max_length=64)
    ] = "UTC"
    week_starts: Annotated[Weekday, Meta(description="First day of a week.")] = "monday"
    soft: Annotated[
        tuple[Share, ...],
        Meta(description="Shares of the amount whose use is told once a period, e.g. `0.8`.", max_length=8),
    ] = (0.8,)
    hard: Annotated[bool, Meta(description="Refuse with 402 what does not fit; false: only count and tell.")] = True

    def __post_init__(self) -> None:
        if isinstance(self.amount, str):
            if self.unit == "tokens":
                raise ValueError("`amount` of tokens is a whole number")
            if not nanousd_from_usd(self.amount):
                raise ValueError("`amount` must be above 0")
        if self.unit == "usd" and nanousd_from_usd(str(self.amount)) > _MAX_AMOUNT:
            raise ValueError("`amount` must be at most 9,000,000 dollars")
        if (self.period == "rolling") != (self.rolling_s is not None):
            raise ValueError("`rolling_s` belongs to period `rolling`")
        if len(set(self.per)) != len(self.per):
            raise ValueError("`per` names a dimension twice")
        _check_time_zone(self.time_zone)


def _check_time_zone(name: str) -> None:
    """ValueError: not a time zone of this system's data. UTC needs no data."""
    if name == "UTC":
        return
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        raise ValueError(f"`time_zone` {name!r} is not known") from None
