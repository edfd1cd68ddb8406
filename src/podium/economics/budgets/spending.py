"""What the ledger is asked about budgets, and what it answers."""

from typing import Protocol

import msgspec

from podium.economics.budgets.rules import CompiledBudget, Payer

__all__ = ["SPEND_COLUMNS", "SpendLedger", "SpendQuery", "Spent", "columns_of", "payer_of"]

SPEND_COLUMNS = ("tenant", "key", "user", "model", "tags")


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Exchanges that began in a stretch of time, from `start_ns` up to but without `end_ns`, Unix time."""

    by: tuple[str, ...]  # of SPEND_COLUMNS, in their order: what is told apart
    start_ns: int
    end_ns: int
    bucket_ns: int = 0  # also tell apart the buckets of this length in which they began; 0: no

    def __post_init__(self) -> None:
        if tuple(column for column in SPEND_COLUMNS if column in self.by) != self.by:
            raise ValueError(f"`by` is some of {', '.join(SPEND_COLUMNS)}, in this order")
        if not 0 <= self.start_ns < self.end_ns < 1 << 62 or self.bucket_ns < 0:
            raise ValueError("`start_ns` lies before `end_ns`, and `bucket_ns` is not below 0")


class Spent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a group of exchanges cost. Columns that are not told apart are empty."""

    start_ns: int  # of the bucket, else of the stretch
    tenant: str
    key: str
    user: str
    model: str
    tags: str  # as podium.core.tags writes them
    nanousd: int
    tokens: int  # input and output together


class SpendLedger(Protocol):
    """Who knows what exchanges cost. Calls may wait; Unavailable when the ledger cannot be asked."""

    async def caught_up(self) -> bool:
        """Wait until every exchange that has ended by now is in the ledger; False: it takes too long."""

    async def all_here(self) -> bool:
        """Whether nobody else brings exchanges in, whose progress is not known: what is missing was not spent then."""

    async def spent(self, query: SpendQuery) -> tuple[Spent, ...]:
        """Sums of each group that has any; in no order, and a group may come in several rows that add up."""


def columns_of(budget: CompiledBudget) -> tuple[str, ...]:
    """The columns that a budget's exchanges must be told apart by."""
    names = {"tags" if dimension.startswith("tag:") else dimension for dimension in budget.dimensions}
    return tuple(column for column in SPEND_COLUMNS if column in names)


def payer_of(spent: Spent) -> Payer:
    """Whom these exchanges were counted for."""
    tags = tuple((name, value) for name, _, value in (tag.partition("=") for tag in spent.tags.split(",") if tag))
    return Payer(spent.tenant, spent.key, spent.user, spent.model, tags)
