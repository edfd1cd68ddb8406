"""Whether an arm fails so much, here and now, that it is taken out before any statistics."""

from enum import StrEnum
from math import ceil

from podium.core.rollouts import Analysis, Rollout

__all__ = ["WINDOW", "Burst", "Trip", "burst_of", "counts_empty"]

WINDOW = 50  # outcomes
_MASK = (1 << WINDOW) - 1
_DEFAULTS = Analysis()


class Trip(StrEnum):
    """Why."""

    IN_A_ROW = "failures_in_a_row"
    SHARE = "share_of_failures"
    HANGS = "hangs"


class Burst:
    """The last outcomes of one arm at one gateway. Once tripped it stays so."""

    __slots__ = ("_outcomes", "_row", "failures_at_most", "in_a_row_at_most", "seen", "tripped")

    def __init__(self, in_a_row: int, share: float) -> None:
        self.in_a_row_at_most = in_a_row
        self.failures_at_most = max(1, ceil(share * WINDOW - 1e-9))
        self.seen = 0
        self.tripped: Trip | None = None
        self._outcomes = 0  # a bit each, the newest is the lowest; 1: it failed
        self._row = 0

    def record(self, *, failed: bool) -> bool:
        """Count an outcome; True when this one trips it."""
        self.seen += 1
        self._outcomes = ((self._outcomes << 1) | failed) & _MASK
        self._row = self._row + 1 if failed else 0
        if self.tripped is not None or not failed:
            return False
        if self._row >= self.in_a_row_at_most:
            self.tripped = Trip.IN_A_ROW
        elif self.failures >= self.failures_at_most:
            self.tripped = Trip.SHARE
        return self.tripped is not None

    def hang(self, count: int) -> None:
        """So many exchanges wait far longer than usual, at once: each is a failure, though it has not ended."""
        self.seen += count
        self._outcomes = ((self._outcomes << count) | ((1 << count) - 1)) & _MASK
        self._row += count
        self.tripped = self.tripped or Trip.HANGS

    @property
    def failures(self) -> int:
        """Of the last outcomes."""
        return self._outcomes.bit_count()

    @property
    def of(self) -> int:
        """How many outcomes these are."""
        return min(self.seen, WINDOW)


def burst_of(rollout: Rollout) -> Burst:
    """A count for one of its arms. Without analysis the usual bounds count."""
    analysis = rollout.analysis or _DEFAULTS
    return Burst(analysis.burst_errors, analysis.burst_error_rate)


def counts_empty(rollout: Rollout) -> bool:
    """Whether an empty answer is a failure: when the rate of these is watched."""
    metrics = () if rollout.analysis is None else rollout.analysis.metrics
    return any(metric.name == "empty_rate" and metric.role == "guardrail" for metric in metrics)
