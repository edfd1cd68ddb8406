"""What a series of interleaved rounds says: ratios within a round, their median and their spread. Pure."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Spread", "pairwise_ratios", "spread_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of a series."""

    median: float
    low: float
    high: float
    count: int

    def contains(self, value: float) -> bool:
        """Whether the series reaches from one side of `value` to the other: then it says nothing about it."""
        return self.low <= value <= self.high


def spread_of(values: list[float]) -> Spread | None:
    """Median, least and greatest; None of nothing."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def pairwise_ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours over theirs for each round that has both; a round of one alone, or over zero, says nothing."""
    return [ours[number] / theirs[number] for number in sorted(ours) if theirs.get(number, 0) > 0]
