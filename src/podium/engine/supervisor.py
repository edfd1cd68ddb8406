"""Keeps a set of processes running, and stops them in order. Knows nothing of what they are."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby

from podium.core.errors import OperatorError
from podium.engine.child import Child, ChildSpec, ChildStatus
from podium.engine.child_log import LogRotation, rotate
from podium.engine.child_states import Backoff, ChildState

__all__ = ["ChildSpec", "ChildStatus", "Supervisor"]

_ROTATION_POLL_S = 1.0


class Supervisor:
    """Starts all children at once and restarts each that ends.

    `on_change` is called on the event loop with every new status. `ready` is set once all children were ready
    at the same time. Names must be unique.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        backoff: Backoff | None = None,
        log_rotation: LogRotation | None = None,
        on_change: Callable[[ChildStatus], None] = lambda _status: None,
    ) -> None:
        assert len({spec.name for spec in children}) == len(children), "two children of one name"
        self.ready = asyncio.Event()
        self._on_change = on_change
        self._log_rotation = log_rotation or LogRotation()
        self._failed = asyncio.Event()
        self._children = [Child(spec, backoff or Backoff(), self._changed) for spec in children]

    @property
    def statuses(self) -> tuple[ChildStatus, ...]:
        """All children at this moment, in the order given."""
        return tuple(child.status for child in self._children)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then end all children: ranks from high to low, each rank together.

        When a child fails for good all others are ended too, and OperatorError says what it printed last.
        Whatever way this coroutine ends, no child is left.
        """
        async with asyncio.TaskGroup() as group:
            rotation = group.create_task(self._rotate_logs(), name="log rotation")
            for child in self._children:
                group.create_task(child.run(), name=child.spec.name)
            waits = [group.create_task(stop.wait()), group.create_task(self._failed.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            await self._stop_all()
            for task in (rotation, *waits):
                task.cancel()
        self._raise_failure()

    async def _stop_all(self) -> None:
        in_order = sorted(self._children, key=_rank, reverse=True)
        for _, same_rank in groupby(in_order, key=_rank):
            members = list(same_rank)
            for child in members:
                child.stop()
            for child in members:
                await child.ended.wait()  # bounded by the child's drain timeout

    def _changed(self, status: ChildStatus) -> None:
        if status.state is ChildState.FAILED:
            self._failed.set()
        if all(child.status.state is ChildState.READY for child in self._children):
            self.ready.set()
        self._on_change(status)

    def _raise_failure(self) -> None:
        for child in self._children:
            if child.status.state is ChildState.FAILED:
                raise OperatorError(
                    f"The process {child.spec.name} cannot run: {child.status.message}",
                    hint=f"Its output is in {child.spec.log_file}.",
                )

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(_ROTATION_POLL_S)
            for child in self._children:
                rotate(child.spec.log_file, self._log_rotation)


def _rank(child: Child) -> int:
    return child.spec.rank
