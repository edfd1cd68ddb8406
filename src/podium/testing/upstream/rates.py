"""How many requests a second are let through."""

import math
from collections import deque

__all__ = ["Rates"]

_ROUNDING_S = 1e-6


class Rates:
    """A sliding window for each rate that was asked for."""

    def __init__(self) -> None:
        self._passed: dict[float, deque[float]] = {}

    def take(self, per_second: float, now_s: float) -> int:
        """Let one request pass: 0; or whole seconds until the next one may."""
        limit = max(1, math.ceil(per_second))
        window_s = limit / per_second
        if len(self._passed) > 100:  # noqa: PLR2004 - more rates than any test has
            self._passed.clear()
        passed = self._passed.setdefault(per_second, deque(maxlen=limit))
        if len(passed) < limit or now_s - passed[0] >= window_s - _ROUNDING_S:
            passed.append(now_s)  # drops the oldest of a full window
            return 0
        return max(1, math.ceil(passed[0] + window_s - now_s))
