"""The workers of registered versions, in `podium up`: loaded, watched and unloaded under a memory budget.

    snapshot file --(wanted loadables)--> Workers --(news of all)--> door ==> gateways
                                             ^                          |
                                             +--(running, used, wanted)-+
                                             +--> placement (pure): load, unload
                                             +--> one Child for each loaded model

1. What may be needed is read from the snapshot that gateways read. Nothing else declares workers.
2. A model that a Model or a Rollout names is loaded ahead while there is room; others when a gateway says that somebody
   waits for them, or was told to come back. Loading is: check the files' checksums, load, answer a first real call.
   Only then is it ready. Of one that makes room gateways are told at once, so that no new calls come; it is asked to
   end, finishes what runs, and is killed when that takes longer than its drain timeout.
3. One that fails is reported as failing with its reason, tried again with growing waits, and given up after a few
   attempts that never became ready: then it is failed until its files change. One with damaged files fails at once.
4. One that goes silent is reported as failing, and killed after `engine.hang_timeout_s`.
No worker waits for another, so a broken one blocks none, but for the memory that it takes.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from podium.core.workers import EngineSays, GatewaySays, WorkerState
from podium.engine.arrivals import arrivals
from podium.engine.child import Child, ChildSpec, ChildStatus
from podium.engine.child_log import LogRotation, rotate
from podium.engine.child_states import Backoff
from podium.engine.loadable import Loadable
from podium.engine.placement import Resident, place
from podium.engine.readiness import answers
from podium.engine.worker_entry import WorkerEntry

__all__ = ["Workers", "resident_mib"]

log = structlog.get_logger("podium.engine.workers")

_TICK_S = 0.5
_ASK_EVERY_S = 2.0
_ASK_TIMEOUT_S = 5.0
_GIVEN_UP = frozenset({WorkerState.FAILED, WorkerState.MISSING})


class Workers:
    """All of them. Belongs to one event loop; `run` owns their processes."""

    def __init__(
        self,
        *,
        budget_mib: int,
        hang_timeout_s: float,
        fair_wait_s: float,
        min_stay_s: float,
        files_at: Callable[[Loadable], tuple[int, ...]],
        process_of: Callable[[Loadable, int], ChildSpec],
        backoff: Backoff | None = None,
        log_rotation: LogRotation | None = None,
        measure: Callable[[int], int] | None = None,
    ) -> None:
        """`files_at`: something that changes with a model's files; () when they are not all here.

        `process_of`: the process that serves a loadable on a port. `measure`: the MiB that a process id takes.
        """
        self.on_change: Callable[[EngineSays], None] = lambda _says: None
        self._budget_mib = budget_mib
        self._hang_ns = int(hang_timeout_s * 1e9)
        self._fair_wait_ns = int(fair_wait_s * 1e9)
        self._min_stay_s = min_stay_s
        self._files_at = files_at
        self._process_of = process_of
        self._backoff = backoff or Backoff(first_attempts=3)
        self._rotation = log_rotation or LogRotation()
        self._measure = measure or resident_mib
        self._entries: dict[str, WorkerEntry] = {}
        self._gateways: dict[object, GatewaySays] = {}
        self._moved = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._said = EngineSays()
        self._ready_in_s: dict[str, float] = {}

    @property
    def said(self) -> EngineSays:
        """What gateways were told last."""
        return self._said

    def want(self, loadables: Mapping[str, Loadable]) -> None:
        """These are all that there are now; what is not among them is unloaded."""
        for name, loadable in loadables.items():
            entry = self._entries.get(name)
            if entry is None:
                self._entries[name] = WorkerEntry(loadable, _free_port(), self._min_stay_s)
            else:
                entry.loadable, entry.dropped = loadable, False
        for name, entry in self._entries.items():
            entry.dropped = name not in loadables
        self._moved.set()

    def heard(self, gateway: object, says: GatewaySays) -> None:
        """A gateway tells what it does."""
        self._gateways[gateway] = says
        now_ns = time.monotonic_ns()
        for name in (*says.used, *says.running):
            if name in self._entries:
                self._entries[name].used_ns = now_ns
        for name in says.wanted:
            if name in self._entries:
                self._entries[name].asked = True
        self._moved.set()

    def gone(self, gateway: object) -> None:
        """A gateway has hung up."""
        self._gateways.pop(gateway, None)
        self._moved.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Load and unload until `stop` is set, then end all of them. Whatever way this ends, no process is left."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            watch = group.create_task(self._watch_silence(), name="silent workers")
            while not stop.is_set():
                self._moved.clear()
                self._tick()
                waits = [group.create_task(stop.wait()), group.create_task(self._moved.wait())]
                await asyncio.wait(waits, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
                for one in waits:
                    one.cancel()
            watch.cancel()
            for entry in self._entries.values():
                if entry.child is not None:
                    entry.child.stop()  # their tasks end with the group

    def _tick(self) -> None:
        for entry in [*self._entries.values()]:
            self._look_at(entry)
        now_ns = time.monotonic_ns()
        placement = place(self._residents(now_ns), self._budget_mib, now_ns=now_ns, fair_wait_ns=self._fair_wait_ns)
        for name, why in placement.impossible.items():
            self._entries[name].reason = why
            self._entries[name].state = WorkerState.FAILED
            self._entries[name].failed_at = ()
        for name in placement.unload:
            self._unload(self._entries[name], "to make room")
        for name in placement.load:
            self._load(self._entries[name])
        self._tell()

    def _residents(self, now_ns: int) -> list[Resident]:
        """Those that have memory, or may be given some."""
        return [
            entry.resident(now_ns)
            for entry in self._entries.values()
            if entry.child is not None or not (entry.dropped or entry.state in _GIVEN_UP)
        ]

    def _look_at(self, entry: WorkerEntry) -> None:
        """What callers want of it, and what became of its files and its process."""
        waiting = any(entry.name in says.wanted for says in self._gateways.values())
        asked, entry.asked = entry.asked or waiting, False
        if asked:
            entry.want(time.monotonic_ns(), self._ready_in_s.get(entry.name, 0.0))
        else:
            entry.want_no_more(time.monotonic_ns())
        entry.waiting = waiting
        entry.running = sum(says.running.get(entry.name, 0) for says in self._gateways.values())
        child = entry.child
        if child is not None:
            rotate(child.spec.log_file, self._rotation)
            if entry.state is WorkerState.READY and child.status.pid is not None:
                entry.measured_mib = max(entry.measured_mib, self._measure(child.status.pid))
            if entry.dropped:
                self._unload(entry, "no version has it any more")
        elif entry.dropped:
            del self._entries[entry.name]
        else:
            files = self._files_at(entry.loadable)
            if not files:
                entry.state = WorkerState.MISSING
                entry.reason = "Its files are not on this machine; `podium models pull` fetches them."
            elif entry.state in _GIVEN_UP and files != entry.failed_at:  # they have come, were mended, or there is room
                entry.state, entry.reason = WorkerState.UNLOADED, ""

    def _load(self, entry: WorkerEntry) -> None:
        assert self._group is not None, "only `run` loads"
        entry.failed_at = self._files_at(entry.loadable)
        entry.reason = ""
        entry.load_began_ns = time.monotonic_ns()
        try:
            process = self._process_of(entry.loadable, entry.port)
        except OSError as error:
            entry.state, entry.reason = WorkerState.FAILED, f"It cannot be started: {error.strerror or error}."
            return
        child = Child(process, self._backoff, lambda status: self._changed(entry, status))
        entry.child, entry.state = child, WorkerState.LOADING
        self._group.create_task(child.run(), name=f"worker {entry.name}")
        log.info("worker_loading", worker=entry.name, about_mib=entry.mib)

    def _unload(self, entry: WorkerEntry, why: str) -> None:
        if entry.child is not None and entry.state is not WorkerState.UNLOADING:
            log.info("worker_unloading", worker=entry.name, why=why, calls=entry.running)
            entry.leave(time.monotonic_ns())
            entry.child.stop()

    def _changed(self, entry: WorkerEntry, status: ChildStatus) -> None:
        before = entry.state
        entry.follow(status, time.monotonic_ns())
        if entry.state is not before:
            say = log.warning if entry.state in (WorkerState.FAILING, WorkerState.FAILED) else log.info
            say("worker_changed", worker=entry.name, before=before, after=entry.state, reason=entry.reason)
        self._tell()
        self._moved.set()

    def _tell(self) -> None:
        """Tell the gateways when something has changed."""
        now_ns = time.monotonic_ns()
        self._ready_in_s = arrivals(
            self._residents(now_ns),
            self._budget_mib,
            now_ns=now_ns,
            fair_wait_ns=self._fair_wait_ns,
            min_stay_s=self._min_stay_s,
        )
        says = EngineSays(
            workers=tuple(entry.news(self._ready_in_s.get(name)) for name, entry in self._entries.items())
        )
        if says != self._said:
            self._said = says
            self.on_change(says)

    async def _watch_silence(self) -> None:
        """Ask every ready worker, at the same time, whether it lives."""
        while True:
            await asyncio.sleep(_ASK_EVERY_S)
            asked = [
                entry
                for entry in self._entries.values()
                if entry.state is WorkerState.READY or entry.silent_since_ns is not None
            ]
            async with asyncio.TaskGroup() as group:
                for entry in asked:
                    group.create_task(self._ask(entry))

    async def _ask(self, entry: WorkerEntry) -> None:
        asked_ns = time.monotonic_ns()
        lives = await answers(f"{entry.url}/health", _ASK_TIMEOUT_S)
        child = entry.child
        silent = entry.silent_since_ns is not None
        if child is None or not (entry.state is WorkerState.READY or silent):
            return  # it has changed meanwhile
        if lives:
            if silent:
                entry.silent_since_ns, entry.state, entry.reason = None, WorkerState.READY, ""
                self._tell()
        else:
            entry.silent_since_ns = entry.silent_since_ns or asked_ns
            entry.state, entry.reason = WorkerState.FAILING, "It does not answer."
            self._tell()
            if time.monotonic_ns() - entry.silent_since_ns >= self._hang_ns:
                child.kill("It did not answer any more, and was killed.")


def resident_mib(pid: int) -> int:
    """The MiB of memory that a process has, its mapped files included; 0 when nobody can tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") >> 20
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
