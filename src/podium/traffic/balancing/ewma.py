"""A moving average that believes bad news at once and good news slowly.

Peak EWMA as in Finagle (com.twitter.finagle.loadbalancer.PeakEwma): a sample above the average replaces it, one below
draws it down by how long ago the last one was. What is not sampled sinks, so that a backend that was slow once is
tried again.
"""

from math import exp

__all__ = ["PeakEwma"]

_FORGOTTEN_AFTER = 3.0  # decay times without a sample; by then the estimate is down to 5%, which is no knowledge


class PeakEwma:
    """An estimate of one latency, in whatever unit the samples have."""

    __slots__ = ("_at_ns", "_decay_ns", "_value")

    def __init__(self, decay_s: float) -> None:
        if decay_s <= 0:
            raise ValueError("decay_s must be above 0")
        self._decay_ns = decay_s * 1e9
        self._value = 0.0
        self._at_ns: int | None = None  # of the newest sample; None: never

    def sample(self, value: float, now_ns: int) -> None:
        """Take note of one measurement. A `now_ns` older than before counts as no time."""
        if self._at_ns is not None:
            elapsed = max(0, now_ns - self._at_ns)
            keep = exp(-elapsed / self._decay_ns)
            value = max(value, self._value * keep + value * (1.0 - keep))
            now_ns = max(now_ns, self._at_ns)
        self._value = value
        self._at_ns = now_ns

    def read(self, now_ns: int) -> float | None:
        """The estimate now; None when there never was a sample, or none for three decay times."""
        if self._at_ns is None:
            return None
        elapsed = now_ns - self._at_ns
        if elapsed <= 0:
            return self._value
        age = elapsed / self._decay_ns
        return self._value * exp(-age) if age <= _FORGOTTEN_AFTER else None
