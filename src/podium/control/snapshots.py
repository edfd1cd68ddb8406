"""Compiles what is declared, and the keys, into the snapshot that gateways serve from; publishes it when it moved."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from podium.control.ports import KeyStore, ResourceStore
from podium.control.published_keys import PublishedKeys
from podium.control.waiting import Backoff, wait_for
from podium.core.clock import Clock
from podium.core.errors import PodiumError, Unavailable
from podium.core.resources import Kind, Resource
from podium.core.snapshot import KeyEntry, KeyTable, Snapshot

__all__ = ["SnapshotPublisher", "SnapshotStatus", "Snapshots", "compile_snapshot"]

_log = structlog.get_logger("podium.control.snapshots")


class SnapshotPublisher(Protocol):
    """Where gateways find the snapshot."""

    async def last_revision(self) -> int:
        """The number of what was published last, by any process; 0 when nothing was, or it cannot be read."""

    async def publish(self, snapshot: Snapshot) -> None:
        """Replace what is published, at once and whole."""


class SnapshotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What this process published last."""

    revision: int = 0  # 0: nothing yet
    published_unix_s: float = 0.0
    resource_revision: int = -1  # that it holds
    key_change_number: int = -1
    keys: int = 0
    models: int = 0
    error: str = ""  # why the newest state is not published; "" when it is


def compile_snapshot(revision: int, now_unix_s: float, resources: Iterable[Resource], keys: KeyTable) -> Snapshot:
    """The snapshot of a state."""
    specs: dict[Kind, dict[str, Any]] = {}
    for resource in resources:
        specs.setdefault(resource.kind, {})[resource.name] = resource.spec
    return Snapshot(
        revision=revision,
        published_unix_s=now_unix_s,
        keys=keys,
        tenants=specs.get("Tenant", {}),
        providers=specs.get("Provider", {}),
        versions=specs.get("Version", {}),
        models=specs.get("Model", {}),
        limit_policies=specs.get("LimitPolicy", {}),
        budgets=specs.get("Budget", {}),
        prices=specs.get("Price", {}),
        flags=specs.get("Flag", {}),
        rollouts=specs.get("Rollout", {}),
        progress=specs.get("Progress", {}),
    )


class Snapshots:
    """The loop. One at a time leads."""

    def __init__(
        self,
        resources: ResourceStore,
        keys: KeyStore,
        publisher: SnapshotPublisher,
        clock: Clock,
        *,
        poll_s: float = 0.5,
        own_keys: Callable[[Sequence[Resource]], Sequence[KeyEntry]] = lambda _: (),
    ) -> None:
        """`own_keys`: those of Podium itself, that are in no store; by what is declared."""
        self._own_keys = own_keys
        self._resources = resources
        self._keys = keys
        self._published_keys = PublishedKeys(keys, clock)
        self._publisher = publisher
        self._clock = clock
        self._poll_s = poll_s
        self._moved = asyncio.Event()
        self._published: tuple[int, int] | None = None  # resource revision and key change number
        self._status = SnapshotStatus()

    @property
    def status(self) -> SnapshotStatus:
        """What was published last, and what stands in the way of more."""
        return self._status

    def changed(self) -> None:
        """This process changed something: look at once."""
        self._moved.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish what moves until `stop` is set. Waits longer and longer while database or disk fail."""
        self._published = None  # another process may have led since
        backoff = Backoff(first_s=self._poll_s, most_s=5.0)
        while not stop.is_set():
            self._moved.clear()
            try:
                await self.publish_if_moved()
            except (PodiumError, OSError) as error:
                self._failed(error)
                await wait_for(stop, backoff.next_s())
                continue
            backoff.reset()
            await wait_for(self._moved, self._poll_s)

    async def publish_if_moved(self) -> bool:
        """Whether there was something new to publish."""
        try:
            return await self._publish_if_moved()
        except Unavailable:
            self._published_keys.forget()  # after a failover the numbers may count other changes
            raise

    async def _publish_if_moved(self) -> bool:
        # Numbers first: what moves while the content is read is published once more by the next round.
        moved = (await self._resources.newest_number(), await self._keys.change_number())
        if moved != self._published:
            await self._publish(moved)
            self._published = moved
            return True
        if self._status.error:
            self._status = msgspec.structs.replace(self._status, error="")
        return False

    async def _publish(self, moved: tuple[int, int]) -> None:
        _, resources = await self._resources.current()
        keys = await self._published_keys.at(moved[1], self._own_keys(resources))
        # Both numbers only grow and outlive every process, so that a lost file does not send the count back.
        revision = max(await self._publisher.last_revision() + 1, sum(moved))
        snapshot = compile_snapshot(revision, self._clock.unix_ns() / 1e9, resources, keys)
        await self._publisher.publish(snapshot)
        self._status = SnapshotStatus(
            revision=revision,
            published_unix_s=snapshot.published_unix_s,
            resource_revision=moved[0],
            key_change_number=moved[1],
            keys=len(keys),
            models=len(snapshot.models),
        )
        _log.info("snapshot published", revision=revision, resource_revision=moved[0], keys=len(snapshot.keys))

    def _failed(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if self._status.error != text:
            _log.warning("snapshot is not published", error=text, hint=getattr(error, "hint", ""))
        self._status = msgspec.structs.replace(self._status, error=text)
