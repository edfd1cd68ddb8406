"""Erases what users said in words: podium.control.feedback_keeping.WordsShelf.

What is to be erased is looked up in a transaction of its own, which holds nobody up; it is erased by its keys.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.control.feedback_keeping import Erasure
from podium.core.records import FeedbackRecord, decode_record
from podium.store.sql.database import Database
from podium.store.sql.request_ids import find_statements
from podium.store.sql.rollout_tables import HAS_WORDS, feedback, opinions_waiting
from podium.store.sql.tables import exchanges

__all__ = ["SqlFeedbackWords"]

_SAME_ID = 1000  # exchanges with one request id

_Keys = list[tuple[bytes, str]]


class SqlFeedbackWords:
    """Comments are deleted, names blanked; what still waits for its exchange goes whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget_before(self, unix_s: float, *, limit: int) -> int:
        """Erase words that were said before then, at most so many; how many. Unavailable."""
        async with self._database.read() as connection:
            keys = await _keys(connection, _old_words(unix_s).limit(limit))
        return await self._erase(keys, ())

    async def forget(self, whose: Erasure, *, limit: int) -> int:
        """Erase these words, of those in the ledger at most so many; how many. Unavailable."""
        theirs = _words().where(feedback.c.tenant == whose.tenant)
        async with self._database.read() as connection:
            if whose.request_id is not None:
                about = await self._exchanges(connection, whose.tenant, whose.request_id)
                theirs = theirs.where(feedback.c.exchange_id.in_(about))
                waiting = await _waiting_for(connection, whose.tenant, whose.request_id, about)
            else:
                said_by = or_(feedback.c.user == whose.user, exchanges.c.user == whose.user)
                theirs = theirs.join(exchanges, exchanges.c.id == feedback.c.exchange_id).where(said_by)
                waiting = await _waiting_of(connection, whose.tenant, whose.user)
            keys = await _keys(connection, theirs.limit(limit))
        return await self._erase(keys, waiting)

    async def _exchanges(self, connection: AsyncConnection, tenant: str, request_id: str) -> set[bytes]:
        found: set[bytes] = set()
        for statement in find_statements(request_id, tenant, None, _SAME_ID, sqlite=self._database.is_sqlite):
            found |= {row.id for row in await connection.execute(statement)}
        return found

    async def _erase(self, keys: _Keys, waiting: Collection[bytes]) -> int:
        if not keys and not waiting:
            return 0
        of = feedback.c
        theirs = tuple_(of.exchange_id, of.kind).in_(keys)
        async with self._database.write() as connection:
            commented = await connection.execute(delete(feedback).where(theirs, of.kind == "comment"))
            named = await connection.execute(update(feedback).where(theirs).values(user=""))
            dropped = await connection.execute(delete(opinions_waiting).where(opinions_waiting.c.id.in_(waiting)))
        return commented.rowcount + named.rowcount + dropped.rowcount


def _old_words(unix_s: float) -> Select[Any]:
    return select(feedback.c.exchange_id, feedback.c.kind).where(HAS_WORDS, feedback.c.created_unix_s < unix_s)


def _words() -> Select[Any]:
    of = feedback.c
    return select(of.exchange_id, of.kind).where((of.kind == "comment") | (of.user != ""))


async def _keys(connection: AsyncConnection, statement: Select[Any]) -> _Keys:
    return [(row.exchange_id, row.kind) for row in await connection.execute(statement)]


async def _waiting_for(
    connection: AsyncConnection, tenant: str, request_id: str, about: Collection[bytes]
) -> set[bytes]:
    of = opinions_waiting.c
    theirs = (of.request_id == request_id) | of.exchange_id.in_(about)
    return set(await connection.scalars(select(of.id).where(of.tenant == tenant, theirs)))


async def _waiting_of(connection: AsyncConnection, tenant: str, user: str | None) -> set[bytes]:
    """Of one tenant only so many wait (podium.store.sql.opinions)."""
    of = opinions_waiting.c
    rows = (await connection.execute(select(of.id, of.body).where(of.tenant == tenant))).all()
    return {row.id for row in rows if _is_of(row.body, user)}


def _is_of(body: bytes, user: str | None) -> bool:
    found = decode_record(body)
    return isinstance(found, FeedbackRecord) and found.user == user
