"""One figure for how much a pool is used: for scaling, the console and alerts.

The figure is the share of the places in use, plus the wait in the queue as a share of the bearable wait:
0 nobody, 0.5 half of the places, 1 all places and nobody waits, 1.5 all places and half of the bearable wait, 2 and
more: calls are refused. Added, not the larger of both: it must go on rising when all places are taken, and one
threshold serves both (llm-d's detector has max(queue/5, kv/0.8), which stands at 1 for any full pool).

Smoothing: an exponential mean over time with the time constant `smoothing_s`. An observation holds until the next
one, weighted by how long it held; so it is no matter how often somebody looks. After a step the smoothed figure has
gone 63 % of the way after one `smoothing_s`, 95 % after three. 15 s is how often Kubernetes' autoscaler and KEDA's
examples look: faster changes they could not follow.
"""

from math import exp

__all__ = ["Saturation"]


class Saturation:
    """The figure of one pool. `now_ns` is monotonic; a step back counts as no time."""

    __slots__ = ("_at_ns", "_smoothed", "_smoothing_ns", "bearable_wait_s", "latest")

    def __init__(self, bearable_wait_s: float, now_ns: int, smoothing_s: float = 15.0) -> None:
        if bearable_wait_s <= 0 or smoothing_s <= 0:
            raise ValueError("times are positive")
        self.bearable_wait_s = bearable_wait_s
        self.latest = 0.0  # as observed last
        self._smoothing_ns = smoothing_s * 1e9
        self._smoothed = 0.0
        self._at_ns = now_ns

    def observe(self, now_ns: int, *, in_flight: int, limit: int, wait_s: float) -> float:
        """Take note of how it is from now on; the figure of this moment, not smoothed.

        `limit` 0: no backend takes calls, so anybody in flight or waiting is more than the pool can bear.
        """
        self._smoothed = self.smoothed(now_ns)
        self._at_ns = max(now_ns, self._at_ns)
        used = in_flight / limit if limit > 0 else float(bool(in_flight or wait_s))
        self.latest = used + wait_s / self.bearable_wait_s
        return self.latest

    def smoothed(self, now_ns: int) -> float:
        """The smoothed figure; changes nothing."""
        elapsed = now_ns - self._at_ns
        if elapsed <= 0:
            return self._smoothed
        return self.latest + (self._smoothed - self.latest) * exp(-elapsed / self._smoothing_ns)
