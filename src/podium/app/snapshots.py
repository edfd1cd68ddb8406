"""Where the snapshot is published, and who tells that there is a new one.

One machine (SQLite): the file `snapshot.bin` in the data folder, looked at four times a second. Many machines
(PostgreSQL): a row of the database, told by NOTIFY and looked at once a second, with a copy in the data folder.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Union

from podium.config import Settings
from podium.identity.keys import derive_secret
from podium.store.snapshot_store import SnapshotStore

if TYPE_CHECKING:
    from podium.store.snapshot_copied import CopiedSnapshots
    from podium.store.sql.database import Database

__all__ = ["PublishedSnapshots", "published_snapshots", "snapshot_poll_s", "told_by_database"]

PublishedSnapshots = Union[SnapshotStore, "CopiedSnapshots"]
_DATABASE_POLL_S = 1.0  # a revoked key is refused within two seconds though nothing is told


def published_snapshots(settings: Settings, root: bytes, database: "Database | None") -> PublishedSnapshots:
    """What control publishes to and gateways follow. `database` None: the data folder's SQLite file is used."""
    key = derive_secret(root, "snapshot")
    file = SnapshotStore(settings.data.snapshot_file, key)
    if database is None or database.is_sqlite:
        return file
    from podium.store.snapshot_copied import CopiedSnapshots  # noqa: PLC0415 - SQL loads only where it is used
    from podium.store.sql.snapshots import SqlSnapshots  # noqa: PLC0415 - as above

    return CopiedSnapshots(SqlSnapshots(database, key), file)


def snapshot_poll_s(settings: Settings, database: "Database | None") -> float:
    """How often a gateway looks though nobody told it."""
    shortest = settings.gateway.snapshot_poll_s
    return shortest if database is None or database.is_sqlite else max(shortest, _DATABASE_POLL_S)


@asynccontextmanager
async def told_by_database(database: "Database | None", tell: Callable[[], None]) -> AsyncIterator[None]:
    """While open, `tell` is called when another process has published."""
    if database is None or database.is_sqlite:
        yield
        return
    from podium.store.sql.snapshots import SNAPSHOT_CHANNEL  # noqa: PLC0415 - as above

    async with database.listener(SNAPSHOT_CHANNEL, lambda _: tell()):
        yield
