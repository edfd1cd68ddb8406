"""How limits and budgets stand, and how flags are used, as gateways and the admin API tell it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "BudgetStanding",
    "FlagAsker",
    "FlagUse",
    "LimitRefusal",
    "LimitStanding",
    "Standings",
    "StandingsQuery",
    "TrippedArm",
]

_Text = Annotated[str, Meta(max_length=1024)]


class StandingsQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose standings are asked for. Empty: without this value, as of a request that has none."""

    tenant: _Text = ""
    key: _Text = ""
    user: _Text = ""
    model: _Text = ""
    ip: _Text = ""
    tier: _Text = ""
    tags: _Text = ""
    limits: bool = True  # limits of such a request
    budgets: bool = True  # budgets of such a request
    flags: bool = False  # how each flag was used
    rollouts: bool = False  # which arms of rollouts the gateway took out
    budget: _Text = ""  # all accounts of this budget instead; `*`: of all budgets
    most: Annotated[int, Meta(ge=1, le=1000)] = 100  # accounts


class LimitRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that a limit refused."""

    ago_s: float
    asked: Annotated[int, Meta(description="How much of what it counts.")]
    retry_after_s: Annotated[float | None, Meta(description="As it was told; null: waiting would not have helped.")]
    message: str


class LimitStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One limit that applies."""

    policy: str
    limit: Annotated[str, Meta(description="`60 requests a minute`.")]
    counted: Annotated[str, Meta(description="Who is counted together: `this key`.")]
    what: str
    amount: int
    left: int
    reset_s: Annotated[float, Meta(description="Until it is as if never used, if nothing more is taken.")]
    without: Annotated[
        tuple[str, ...], Meta(description="It is counted by these too, and no value of them was asked for.")
    ]
    last_refusal: LimitRefusal | None


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One account of a budget. Amounts are nano-dollars or tokens, as `unit` says."""

    budget: str
    subject: Annotated[dict[str, str], Meta(description="Whose it is: the budget's dimensions and their values.")]
    unit: str
    period: str
    starts_unix_s: float
    ends_unix_s: Annotated[float | None, Meta(description="null: a rolling window.")]
    amount: int
    settled: Annotated[int, Meta(description="What ended exchanges cost.")]
    reserved: Annotated[int, Meta(description="What running exchanges may cost at most.")]
    running: int
    left: int
    hard: Annotated[bool, Meta(description="What does not fit is refused.")]
    soft_marks: tuple[float, ...]
    reached: Annotated[tuple[float, ...], Meta(description="Soft marks that were reached.")]
    sentences: Annotated[tuple[str, ...], Meta(description="The same for people.")]


# The gateway itself; a client that asked for one flag by OFREP; one that asked for all of them.
FlagAsker = Literal["gateway", "ofrep", "ofrep_all"]


class FlagUse(msgspec.Struct, frozen=True, kw_only=True):
    """How often a flag gave one variant to one sort of asker, since the gateway started."""

    flag: str
    variant: Annotated[str, Meta(description="Empty: it could not be evaluated.")]
    asker: FlagAsker
    count: int
    last_unix_s: float


class TrippedArm(msgspec.Struct, frozen=True, kw_only=True):
    """An arm of a rollout that a gateway took out by itself, because it failed again and again."""

    rollout: str
    salt: Annotated[str, Meta(description="Of the run of the rollout that it belongs to.")]
    arm: str
    changed_unix_s: Annotated[float, Meta(description="Of the rollout's progress, as the gateway knows it.")]
    failures: int
    of: Annotated[int, Meta(description="So many last outcomes.")]
    reason: Annotated[str, Meta(description="`failures_in_a_row`, `share_of_failures` or `hangs`.")]


class Standings(msgspec.Struct, frozen=True, kw_only=True):
    """How everything stands in one place: a gateway that counts for itself, or the store that gateways share."""

    place: Annotated[str, Meta(description="A gateway's name, or `shared`.")]
    limits: tuple[LimitStanding, ...] = ()
    budgets: tuple[BudgetStanding, ...] = ()
    flags: tuple[FlagUse, ...] = ()
    flags_since_unix_s: Annotated[float, Meta(description="Since when uses of flags are counted; 0: not asked.")] = 0.0
    tripped: tuple[TrippedArm, ...] = ()
    error: Annotated[str, Meta(description="Why nothing is known; empty: it is.")] = ""
