"""Waits of the loops: bounded, and over at once when the process stops."""

import asyncio

__all__ = ["Backoff", "wait_for"]


async def wait_for(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` was set within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Backoff:
    """Waits that double from `first_s` to `most_s`."""

    def __init__(self, *, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        """How long to wait now."""
        now, self._next_s = self._next_s, min(self._most_s, self._next_s * 2)
        return now

    def reset(self) -> None:
        """It went well: begin with the shortest again."""
        self._next_s = self._first_s
