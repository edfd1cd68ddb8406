"""The control plane's store in memory: the same promises as the SQL store, for tests and demonstrations.

`down` makes every call raise Unavailable, as a database that cannot be reached does.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import msgspec

from podium.control.loader import Batch, Segment
from podium.control.ports import REFUSALS, ApiKeyRecord, Change, Revision, UsageQuery, UsageRow
from podium.control.usage import TAG, calls_elsewhere
from podium.core.clock import Clock, SystemClock
from podium.core.errors import Conflict, Unavailable
from podium.core.event import AttemptRecord, Event
from podium.core.records import Opinion
from podium.core.resources import Kind, Resource, spec_from_builtins
from podium.core.snapshot import KeyEntry, Snapshot
from podium.core.tags import parse_tags
from podium.economics.budgets.spending import SpendQuery, Spent

__all__ = [
    "MemoryJournals",
    "MemoryKeyStore",
    "MemoryLeaderLease",
    "MemoryLedger",
    "MemoryPublisher",
    "MemoryResourceStore",
]


class _Switch:
    """What all of them share: a database that can be down, and that answers no sooner than others had a turn."""

    def __init__(self) -> None:
        self.down = False

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the database cannot be reached", retry_after_s=1.0)


class MemoryResourceStore(_Switch):
    """Matches `ResourceStore`."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._resources: dict[tuple[Kind, str], Resource] = {}
        self._revisions: list[Revision] = []

    async def newest_number(self) -> int:
        """The newest revision's number."""
        await self._reach()
        return len(self._revisions)

    async def current(self) -> tuple[int, tuple[Resource, ...]]:
        """The newest revision's number and all resources, ordered by kind and name."""
        await self._reach()
        return len(self._revisions), tuple(self._resources[key] for key in sorted(self._resources))

    async def commit(
        self, *, expected: int, author: str, message: str, changes: tuple[Change, ...], undoes: int | None = None
    ) -> Revision:
        """Write `changes` as revision `expected` + 1; Conflict when the newest is not `expected`."""
        await self._reach()
        if expected != len(self._revisions):
            raise Conflict(f"the newest revision is {len(self._revisions)}, not {expected}")
        after = dict(self._resources)
        for change in changes:
            if change.after is None:
                after.pop((change.kind, change.name), None)
            else:
                spec = spec_from_builtins(change.kind, change.after)
                after[change.kind, change.name] = Resource(change.kind, change.name, spec)
        revision = Revision(
            number=expected + 1,
            author=author,
            message=message,
            created_unix_s=self._clock.unix_ns() / 1e9,
            changes=changes,
            undoes=undoes,
        )
        self._resources = after
        self._revisions.append(revision)
        return revision

    async def revisions(self, *, before: int | None, limit: int) -> tuple[Revision, ...]:
        """Newest first, numbers below `before`."""
        await self._reach()
        known = self._revisions if before is None else self._revisions[: max(before - 1, 0)]
        return tuple(known[::-1][:limit])

    async def revision(self, number: int) -> Revision | None:
        """One revision."""
        await self._reach()
        return self._revisions[number - 1] if 0 < number <= len(self._revisions) else None


