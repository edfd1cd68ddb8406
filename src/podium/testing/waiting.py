"""Wait for something that happens elsewhere, without guessing how long it takes."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["eventually"]


async def eventually(condition: Callable[[], object], *, timeout_s: float = 5.0, interval_s: float = 0.005) -> float:
    """Return as soon as `condition()` is true: the seconds it took.

    TimeoutError, naming the condition's last value, when that does not happen within `timeout_s`.
    """
    started = time.monotonic()
    while not (value := condition()):
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"not true within {timeout_s} s; the last value was {value!r}")
        await asyncio.sleep(interval_s)
    return time.monotonic() - started
