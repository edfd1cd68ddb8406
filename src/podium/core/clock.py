"""Time as a value that is handed in.

Durations come from the monotonic clock, so a jump of the wall clock breaks no limit and no latency.
"""

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What tells the time."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; comparable only within one process."""

    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump."""


class SystemClock:
    """The machine's clocks."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    unix_ns = staticmethod(time.time_ns)
