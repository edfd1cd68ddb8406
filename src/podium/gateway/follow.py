"""Follows the published snapshot: read beside the traffic, compiled, swapped in one assignment."""

import asyncio
import contextlib
from typing import Protocol

import structlog

from podium.core.clock import Clock
from podium.core.errors import OperatorError, Unavailable
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.ports import UpstreamFactory
from podium.gateway.world import World

__all__ = ["SnapshotFollower", "SnapshotSource"]

log = structlog.get_logger(__name__)


class SnapshotSource(Protocol):
    """Where snapshots are published. Both methods wait a bounded time, without holding up the event loop."""

    async def stamp(self) -> object | None:
        """A value that differs whenever what is published differs; None when nothing is. Unavailable."""

    async def read(self) -> Snapshot:
        """The published snapshot; OperatorError when it is damaged or was not sealed with our secret; Unavailable."""


class SnapshotFollower:
    """Holds the current world (podium.gateway.flight.Worlds)."""

    def __init__(
        self, source: SnapshotSource, upstreams: UpstreamFactory, fleet: Fleet, clock: Clock, *, poll_s: float
    ) -> None:
        self.current: World | None = None
        self.reachable = True  # the source answered the last time
        self._source = source
        self._upstreams = upstreams
        self._fleet = fleet
        self._clock = clock
        self._poll_s = poll_s
        self._stamp: object | None = None
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Somebody says that there is a new snapshot: look at once. Told often, it looks once."""
        self._told.set()

    async def run(self) -> None:
        """Look for a new snapshot whenever told, and every `poll_s` because not everything is told; forever."""
        while True:
            self._told.clear()
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._told.wait()

    async def look(self) -> None:
        """Install what is published, if it is new. A snapshot that cannot be read leaves the current one in place."""
        try:
            stamp = await self._source.stamp()
            if stamp is not None and stamp != self._stamp:
                self._stamp = stamp
                await self._take()
        except Unavailable as error:
            self._stamp = None  # what was not read is read the next time
            if self.reachable:
                log.warning("snapshots_unreachable", error=error.message, hint=error.hint)
            self.reachable = False
        else:
            self.reachable = True

    async def _take(self) -> None:
        try:
            snapshot = await self._source.read()
        except OperatorError as error:
            log.error(  # noqa: TRY400 - our own error; its stack says nothing
                "snapshot_unreadable", error=error.message, hint=error.hint
            )
            return
        if self.current is None or snapshot.revision != self.current.snapshot.revision:
            self.install(snapshot)

    def install(self, snapshot: Snapshot) -> None:
        """Compile a snapshot and make it the current world; running exchanges keep theirs."""
        self.current = World(snapshot, self._upstreams, self._fleet, self._clock.monotonic_ns())
        self._upstreams.retire_unused()
        self._fleet.retire_unused()
        log.info("snapshot_installed", revision=snapshot.revision, models=len(snapshot.models), keys=len(snapshot.keys))
