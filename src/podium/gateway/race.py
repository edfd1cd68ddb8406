"""Two calls for one exchange: the second starts when the first is slow, and the first content wins."""

import asyncio
from collections.abc import Awaitable, Callable

from podium.core.errors import PodiumError
from podium.core.reasons import Fault
from podium.gateway.attempt import Attempt

__all__ = ["Race"]


class Race:
    """One exchange's calls that run beside each other. `run` owns their tasks; `won` is told of the first content."""

    __slots__ = ("_run", "_runs")

    def __init__(self, run: Callable[[Attempt], Awaitable[None]]) -> None:
        self._run = run
        self._runs: dict[asyncio.Task[None], Attempt] = {}

    async def run(self, first: Attempt, delay_s: float, make_second: Callable[[], Attempt | None]) -> None:
        """Run `first`; when it has no content after `delay_s`, a second one beside it, if `make_second` gives one.

        Ends when the winner does. Raises the winner's error, or when both failed the first that is not the caller's
        fault. Cancelled itself, it takes both along.
        """
        try:
            first_task = self._start(first)
            await asyncio.wait([first_task], timeout=delay_s)
            if not first.first_at_ns and not first_task.done():
                second = make_second()
                if second is not None:
                    self._start(second)
            await self._finish()
        finally:
            await self._end()

    def won(self, winner: Attempt) -> None:
        """The caller's answer is this one's: the other is given up at once."""
        for task, attempt in self._runs.items():
            if attempt is not winner and not task.done():
                attempt.beaten()
                task.cancel()

    def _start(self, attempt: Attempt) -> asyncio.Task[None]:
        async def running() -> None:
            await self._run(attempt)

        task = asyncio.create_task(running(), name=f"attempt {attempt.backend.upstream.label}")
        self._runs[task] = attempt
        return task

    async def _finish(self) -> None:
        """Wait until one has answered, or all have failed."""
        failure: PodiumError | None = None
        waiting = set(self._runs)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                attempt = self._runs[task]
                if task.cancelled() or attempt.lost:
                    continue
                error = task.exception()
                if error is None:
                    return
                if not isinstance(error, PodiumError) or attempt.first_at_ns:  # a bug, or the caller has a part of it
                    raise error
                if failure is None or (failure.fault is Fault.CALLER and error.fault is not Fault.CALLER):
                    failure = error  # what may be mended goes before what may not
        if failure is not None:
            raise failure

    async def _end(self) -> None:
        """Nobody goes on behind our back."""
        running = [task for task in self._runs if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task, attempt in self._runs.items():
            attempt.abandon()  # a task that is cancelled before its first step never runs
            if not task.cancelled():
                task.exception()  # looked at: asyncio need not report it
