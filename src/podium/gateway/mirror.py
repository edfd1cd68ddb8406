"""Copies of exchanges for a candidate that nobody sees yet: called beside the traffic, compared, never shown.

A copy is made once the caller's own exchange is over, so it neither delays nor fails it.
"""

import asyncio
from collections.abc import Callable, Mapping

from podium.core.exchange import Exchange
from podium.delivery.buckets import CANDIDATE
from podium.gateway.copies import Copies, Seen
from podium.gateway.landing import Outcome
from podium.gateway.pool import Pool

__all__ = ["MOST_COPIES", "Mirrors", "Then"]

MOST_COPIES = 32  # at once, of one gateway process; with their requests they are held in memory

Then = Callable[[Exchange, Outcome], None]  # is told of the copy, once it is recorded


class Mirrors:
    """Makes and owns the copies of one gateway process."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._running: set[asyncio.Task[None]] = set()
        self._counts = {"made": 0, "dropped": 0}

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """Copies that were made, and those that would have been too many at once."""
        return {(outcome,): count for outcome, count in self._counts.items()}

    def copy(self, seen: Seen, then: Then | None = None) -> None:
        """Begin a copy of an exchange whose call is over, if there is room. `then`: its answer is to be kept."""
        rollout = seen.world.rollouts.get(seen.exchange.model)
        pool = None if rollout is None else rollout.mirror()
        if pool is None:
            return
        if len(self._running) >= MOST_COPIES:
            self._counts["dropped"] += 1
            return
        self._counts["made"] += 1
        run = self._run(seen, pool, then)
        task = asyncio.get_running_loop().create_task(run, name=f"copy for rollout {seen.exchange.rollout}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self, timeout_s: float) -> None:
        """Break off what runs, and record it."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    async def _run(self, seen: Seen, pool: Pool, then: Then | None) -> None:
        copied = self._copies.like(seen.exchange, arm=CANDIDATE)
        copied.judged = then is not None
        outcome = await self._copies.run(copied, seen.headers, seen.face, seen.request, seen.body, seen.world, pool)
        if then is not None:
            then(copied, outcome)
