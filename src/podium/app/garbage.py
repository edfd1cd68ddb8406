"""When a serving process looks for garbage: cycles of objects, which counting references does not find.

An exchange leaves none behind. So young objects are looked at seldom (at Python's own 700 it took 3% of the time), and
all of them, which stops a gateway that knows many keys for a tenth of a second, only while nobody waits.
"""

import asyncio
import gc
from collections.abc import Callable

__all__ = ["collect_between_exchanges"]

_NEVER = 1 << 30
_THRESHOLDS = (20_000, 5, _NEVER)  # new objects; of those, looks; of those, looks at everything
_LOOK_S = 20.0
_PATIENCE_LOOKS = 180  # an hour: who is never idle is stopped that often


async def collect_between_exchanges(
    stop: asyncio.Event, in_flight: Callable[[], int], *, look_s: float = _LOOK_S
) -> None:
    """Return when `stop` is set. Changes when the process collects garbage, and collects it.

    What is there at the call is taken to live as long as the process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    looks = 0
    while not stop.is_set():
        try:
            async with asyncio.timeout(look_s):
                await stop.wait()
        except TimeoutError:
            looks += 1
            if not in_flight() or looks >= _PATIENCE_LOOKS:
                gc.collect()
                looks = 0
