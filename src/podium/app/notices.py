"""Notices among processes through Redis or Valkey: that there is a new snapshot. Loads only where Redis is set."""

import structlog
from redis.exceptions import ResponseError

from podium.app.snapshots import PublishedSnapshots
from podium.core.snapshot import Snapshot
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.notices import Notices

__all__ = ["SNAPSHOTS", "ToldSnapshots"]

log = structlog.get_logger(__name__)

SNAPSHOTS = "snapshots"


class ToldSnapshots:
    """Publishes (podium.control.snapshots.SnapshotPublisher), then tells everybody through the shared store.

    Nobody depends on the notice: what is not told is seen by the next poll.
    """

    def __init__(self, inner: PublishedSnapshots, notices: Notices) -> None:
        self._inner = inner
        self._notices = notices

    async def last_revision(self) -> int:
        """The revision that was published last; 0 when nothing was."""
        return await self._inner.last_revision()

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published, and tell of it within the store's timeout."""
        await self._inner.publish(snapshot)
        try:
            await self._notices.give(SNAPSHOTS, str(snapshot.revision).encode())
        except (StoreUnavailable, ResponseError) as error:
            log.info("snapshot_not_told", error=str(error))
