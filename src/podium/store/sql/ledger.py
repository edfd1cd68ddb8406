"""Finished exchanges, for good: podium.control.ports.Ledger."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.control.ports import REFUSALS, UsageQuery, UsageRow
from podium.core.clock import Clock, SystemClock
from podium.core.event import Event
from podium.core.records import Opinion
from podium.economics.budgets.spending import SpendQuery, Spent
from podium.store.sql.bulk import add_usage, insert_new_exchanges
from podium.store.sql.database import LOAD_LOCK, Database
from podium.store.sql.opinions import Ends, OpinionLoad
from podium.store.sql.request_ids import find_statements
from podium.store.sql.rollout_sums import add_to_rollouts
from podium.store.sql.rows import event_of, hourly_sums, row_of
from podium.store.sql.spent import spent_rows, spent_statements
from podium.store.sql.tables import exchanges, journal_positions
from podium.store.sql.usage import usage_rows, usage_statement

__all__ = ["SqlLedger"]

# A position that is forgotten costs nothing but a second reading: events are counted once by their id.
_FORGET_AFTER_S = 30 * 86_400


class SqlLedger:
    """The ledger in a SQL database. One load at a time; usage is read from hourly sums."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._opinions: Ends = Counter()

    @property
    def opinions(self) -> Mapping[tuple[str, str], int]:
        """What became of opinions since this process began: see the port."""
        return self._opinions

    async def load(
        self, source: str, position: int, events: tuple[Event, ...], opinions: tuple[Opinion, ...] = ()
    ) -> int:
        """Add events and opinions, and remember how far `source` was read; returns how many events were new."""
        # In order of their ids: transactions that meet wait for each other, and never in a circle.
        rows = sorted({event.id: row_of(event) for event in events}.values(), key=lambda row: bytes(row[0]))
        compared = {event.id: event for event in events if event.arm}
        async with self._database.write() as connection:
            if not self._database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOAD_LOCK})
            new = await insert_new_exchanges(connection, rows)
            await add_usage(connection, hourly_sums(row for row in rows if row[0] in new))
            if compared:
                await add_to_rollouts(connection, [event for event in compared.values() if event.id in new])
            said = OpinionLoad(connection, self._clock.unix_ns() / 1e9)
            await said.run({event.id: event for event in events if event.id in new}, opinions)
            await self._remember(connection, source, position)
        self._opinions += said.ends
        return len(new)

    async def _remember(self, connection: AsyncConnection, source: str, position: int) -> None:
        now_s = self._clock.unix_ns() / 1e9
        mine = journal_positions.c.source == source
        values = {"position": position, "updated_unix_s": now_s}
        known = await connection.scalar(select(journal_positions.c.position).where(mine))
        if known is None:
            await connection.execute(insert(journal_positions).values(source=source, **values))
            # A segment's first load: the rare moment to tidy up.
            old = journal_positions.c.updated_unix_s < now_s - _FORGET_AFTER_S
            await connection.execute(delete(journal_positions).where(old))
        elif position > known:
            await connection.execute(update(journal_positions).where(mine).values(**values))

    async def position(self, source: str) -> int:
        """How far `source` was read, bytes; 0 when never."""
        statement = select(journal_positions.c.position).where(journal_positions.c.source == source)
        async with self._database.read() as connection:
            return await connection.scalar(statement) or 0

    async def sources(self, since_unix_s: float) -> frozenset[str]:
        """The sources that were read since then."""
        recent = journal_positions.c.updated_unix_s >= since_unix_s
        async with self._database.read() as connection:
            return frozenset(await connection.scalars(select(journal_positions.c.source).where(recent)))

    async def last_refusal(self, key_id: str, since_unix_ns: int) -> Event | None:
        """The last exchange of a key that a limit or a budget refused, of those that began since then."""
        of = exchanges.c
        statement = (
            select(exchanges)
            .where(of.started_unix_ns >= since_unix_ns, of.key_id == key_id, of.reason.in_(REFUSALS))
            .order_by(of.started_unix_ns.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(statement)).mappings().first()
        return None if row is None else event_of(row)

    async def usage(self, query: UsageQuery) -> tuple[UsageRow, ...]:
        """Sums, largest cost first. InvalidRequest: `by` names something else."""
        statement = usage_statement(query, sqlite=self._database.is_sqlite)
        async with self._database.read() as connection:
            found = (await connection.execute(statement)).mappings().all()
        return usage_rows(query, found)

    async def spent(self, query: SpendQuery) -> tuple[Spent, ...]:
        """Sums of exchanges that began in a stretch of time, each group in one row or several."""
        told: list[Spent] = []
        for statement in spent_statements(query):
            async with self._database.read() as connection:
                told += spent_rows(query, (await connection.execute(statement)).mappings())
        return tuple(told)

    async def find(self, request_id: str, *, tenant: str | None, before: bytes | None, limit: int) -> tuple[Event, ...]:
        """Exchanges with this request id, newest first, ids below `before`."""
        statements = find_statements(request_id, tenant, before, limit, sqlite=self._database.is_sqlite)
        found: dict[bytes, Event] = {}
        async with self._database.read() as connection:
            for statement in statements:
                rows = (await connection.execute(statement)).mappings()
                found |= {event.id: event for event in map(event_of, rows)}
        return tuple(found[one] for one in sorted(found, reverse=True)[:limit])