class MemoryKeyStore(_Switch):
    """Matches `KeyStore`."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, ApiKeyRecord] = {}
        self._changes = 0
        self._changed: dict[str, int] = {}  # by the id of the key: its last change

    async def insert(self, record: ApiKeyRecord) -> None:
        """Add a key; Conflict when its id is taken."""
        await self._reach()
        if record.entry.id in self._records:
            raise Conflict(f"there is a key `{record.entry.id}` already")
        self._records[record.entry.id] = record
        self._count(record.entry.id)

    async def replace(self, entry: KeyEntry, *, expected: KeyEntry) -> None:
        """Change a key; Conflict when it is no longer `expected`."""
        await self._reach()
        record = self._records.get(entry.id)
        if record is None or record.entry != expected:
            raise Conflict(f"key `{entry.id}` was changed in between")
        self._records[entry.id] = msgspec.structs.replace(record, entry=entry)
        self._count(entry.id)

    async def find(self, key_id: str) -> ApiKeyRecord | None:
        """One key."""
        await self._reach()
        return self._records.get(key_id)

    async def all(self) -> tuple[ApiKeyRecord, ...]:
        """Every key, oldest first, revoked ones too."""
        await self._reach()
        return tuple(sorted(self._records.values(), key=lambda record: (record.created_unix_s, record.entry.id)))

    async def batches(self) -> AsyncIterator[tuple[KeyEntry, ...]]:
        """Every key, one at a time."""
        for key_id in tuple(self._records):
            await self._reach()
            yield (self._records[key_id].entry,)

    async def changed_after(self, number: int, through: int) -> tuple[KeyEntry, ...] | None:
        """The keys of the changes `number` + 1 to `through`, and of later ones; None: a key changed twice."""
        await self._reach()
        numbers = {self._changed[key_id]: key_id for key_id in self._records if self._changed[key_id] > number}
        if not numbers.keys() >= set(range(number + 1, through + 1)):
            return None
        return tuple(self._records[key_id].entry for key_id in numbers.values())

    async def change_number(self) -> int:
        """A number that grows with each insert and replace."""
        await self._reach()
        return self._changes

    def _count(self, key_id: str) -> None:
        self._changes += 1
        self._changed[key_id] = self._changes


class MemoryLedger(_Switch):
    """Matches `Ledger`; keeps every event, so it is for small numbers of them."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self.events: dict[bytes, Event] = {}
        self._positions: dict[str, int] = {}
        self._read_unix_s: dict[str, float] = {}
        self.said: tuple[Opinion, ...] = ()

    @property
    def opinions(self) -> Mapping[tuple[str, str], int]:
        """None: they are kept in `said` as they came."""
        return {}

    async def load(
        self, source: str, position: int, events: tuple[Event, ...], opinions: tuple[Opinion, ...] = ()
    ) -> int:
        """Add events and opinions, and remember how far `source` was read; returns how many events were new."""
        await self._reach()
        self.said += opinions
        before = len(self.events)
        for event in events:
            self.events.setdefault(event.id, event)
        self._positions[source] = position
        self._read_unix_s[source] = self._clock.unix_ns() / 1e9
        return len(self.events) - before

    async def position(self, source: str) -> int:
        """How far `source` was read, bytes; 0 when never."""
        await self._reach()
        return self._positions.get(source, 0)

    async def sources(self, since_unix_s: float) -> frozenset[str]:
        """The sources that were read since then."""
        await self._reach()
        return frozenset(source for source, read_unix_s in self._read_unix_s.items() if read_unix_s >= since_unix_s)

    async def spent(self, query: SpendQuery) -> tuple[Spent, ...]:
        """What exchanges that began in a stretch of time cost, by whose they were."""
        await self._reach()
        return tuple(
            _spent(event, query)
            for event in self.events.values()
            if query.start_ns <= event.started_unix_ns < query.end_ns
        )

    async def last_refusal(self, key_id: str, since_unix_ns: int) -> Event | None:
        """The last exchange of a key that a limit or a budget refused, of those that began since then."""
        await self._reach()
        refused = [
            event
            for event in self.events.values()
            if event.key_id == key_id and event.reason in REFUSALS and event.started_unix_ns >= since_unix_ns
        ]
        return max(refused, key=lambda event: event.started_unix_ns, default=None)

    async def usage(self, query: UsageQuery) -> tuple[UsageRow, ...]:
        """Sums, largest cost first."""
        await self._reach()
        groups: dict[tuple[str, ...], list[Event]] = defaultdict(list)
        moved: list[tuple[tuple[str, ...], AttemptRecord, int]] = []
        for event in self.events.values():
            if not _is_asked_for(event, query):
                continue
            group = tuple(_group_value(event, by) for by in query.by)
            groups[group].append(event)
            if "provider" in query.by:
                for call in calls_elsewhere(event.provider, event.trail):
                    there = tuple(
                        call.provider if by == "provider" else value for by, value in zip(query.by, group, strict=True)
                    )
                    moved += [(group, call, -1), (there, call, 1)]
        if not query.by and not groups:
            groups[()] = []
        rows = {group: _row(dict(zip(query.by, group, strict=True)), events) for group, events in groups.items()}
        for group, call, sign in moved:
            before = rows.get(group) or _row(dict(zip(query.by, group, strict=True)), [])
            rows[group] = _with_call(before, call, sign)
        return tuple(sorted(rows.values(), key=lambda row: (-row.cost_nanousd, tuple(row.group.values()))))

    async def find(self, request_id: str, *, tenant: str | None, before: bytes | None, limit: int) -> tuple[Event, ...]:
        """Exchanges with this request id, newest first, ids below `before`."""
        await self._reach()
        found = [
            event
            for event in self.events.values()
            if event.request_id == request_id
            and (tenant is None or event.tenant == tenant)
            and (before is None or event.id < before)
        ]
        return tuple(sorted(found, key=lambda event: event.id, reverse=True)[:limit])


