"""The published snapshot of one machine: a file that control replaces whole, and gateways of the data folder read."""

import asyncio
import contextlib
from pathlib import Path

from podium.core.errors import OperatorError
from podium.core.snapshot import Snapshot
from podium.store.snapshot_file import (
    SnapshotStamp,
    keep_newer,
    read_revision,
    read_snapshot,
    snapshot_stamp,
    write_snapshot,
)

__all__ = ["SnapshotStore"]


class SnapshotStore:
    """Publisher (podium.control.snapshots) and source (podium.gateway.follow) of one file."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self._own: tuple[SnapshotStamp | None, int] = None, 0  # what was published here: its stamp and revision

    async def stamp(self) -> SnapshotStamp | None:
        """Changes with each publication; None when nothing was published."""
        return await asyncio.to_thread(snapshot_stamp, self._path)

    async def read(self) -> Snapshot:
        """The published snapshot; OperatorError when it cannot be used."""
        try:
            return await asyncio.to_thread(read_snapshot, self._path, self._key)
        except FileNotFoundError as error:
            raise OperatorError("The snapshot was removed.", hint="The control process publishes a new one.") from error

    async def last_revision(self) -> int:
        """The revision that was published last; 0 when there is none that can be read."""
        stamp, revision = self._own
        if stamp is not None and stamp == await self.stamp():  # a large one need not be proved again
            return revision
        with contextlib.suppress(OperatorError, FileNotFoundError):
            return await asyncio.to_thread(read_revision, self._path, self._key)
        return 0

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published."""
        stamp = await asyncio.to_thread(write_snapshot, self._path, self._key, snapshot)
        self._own = stamp, snapshot.revision

    async def keep(self, data: bytes) -> bool:
        """Take a copy of what was published elsewhere, sealed; False when a newer one is here."""
        return await asyncio.to_thread(keep_newer, self._path, data)
