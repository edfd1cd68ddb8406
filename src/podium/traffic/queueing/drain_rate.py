"""How fast a pool works off what waits, measured only while it is fully used.

Rules
1. The clock of the window runs only between `busy` and `idle`. So a quiet hour does not look like a slow pool: what
   is measured is what the pool can do, not what was asked of it.
2. A pool that is busy and finishes nothing gets slower with each moment.
3. What was measured is forgotten `_KEEP_S` after the pool was last busy: it may be another pool by then.
"""

__all__ = ["DrainRate"]

_BUCKETS = 10
_SECOND_NS = 1_000_000_000
_LEAST = 3  # fewer finished calls say nothing, until a whole window has passed
_KEEP_S = 600


class DrainRate:
    """Cost finished a second over the last `window_s` of busy time. `now_ns` is monotonic; a step back is no time."""

    __slots__ = ("_bucket_ns", "_filled_ns", "_finished", "_ring", "_since_ns", "_sum", "_used_ns")

    def __init__(self, window_s: float = 10.0) -> None:
        self._bucket_ns = max(1, int(window_s * _SECOND_NS) // _BUCKETS)
        self._since_ns = -1  # until when busy time is counted, when busy; -1: idle
        self._used_ns = 0  # when it was last busy
        self._clear()

    def busy(self, now_ns: int) -> None:
        """The pool is fully used from now on; again is no harm."""
        if self._since_ns < 0:
            if now_ns - self._used_ns > _KEEP_S * _SECOND_NS:
                self._clear()
            self._since_ns = now_ns

    def idle(self, now_ns: int) -> None:
        """The pool has places left from now on; again is no harm."""
        if self._since_ns >= 0:
            self._advance(now_ns)
            self._used_ns = self._since_ns
            self._since_ns = -1

    def finished(self, now_ns: int, cost: int = 1) -> None:
        """A call is over; it counts when the pool is busy."""
        if self._since_ns >= 0:
            self._advance(now_ns)
            self._ring[-1] += cost
            self._sum += cost
            self._finished += 1

    def per_s(self, now_ns: int) -> float | None:
        """Cost a second, above 0; None: not known yet."""
        if self._since_ns >= 0:
            self._advance(now_ns)
        elif now_ns - self._used_ns > _KEEP_S * _SECOND_NS:
            self._clear()
        busy_ns = self._filled_ns + (len(self._ring) - 1) * self._bucket_ns
        if self._finished < _LEAST and len(self._ring) <= _BUCKETS:
            return None
        return max(self._sum, 1) * _SECOND_NS / max(busy_ns, 1)

    def _clear(self) -> None:
        self._ring = [0]  # cost by bucket of busy time, the running one last
        self._filled_ns = 0  # of the running bucket
        self._sum = 0
        self._finished = 0  # calls since the beginning

    def _advance(self, now_ns: int) -> None:
        elapsed = now_ns - self._since_ns
        if elapsed <= 0:
            return
        self._since_ns = now_ns
        steps, self._filled_ns = divmod(self._filled_ns + elapsed, self._bucket_ns)
        for _ in range(min(steps, _BUCKETS + 1)):
            self._ring.append(0)
            if len(self._ring) > _BUCKETS + 1:
                self._sum -= self._ring.pop(0)
