"""The database's snapshot with a copy in the data folder, for a start while the database is away."""

import structlog

from podium.core.errors import OperatorError, Unavailable
from podium.core.snapshot import Snapshot
from podium.store.snapshot_store import SnapshotStore
from podium.store.sql.snapshots import SqlSnapshots

__all__ = ["CopiedSnapshots"]

_log = structlog.get_logger("podium.snapshots")


class CopiedSnapshots:
    """Publisher (podium.control.snapshots) and source (podium.gateway.follow) where gateways are on many machines.

    The database is the truth. The copy follows it, and is read only until the database has told something: while it
    is away at a start, or while control is still of a version that publishes to the data folder alone.
    """

    def __init__(self, truth: SqlSnapshots, copy: SnapshotStore) -> None:
        self._truth = truth
        self._copy = copy
        self._seen = False  # the database told something
        self._from_copy = False

    async def stamp(self) -> object | None:
        """Changes with each publication; None when nothing was published. Unavailable: nobody knows."""
        try:
            stamp: object | None = await self._truth.stamp()
        except Unavailable:
            self._from_copy = not self._seen
            stamp = await self._copy.stamp() if self._from_copy else None
            if stamp is None:
                raise
            return stamp
        self._seen = self._seen or stamp is not None
        self._from_copy = not self._seen
        return await self._copy.stamp() if self._from_copy else stamp

    async def read(self) -> Snapshot:
        """What `stamp` told of. OperatorError: it cannot be used; Unavailable: the database cannot be reached."""
        if self._from_copy:
            return await self._copy.read()
        snapshot, data = await self._truth.fetch()
        await self._kept(data)
        return snapshot

    async def last_revision(self) -> int:
        """The revision that was published last; 0 when there is none."""
        return max(await self._truth.last_revision(), await self._copy.last_revision())

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published; Unavailable or Conflict when it is not."""
        await self._kept(await self._truth.publish(snapshot))

    async def _kept(self, data: bytes) -> None:
        try:
            await self._copy.keep(data)
        except OperatorError as error:  # it is published all the same
            _log.warning("snapshot_not_copied", error=error.message)
