"""One control process leads and runs the loops; the others stand by and take over when its lease ends.

A leader whose renewals fail stops its duties before the lease can be anybody else's. Duties are safe to
run twice all the same: the lease saves work, it does not guard truth.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import structlog

from podium.control.ports import LeaderLease
from podium.control.waiting import wait_for
from podium.core.clock import Clock
from podium.core.errors import PodiumError
from podium.core.ids import random_token

__all__ = ["Duty", "Leader", "new_holder", "perform"]

_log = structlog.get_logger("podium.control.leader")

_RELEASE_TIMEOUT_S = 2.0
_RESTART_S = 1.0

Duty = Callable[[asyncio.Event], Awaitable[None]]


def new_holder() -> str:
    """A name for this process that no other has, now or later."""
    return f"{socket.gethostname()}:{os.getpid()}:{random_token(6)}"


class Leader:
    """Runs `duties` while this process holds the lease."""

    def __init__(
        self, lease: LeaderLease, clock: Clock, duties: tuple[Duty, ...], *, holder: str, ttl_s: float = 10.0
    ) -> None:
        self.holder = holder
        self._lease = lease
        self._clock = clock
        self._duties = duties
        self._ttl_s = ttl_s
        self._renew_s = ttl_s / 3
        self._leads = False
        self._reachable = True

    @property
    def leads(self) -> bool:
        """Whether the duties run here."""
        return self._leads

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or stand by until `stop` is set; then end the duties, give the lease up and return."""
        try:
            while not stop.is_set():
                until_ns = await self._acquire()
                if until_ns is None:
                    await wait_for(stop, self._renew_s)
                else:
                    await self._lead(until_ns, stop)
        finally:
            await self._release()

    async def _lead(self, until_ns: int, stop: asyncio.Event) -> None:
        _log.info("leads", holder=self.holder)
        self._leads = True
        over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(perform(duty, over)) for duty in self._duties]
                await self._renew_until_lost(until_ns, stop)
                over.set()
                # A duty that hangs in a slow call does not outlive the lease.
                _, late = await asyncio.wait(tasks, timeout=self._renew_s) if tasks else (set(), set())
                for task in late:
                    task.cancel()
        finally:
            self._leads = False
            _log.info("leads no more", holder=self.holder)

    async def _renew_until_lost(self, until_ns: int, stop: asyncio.Event) -> None:
        """Return when the process stops, another leads, or so little of the lease is left that duties must end."""
        while not await wait_for(stop, self._renew_s):
            renewed_ns = await self._acquire(until_ns)
            if renewed_ns is None:
                return
            until_ns = renewed_ns
            if self._clock.monotonic_ns() + int(self._renew_s * 1e9) >= until_ns:
                return

    async def _acquire(self, until_ns: int | None = None) -> int | None:
        """Until when the lease is ours, monotonic; None: another's. `until_ns` stays when nobody can be asked."""
        asked_ns = self._clock.monotonic_ns()
        try:
            async with asyncio.timeout(self._renew_s):
                ours = await self._lease.acquire(self.holder, self._ttl_s)
        except (PodiumError, OSError, TimeoutError) as error:
            if self._reachable:
                words = str(error) or type(error).__name__
                _log.warning("the lease cannot be asked for", error=words, hint=getattr(error, "hint", ""))
            self._reachable = False
            return until_ns
        self._reachable = True
        return asked_ns + int(self._ttl_s * 1e9) if ours else None

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                await self._lease.release(self.holder)
        except (PodiumError, OSError, TimeoutError):
            _log.info("the lease was not given up; it ends by itself", holder=self.holder)


async def perform(duty: Duty, over: asyncio.Event) -> None:
    """Run a duty until `over` is set; start it anew when it breaks."""
    while not over.is_set():
        try:
            await duty(over)
        except Exception:  # noqa: BLE001 - the task boundary: a bug in one duty must not end the others
            _log.exception("a duty broke; it starts anew", duty=getattr(duty, "__qualname__", repr(duty)))
            await wait_for(over, _RESTART_S)
