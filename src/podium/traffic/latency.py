"""Percentiles of durations over the recent past, in constant memory."""

from math import log2

__all__ = ["LatencyWindow"]

_SECOND_NS = 1_000_000_000
_PER_OCTAVE = 8  # bins for each doubling: a bin is 9 % wide
_BINS = 20 * _PER_OCTAVE  # 1 ms to 17 minutes; what is outside counts in the first or last bin


class LatencyWindow:
    """A histogram on a logarithmic scale over the last one to two windows.

    Two tables: the running window's and the one before. When a window is over, the older table is dropped; so what
    is older than two windows never counts. `now_ns` is monotonic; a step back counts as no time.
    """

    __slots__ = ("_before", "_now", "_window", "_window_ns", "count")

    def __init__(self, now_ns: int, window_s: float = 60.0) -> None:
        self._window_ns = max(1, int(window_s * _SECOND_NS))
        self._window = now_ns // self._window_ns
        self._now = [0] * _BINS
        self._before = [0] * _BINS
        self.count = 0  # as of the last call

    def add(self, duration_ms: float, now_ns: int) -> None:
        """Count one duration."""
        if now_ns // self._window_ns > self._window:
            self._turn(now_ns)
        place = int(log2(duration_ms) * _PER_OCTAVE) if duration_ms > 1.0 else 0
        self._now[place if place < _BINS else -1] += 1
        self.count += 1

    def percentile_ms(self, share: float, now_ns: int) -> float | None:
        """A duration that at least `share` of those counted did not exceed, up to 9 % too long; None: none counted.

        Costs a walk over 160 bins; keep the answer for a while where it is asked for often.
        """
        if now_ns // self._window_ns > self._window:
            self._turn(now_ns)
        wanted = max(1.0, share * self.count)
        seen = 0
        for place, (now, before) in enumerate(zip(self._now, self._before, strict=True)):
            seen += now + before
            if seen >= wanted:
                return float(2.0 ** ((place + 1) / _PER_OCTAVE))
        return None

    def _turn(self, now_ns: int) -> None:
        window = now_ns // self._window_ns
        self._before = self._now if window == self._window + 1 else [0] * _BINS
        self._now = [0] * _BINS
        self._window = window
        self.count = sum(self._before)
