"""How slow the slowest are: quantiles of times, from how many exchanges took how long, valid at any number of looks.

That 95% take no longer than so much is that at most 5% do, which is a rate. So the quantile is surely above a time when
the rate of those that took longer is surely above the rest; of the times that can be said of, the longest counts. (This
holds at once for all of them: if one says too much, the one at the true quantile does.)

Exchanges are counted by bucket, not by subject. How much more alike a subject's are than independent ones is told by
the logarithms of the same times, whose sums are by subject: their mean varies more than their spread alone would have
it. What is over or under a line is no more alike than what it was made of.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate
from math import fsum, inf, log

from podium.delivery.analysis.tally import bucket_ms
from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import Interval
from podium.delivery.statistics.rates import rate_interval
from podium.delivery.statistics.sums import Sums

__all__ = ["Times", "quantile_interval"]

Times = Mapping[str, Mapping[str, Mapping[int, int]]]  # by arm and measure: exchanges in each bucket of the tally


def quantile_interval(
    buckets: Mapping[int, int], sums: Sums, share: float, *, alpha: float, minimum: float
) -> Interval | None:
    """The logarithm of the time, milliseconds, that this share of exchanges takes at most; it has a lower bound only.

    `sums`: of the logarithms. None: nothing was counted.
    """
    whole = sum(buckets.values())
    if not whole or not sums.n:
        return None
    order = sorted(buckets, reverse=True)
    slower = list(accumulate(buckets[bucket] for bucket in order))
    estimate = _middle(order[bisect_right(slower, (1 - share) * whole)])
    alike = _alike(buckets, sums, minimum)
    surely = bisect_left(
        slower, True, key=lambda count: rate_interval(count / alike, whole / alike, alpha=alpha).above(1 - share)
    )
    lower = log(bucket_ms(order[surely])[0]) if surely < len(order) else -inf
    return Interval(estimate, lower, inf, alpha)


def _alike(buckets: Mapping[int, int], sums: Sums, minimum: float) -> float:
    """How many exchanges say as much as one independent one; of few subjects each says as much as one exchange."""
    whole, each = sum(buckets.values()), max(1.0, sums.total_x / sums.effective_subjects)
    effect = compare(Sums(sums.n, 0.0, sums.x, xx=sums.xx), sums)
    if effect is None or effect.subjects < minimum:
        return each
    mean = fsum(count * _middle(bucket) for bucket, count in buckets.items()) / whole
    spread = fsum(count * (_middle(bucket) - mean) ** 2 for bucket, count in buckets.items()) / whole
    return max(1.0, effect.variance * whole / spread) if spread else each


def _middle(bucket: int) -> float:
    low, high = bucket_ms(bucket)
    return (log(low) + log(high)) / 2
