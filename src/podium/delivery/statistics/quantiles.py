"""Quantiles of times, from counts in buckets that grow by a factor: mergeable, small, and never far off.

Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees" (VLDB 2019).
Each quantile is off by at most 1% of the value that stands at its rank.
"""

from collections.abc import Iterable, Mapping
from math import ceil, floor, log

__all__ = ["RELATIVE_ERROR", "Histogram"]

RELATIVE_ERROR = 0.01
_LOWEST, _HIGHEST = 1e-3, 1e9  # values beyond count as these: at most 1,383 buckets
_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH = log(_GROWTH)


class Histogram:
    """Counts of positive values by bucket."""

    __slots__ = ("_counts", "_total")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """From what `counts` gave before; empty without."""
        self._counts = dict(counts or {})
        self._total = sum(self._counts.values())

    @classmethod
    def of(cls, values: Iterable[float]) -> "Histogram":
        """Of these values."""
        histogram = cls()
        for value in values:
            histogram.add(value)
        return histogram

    @property
    def total(self) -> int:
        """How many values were counted."""
        return self._total

    def counts(self) -> dict[int, int]:
        """By bucket, a copy: bucket i has the values up to 1.0202 to the power of i."""
        return dict(self._counts)

    def add(self, value: float, count: int = 1) -> None:
        """Count a value."""
        bucket = ceil(log(min(max(value, _LOWEST), _HIGHEST)) / _LOG_GROWTH)
        self._counts[bucket] = self._counts.get(bucket, 0) + count
        self._total += count

    def merge(self, other: "Histogram") -> None:
        """Count another's values too."""
        for bucket, count in other.counts().items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self._total += other.total

    def quantile(self, share: float) -> float | None:
        """The value at this share of the ranks (0.5: the median), to 1%; None when nothing was counted."""
        if not self._total:
            return None
        rank, seen = floor(share * (self._total - 1)), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen > rank:
                break
        return float(2 * _GROWTH**bucket / (_GROWTH + 1))
