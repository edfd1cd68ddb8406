"""One supervised child: starts it, sees it ready, restarts it, stops it."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from podium.engine import parent
from podium.engine.child_log import open_log, printed_since
from podium.engine.child_states import Backoff, ChildState, Occurrence, Restarts, next_state
from podium.engine.readiness import await_answer

__all__ = ["EX_CONFIG", "Child", "ChildSpec", "ChildStatus"]

EX_CONFIG = 78  # <sysexits.h>
_KILLED_WAIT_S = 10.0  # after SIGKILL only the kernel can be slow


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run, and how to treat it."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)  # all of it; nothing is inherited. May hold secrets.
    log_file: Path
    ready_url: str | None = None  # ready when a GET is answered with 200; None: as soon as it runs
    essential: bool = True  # if it cannot even start, everything stops
    rank: int = 0  # children of a higher rank stop before those of a lower one; equal ranks stop together
    ready_timeout_s: float = 120.0  # then it is killed and counts as exited
    drain_timeout_s: float = 30.0  # between SIGTERM and SIGKILL
    orphan_signal: int = signal.SIGTERM  # sent to it when the supervisor dies
    warm_up: Callable[[], Awaitable[bool]] | None = None  # a first real call; ready only when it is answered


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child at one moment."""

    name: str
    state: ChildState
    pid: int | None = None  # None: no process
    restarts: int = 0
    message: str = ""  # what the last process printed at its end, once there was one


class Child:
    """Runs one child until it is stopped or has failed for good. `status` is always current."""

    def __init__(self, spec: ChildSpec, backoff: Backoff, on_change: Callable[[ChildStatus], None]) -> None:
        self.spec = spec
        self.status = ChildStatus(spec.name, ChildState.STARTING)
        self.ended = asyncio.Event()
        self._backoff = backoff
        self._on_change = on_change
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._hung = ""  # why the process that has just ended was killed by us

    def kill(self, why: str) -> None:
        """End the process that runs now with SIGKILL, as it does not answer; it is restarted as after any exit."""
        self._hung = why
        self._kill.set()

    def stop(self) -> None:
        """Ask it to end; `ended` is set when it has."""
        self._stop.set()

    async def run(self) -> None:
        """Start it, and keep it running."""
        restarts = Restarts()
        try:
            while not self._finished():
                restarts = await self._live(restarts)
                if not self._finished():
                    await self._back_off(restarts)
        finally:
            self.ended.set()

    async def _live(self, restarts: Restarts) -> Restarts:
        """One process from its start to its end."""
        descriptor = open_log(self.spec.log_file)
        try:
            log_start = os.fstat(descriptor).st_size
            process = await _spawn(self.spec, descriptor)
        finally:
            os.close(descriptor)
        started = time.monotonic()
        self._hung = ""
        self._kill.clear()
        self._update(replace(self.status, pid=process.pid))
        try:
            await self._watch(process)
        finally:
            await _end(process, 0.0)  # whatever happened above, and what the child itself left running
        if self.status.state is ChildState.READY:
            restarts = restarts.answered()
        restarts = restarts.exited(time.monotonic() - started, self._backoff)
        printed = printed_since(self.spec.log_file, log_start)
        self._to(self._exit_occurrence(process, restarts), pid=None, message=self._hung or printed or _ending(process))
        return restarts

    async def _watch(self, process: Process) -> None:
        """Return when the process has ended, or did not become ready in time. Ends it when asked to stop."""
        async with asyncio.TaskGroup() as group:
            exited = group.create_task(process.wait())
            stopping = group.create_task(self._stop.wait())
            killed = group.create_task(self._kill.wait())
            ready = group.create_task(self._becomes_ready())
            await asyncio.wait((exited, stopping, killed, ready), return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and ready.result() and not stopping.done() and not exited.done():
                self._to(Occurrence.ANSWERED)
                await asyncio.wait((exited, stopping, killed), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not exited.done():
                self._to(Occurrence.STOP)
                await _end(process, self.spec.drain_timeout_s)
            for task in (exited, stopping, killed, ready):
                task.cancel()

    async def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + self.spec.ready_timeout_s
        if not await await_answer(self.spec.ready_url, self.spec.ready_timeout_s):
            self._hung = f"It did not answer within {self.spec.ready_timeout_s:g} s of its start."
            return False
        if self.spec.warm_up is None:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                if await self.spec.warm_up():
                    return True
                self._hung = "Its first call failed."
                return False
        self._hung = f"Its first call was not answered within {self.spec.ready_timeout_s:g} s of its start."
        return False

    def _exit_occurrence(self, process: Process, restarts: Restarts) -> Occurrence:
        if process.returncode == EX_CONFIG:
            return Occurrence.MISCONFIGURED
        hopeless = restarts.hopeless(self._backoff, essential=self.spec.essential)
        return Occurrence.GAVE_UP if hopeless and self.status.state is ChildState.STARTING else Occurrence.EXITED

    async def _back_off(self, restarts: Restarts) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self._backoff.wait_s(restarts.in_a_row))
        if self._stop.is_set():
            self._to(Occurrence.STOP)
        else:
            self._to(Occurrence.WAITED, restarts=self.status.restarts + 1)

    def _to(self, occurrence: Occurrence, **changes: Any) -> None:
        self._update(replace(self.status, state=next_state(self.status.state, occurrence), **changes))

    def _update(self, status: ChildStatus) -> None:
        self.status = status
        self._on_change(status)

    def _finished(self) -> bool:
        return self.status.state in {ChildState.STOPPED, ChildState.FAILED}


async def _spawn(spec: ChildSpec, log: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(parent.__file__), str(os.getpid()), str(int(spec.orphan_signal))),
        *spec.argv,
        env=dict(spec.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # its own process group; a Ctrl-C in the terminal reaches the supervisor only
    )


async def _end(process: Process, patience_s: float) -> None:
    """SIGTERM and up to `patience_s` of waiting (none: no SIGTERM), then SIGKILL to all of its process group."""
    if process.returncode is None and patience_s > 0:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience_s)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.wait(), _KILLED_WAIT_S)


def _ending(process: Process) -> str:
    code = process.returncode
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
