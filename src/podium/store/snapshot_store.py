"""The published snapshot as control and gateways see it: one file that is replaced whole."""

import asyncio
import contextlib
from pathlib import Path

from podium.core.errors import OperatorError
from podium.core.snapshot import Snapshot
from podium.store.snapshot_file import SnapshotStamp, read_snapshot, snapshot_stamp, write_snapshot

__all__ = ["SnapshotStore"]


class SnapshotStore:
    """Publisher (podium.control.snapshots) and source (podium.gateway.follow) of one file."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    def stamp(self) -> SnapshotStamp | None:
        """Changes with each publication; None when nothing was published."""
        return snapshot_stamp(self._path)

    def read(self) -> Snapshot:
        """The published snapshot; OperatorError when it cannot be used."""
        try:
            return read_snapshot(self._path, self._key)
        except FileNotFoundError as error:
            raise OperatorError("The snapshot was removed.", hint="The control process publishes a new one.") from error

    async def last_revision(self) -> int:
        """The revision that was published last; 0 when there is none that can be read."""
        with contextlib.suppress(OperatorError):
            return (await asyncio.to_thread(self.read)).revision
        return 0

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published."""
        await asyncio.to_thread(write_snapshot, self._path, self._key, snapshot)