def _spent(event: Event, query: SpendQuery) -> Spent:
    bucket_ns, by = query.bucket_ns, query.by
    return Spent(
        event.started_unix_ns // bucket_ns * bucket_ns if bucket_ns else query.start_ns,
        event.tenant if "tenant" in by else "",
        event.key_id if "key" in by else "",
        event.user if "user" in by else "",
        event.model if "model" in by else "",
        event.tags if "tags" in by else "",
        event.cost_nanousd,
        event.input_tokens + event.output_tokens,
    )


def _is_asked_for(event: Event, query: UsageQuery) -> bool:
    started = event.started_unix_ns / 1e9
    return (
        (query.since_unix_s is None or started >= query.since_unix_s)
        and (query.until_unix_s is None or started < query.until_unix_s)
        and (query.tenant is None or event.tenant == query.tenant)
        and (query.key_id is None or event.key_id == query.key_id)
        and (query.model is None or event.model == query.model)
    )


def _group_value(event: Event, by: str) -> str:
    match by:
        case "day":
            return datetime.fromtimestamp(event.started_unix_ns / 1e9, UTC).date().isoformat()
        case "key":
            return event.key_id
        case _ if by.startswith(TAG):
            return parse_tags(event.tags).get(by.removeprefix(TAG), "")
        case _:
            return str(getattr(event, by))


def _row(group: dict[str, str], events: list[Event]) -> UsageRow:
    return UsageRow(
        group=group,
        exchanges=len(events),
        errors=sum(event.status >= 400 for event in events),  # noqa: PLR2004 - HTTP's first error
        input_tokens=sum(event.input_tokens for event in events),
        cached_input_tokens=sum(event.cached_input_tokens for event in events),
        output_tokens=sum(event.output_tokens for event in events),
        reasoning_tokens=sum(event.reasoning_tokens for event in events),
        estimated_exchanges=sum(event.tokens_estimated for event in events),
        cost_nanousd=sum(event.cost_nanousd for event in events),
        cache_write_tokens=sum(event.cache_write_tokens for event in events),
    )


def _with_call(row: UsageRow, call: AttemptRecord, sign: int) -> UsageRow:
    return msgspec.structs.replace(
        row,
        input_tokens=row.input_tokens + sign * call.input_tokens,
        output_tokens=row.output_tokens + sign * call.output_tokens,
        cost_nanousd=row.cost_nanousd + sign * call.cost_nanousd,
    )


class MemoryLeaderLease(_Switch):
    """Matches `LeaderLease`."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self.holder = ""
        self._until_ns = 0

    async def acquire(self, holder: str, ttl_s: float) -> bool:
        """Take or renew the lease; False when another holds it."""
        await self._reach()
        now_ns = self._clock.monotonic_ns()
        if self.holder not in ("", holder) and now_ns < self._until_ns:
            return False
        self.holder, self._until_ns = holder, now_ns + int(ttl_s * 1e9)
        return True

    async def release(self, holder: str) -> None:
        """Give it up."""
        await self._reach()
        if self.holder == holder:
            self.holder = ""


class MemoryPublisher:
    """Matches `SnapshotPublisher`."""

    def __init__(self) -> None:
        self.published: list[Snapshot] = []

    async def last_revision(self) -> int:
        """The number of what was published last."""
        return self.published[-1].revision if self.published else 0

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published."""
        self.published.append(snapshot)


class MemoryJournals:
    """Matches `JournalReader`; a position is a number of events."""

    def __init__(self) -> None:
        self.written: dict[str, list[Event]] = {}
        self.closed: set[str] = set()

    def append(self, source: str, *events: Event) -> None:
        """What a gateway writes."""
        self.written.setdefault(source, []).extend(events)

    def close(self, source: str) -> None:
        """The gateway goes on in another segment."""
        self.closed.add(source)

    async def segments(self) -> tuple[Segment, ...]:
        """All segments, by name."""
        return tuple(
            Segment(source, len(events), closed=source in self.closed)
            for source, events in sorted(self.written.items())
        )

    async def read(self, source: str, position: int, limit: int) -> Batch:
        """At most `limit` events from `position` on."""
        if source not in self.written:
            raise FileNotFoundError(source)
        events = tuple(self.written[source][position : position + limit])
        return Batch(events, position + len(events))

    async def delete(self, source: str) -> None:
        """Remove a closed segment."""
        self.written.pop(source, None)
        self.closed.discard(source)
