"""The published snapshot in PostgreSQL, for gateways on many machines: one row, replaced whole, told by NOTIFY."""

import asyncio
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ProgrammingError

from podium.core.errors import Conflict, OperatorError, Unavailable
from podium.core.snapshot import Snapshot
from podium.store.snapshot_seal import opened, sealed
from podium.store.sql.database import Database
from podium.store.sql.tables import snapshots

__all__ = ["SNAPSHOT_CHANNEL", "SqlSnapshots"]

SNAPSHOT_CHANNEL = "podium_snapshots"
_NAME = "published"
_LOOK_TIMEOUT_S = 2.0  # a database that hangs must not keep the next look waiting


class SqlSnapshots:
    """Each method is one transaction. Unavailable: the database cannot be reached."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    async def stamp(self) -> int | None:
        """The revision that is published; None when nothing is, or control has not made the table yet."""
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S), self._database.read() as connection:
                revision: int | None = await connection.scalar(select(snapshots.c.revision).where(_MINE))
                return revision
        except ProgrammingError:  # there is no table, or none of this version
            return None
        except TimeoutError:
            raise Unavailable("The database does not answer in time.") from None

    async def last_revision(self) -> int:
        """The revision that was published last; 0 when nothing was."""
        return await self.stamp() or 0

    async def fetch(self) -> tuple[Snapshot, bytes]:
        """The published snapshot, and the sealed bytes that it came in. OperatorError: it cannot be used."""
        async with self._database.read() as connection:
            data = await connection.scalar(select(snapshots.c.body).where(_MINE))
        if data is None:
            raise OperatorError("The snapshot was removed.", hint="The control process publishes a new one.")
        return await asyncio.to_thread(opened, data, self._key, "the snapshot in the database"), data

    async def publish(self, snapshot: Snapshot) -> bytes:
        """Replace what is published and tell all listeners; the sealed bytes. Conflict: a newer one is there."""
        data = await asyncio.to_thread(sealed, snapshot, self._key)
        row: dict[str, Any] = {
            "name": _NAME,
            "revision": snapshot.revision,
            "published_unix_s": snapshot.published_unix_s,
            "body": data,
        }
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        offered = make(snapshots).values(row)
        newer = {name: offered.excluded[name] for name in row if name != "name"}
        statement = offered.on_conflict_do_update(
            index_elements=[snapshots.c.name], set_=newer, where=snapshots.c.revision < offered.excluded.revision
        )
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount != 1:
                raise Conflict(f"A snapshot with the revision {snapshot.revision} or a later one is published.")
            if not self._database.is_sqlite:  # heard once the transaction is committed
                await connection.execute(select(func.pg_notify(SNAPSHOT_CHANNEL, str(snapshot.revision))))
        return data


_MINE = snapshots.c.name == _NAME
