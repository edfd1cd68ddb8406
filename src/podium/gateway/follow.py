"""Follows the published snapshot: read beside the traffic, compiled, swapped in one assignment."""

import asyncio
import contextlib
import time
from collections.abc import Generator
from typing import Protocol

import msgspec
import structlog

from podium.core.clock import Clock
from podium.core.errors import OperatorError, Unavailable
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.ports import UpstreamFactory
from podium.gateway.world import World

__all__ = ["SnapshotFollower", "SnapshotSource"]

log = structlog.get_logger(__name__)

_SLICE_S = 0.005  # that calls wait for at most while a snapshot is compiled


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
        self._broken_revision = -1  # of the snapshot that met a bug last, so that it is told once
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
            try:
                await self._install_by_and_by(snapshot)
            except Exception:  # a boundary: the world that serves outlives a bug that a new one meets
                if snapshot.revision != self._broken_revision:
                    log.exception("snapshot_not_installed", revision=snapshot.revision)
                self._broken_revision = snapshot.revision
                self._take_keys(snapshot)

    def _take_keys(self, snapshot: Snapshot) -> None:
        """Of a snapshot that met a bug: who may call holds at once. The next look tries the rest again."""
        self._stamp = None
        if self.current is not None:
            known = msgspec.structs.replace(self.current.snapshot, keys=snapshot.keys, tenants=snapshot.tenants)
            self.current = self.current.with_keys_of(known)

    async def _install_by_and_by(self, snapshot: Snapshot) -> None:
        """As `install`, while others have their turns: ten thousand models take half a second to compile."""
        making = World.made(snapshot, self._upstreams, self._fleet, self._clock.monotonic_ns())
        world = _go_on(making)
        before = self.current
        if world is None and before is not None and await asyncio.to_thread(snapshot.only_keys_differ, before.snapshot):
            # A key that was revoked is refused now. The rest is looked at all the same: a secret in a file may be new.
            self.current = before.with_keys_of(snapshot)
        while world is None:
            await asyncio.sleep(0)
            world = _go_on(making)
        self._set(world)

    def install(self, snapshot: Snapshot) -> None:
        """Compile a snapshot and make it the current world; running exchanges keep theirs."""
        self._set(World(snapshot, self._upstreams, self._fleet, self._clock.monotonic_ns()))

    def _set(self, world: World) -> None:
        self.current = world
        self._upstreams.retire_unused()
        self._fleet.retire_unused()
        now = world.snapshot
        log.info("snapshot_installed", revision=now.revision, models=len(now.models), keys=len(now.keys))


def _go_on(making: Generator[None, None, World]) -> World | None:
    """Compile for some milliseconds; None: it is not done."""
    until = time.perf_counter() + _SLICE_S
    try:
        while time.perf_counter() < until:
            next(making)
    except StopIteration as done:
        world: World = done.value
        return world
    return None
