"""What the control plane needs from its store. `podium.store.sql` matches these by shape.

All methods are coroutines, each is one transaction, and each raises `Unavailable` when the database
cannot be reached.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from podium.core.event import Event
from podium.core.reasons import Reason
from podium.core.records import Opinion
from podium.core.resources import Kind, Resource
from podium.core.snapshot import KeyEntry
from podium.economics.budgets.spending import SpendQuery, Spent

__all__ = [
    "REFUSALS",
    "ApiKeyRecord",
    "Change",
    "KeyStore",
    "LeaderLease",
    "Ledger",
    "ResourceStore",
    "Revision",
    "UsageQuery",
    "UsageRow",
]

# What limits and budgets say when they refuse.
REFUSALS = (Reason.REQUESTS_LIMITED, Reason.TOKENS_LIMITED, Reason.CONCURRENCY_LIMITED, Reason.BUDGET_EXHAUSTED)


class Change(msgspec.Struct, frozen=True):
    """One resource before and after. `before` None: created; `after` None: deleted."""

    kind: Kind
    name: str
    before: dict[str, object] | None  # the spec as built-in types, defaults left out
    after: dict[str, object] | None


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the declared state: one `apply` or `undo`."""

    number: int
    author: str
    message: str
    created_unix_s: float
    changes: tuple[Change, ...]
    undoes: int | None = None  # the revision that this one takes back


class ResourceStore(Protocol):
    """Declared resources and their revisions."""

    async def newest_number(self) -> int:
        """The newest revision's number; 0: none. Cheap, to be asked again and again."""

    async def current(self) -> tuple[int, tuple[Resource, ...]]:
        """The newest revision's number (0: none) and all resources, ordered by kind and name."""

    async def commit(
        self, *, expected: int, author: str, message: str, changes: tuple[Change, ...], undoes: int | None = None
    ) -> Revision:
        """Write `changes` as revision `expected` + 1; `Conflict` when the newest is not `expected`."""

    async def revisions(self, *, before: int | None, limit: int) -> tuple[Revision, ...]:
        """Newest first, numbers below `before`."""

    async def revision(self, number: int) -> Revision | None:
        """One revision."""


class ApiKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key with what only the control plane needs."""

    entry: KeyEntry
    created_unix_s: float
    created_by: str


class KeyStore(Protocol):
    """API keys."""

    async def insert(self, record: ApiKeyRecord) -> None:
        """Add a key; `Conflict` when its id is taken."""

    async def replace(self, entry: KeyEntry, *, expected: KeyEntry) -> None:
        """Change a key; `Conflict` when it is no longer `expected`."""

    async def find(self, key_id: str) -> ApiKeyRecord | None:
        """One key."""

    async def all(self) -> tuple[ApiKeyRecord, ...]:
        """Every key, oldest first, revoked ones too."""

    def batches(self) -> AsyncIterator[tuple[KeyEntry, ...]]:
        """Every key, in no order, some at a time; a key that changes meanwhile comes as it was or as it is."""

    async def changed_after(self, number: int, through: int) -> tuple[KeyEntry, ...] | None:
        """The keys of the changes `number` + 1 to `through`, and perhaps of later ones; None: not all are known."""

    async def change_number(self) -> int:
        """A number that grows with each insert and replace, so that a change by another process is seen."""


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which exchanges to add up, and by what."""

    by: tuple[str, ...]  # of tenant, key, model, provider, day (UTC), tag:NAME; empty: one row of everything
    since_unix_s: float | None = None  # inclusive
    until_unix_s: float | None = None  # exclusive
    tenant: str | None = None
    key_id: str | None = None
    model: str | None = None


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a group of exchanges.

    By provider, what another provider's given up calls used is in that one's row, which counts no exchange for them.
    """

    group: dict[str, str]
    exchanges: int
    errors: int  # status >= 400
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated_exchanges: int
    cost_nanousd: int
    cache_write_tokens: int


class Ledger(Protocol):
    """Finished exchanges, for good."""

    async def load(
        self, source: str, position: int, events: tuple[Event, ...], opinions: tuple[Opinion, ...] = ()
    ) -> int:
        """Add events and opinions, and remember how far `source` (a journal segment) was read, in one transaction.

        Idempotent by event id, and by an opinion's exchange and kind. Returns how many events were new.
        """

    @property
    def opinions(self) -> Mapping[tuple[str, str], int]:
        """What became of opinions since this process began, by what they were and how that ended.

        They are each kind of feedback, and `judgement`; and `counted`, `repeated`, `waiting` for their exchange, or
        `dropped` because none of that tenant came.
        """

    async def position(self, source: str) -> int:
        """How far `source` was read, bytes; 0 when never."""

    async def sources(self, since_unix_s: float) -> frozenset[str]:
        """The sources that were read since then."""

    async def spent(self, query: SpendQuery) -> tuple[Spent, ...]:
        """What exchanges that began in a stretch of time cost, by whose they were."""

    async def last_refusal(self, key_id: str, since_unix_ns: int) -> Event | None:
        """The last exchange of a key that a limit or a budget refused, of those that began since then."""

    async def usage(self, query: UsageQuery) -> tuple[UsageRow, ...]:
        """Sums, largest cost first."""

    async def find(self, request_id: str, *, tenant: str | None, before: bytes | None, limit: int) -> tuple[Event, ...]:
        """Exchanges with this request id, newest first, ids below `before`; callers may use one several times."""


class LeaderLease(Protocol):
    """One control process leads, others stand by."""

    async def acquire(self, holder: str, ttl_s: float) -> bool:
        """Take or renew the lease by one conditional update; False when another holds it."""

    async def release(self, holder: str) -> None:
        """Give it up."""
