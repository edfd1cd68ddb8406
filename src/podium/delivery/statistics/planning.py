"""How many samples it takes to see an effect, and which effect so many samples can show.

Samples are a metric's `x`: exchanges, for metrics of exchanges. What subjects have in common is in the variance of a
sample (`Expected.of_sums`), so counts here are of exchanges as they come, not of independent ones.

Plans take it that new subjects keep coming as they did. Where a fixed crowd comes back, more exchanges say less and
less.

Sequential: the sample by which a confidence sequence has left the margin behind. What is computed is the chance that it
does so at that very sample; that it did before adds to it, so samples are stated on the safe side.
"""

from dataclasses import dataclass, replace
from math import ceil, exp, inf, sqrt
from typing import Self

from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.rates import SHARE_OF_LARGE
from podium.delivery.statistics.sequences import multiplier
from podium.delivery.statistics.special import normal_cdf, normal_quantile
from podium.delivery.statistics.sums import Sums

__all__ = ["Expected", "Look", "days", "detection_power", "minimum_detectable_effect", "sample_size", "subjects_of"]

_MOST_SAMPLES = 2**50
_HALVINGS = 60
_SAFE = 2.0  # standard errors; that of a variance's logarithm is sqrt(2 / (n - 1)), if tails are not too heavy


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a metric before: its value, and the variance that one sample brings."""

    value: float
    variance: float  # of the metric's estimate, times samples
    samples_per_subject: float = 1.0
    design_effect: float | None = None  # of a rate: variance over that of independent trials; None: no rate

    @classmethod
    def of_mean(cls, value: float, deviation: float) -> Self:
        """A mean of independent samples."""
        return cls(value, deviation**2)

    @classmethod
    def of_rate(cls, value: float, design_effect: float = 1.0) -> Self:
        """A share of exchanges; `design_effect` says how much more alike those of one subject are (1: not at all)."""
        return cls(value, design_effect * value * (1 - value), design_effect=design_effect)

    @classmethod
    def of_sums(cls, sums: Sums, *, rate: bool = False) -> Self | None:
        """From traffic as it is; None with fewer than two subjects.

        How sure a variance is depends on how many subjects (or groups of them) it comes from: it is taken two
        standard errors larger than it seems, so that samples are rarely stated too small.
        """
        effect = compare(sums, sums, rate=rate)
        if effect is None or not sums.n:
            return None
        variance = effect.variance / 2 * sums.total_x * exp(_SAFE * sqrt(2 / (sums.n - 1)))
        value = effect.baseline
        independent = value * (1 - value)
        design_effect = max(1.0, variance / independent if independent > 0 else 1.0) if rate else None
        return cls(value, variance, sums.x, design_effect)

    def with_history(self, correlation: float) -> Self:
        """With CUPED, where a subject's values before and during correlate so much."""
        return replace(self, variance=self.variance * (1 - correlation**2))

    def variance_at(self, value: float) -> float:
        """Of one sample, if the metric were this: that of rates depends on it."""
        if self.design_effect is None:
            return self.variance
        independent = self.value * (1 - self.value)
        factor = self.variance / independent if independent > 0 else self.design_effect
        rate = min(max(value, 0.0), 1.0)
        return factor * rate * (1 - rate)


@dataclass(frozen=True, slots=True)
class Look:
    """How the arms are compared."""

    alpha: float = 0.05
    side: Side = Side.BOTH
    tuning: float | None = None  # of the confidence sequence, samples of both arms; None: looked at once, at the end
    margin: float = 0.0  # towards the effect; only what goes beyond is to be seen
    ratio: float = 1.0  # samples of the candidate, for each of the baseline's
    relative: bool = False  # effects and the margin are shares of the baseline's value
    known_baseline: bool = False  # its value is certain: pairs of answers, of which half are won when both are as good

    def half_width(self, samples: float, *, rate: bool) -> float:
        """In standard errors, when the baseline has so many samples; rates spend a part of alpha on small samples."""
        if self.tuning is None:
            return normal_quantile(1 - (self.alpha / 2 if self.side is Side.BOTH else self.alpha))
        alpha = self.alpha * SHARE_OF_LARGE if rate else self.alpha
        return multiplier(samples * (1 + self.ratio), alpha=alpha, tuning=self.tuning, side=self.side)


def detection_power(expected: Expected, effect: float, samples: float, look: Look = Look()) -> float:
    """The chance that an effect (in the metric's unit) is seen with so many samples of the baseline."""
    error = _standard_error(expected, effect, samples, look)
    beyond = (abs(effect) - look.margin) / error if error else inf
    width = look.half_width(samples, rate=expected.design_effect is not None)
    return normal_cdf(beyond - width) + (normal_cdf(-beyond - width) if look.side is Side.BOTH else 0.0)


def sample_size(expected: Expected, effect: float, *, power: float = 0.8, look: Look = Look()) -> int | None:
    """The baseline's samples by which the effect is seen with this chance; None: never.

    With `power` 0.5 and a sequence: about when half of such rollouts have been decided.
    """
    if abs(effect) <= look.margin:
        return None
    low, high = 0, 1
    while detection_power(expected, effect, high, look) < power:
        low, high = high, high * 2
        if high > _MOST_SAMPLES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detection_power(expected, effect, middle, look) >= power else (middle, high)
    return high


def minimum_detectable_effect(
    expected: Expected,
    samples: float,
    *,
    power: float = 0.8,
    look: Look = Look(),
    falls: bool = False,
) -> float | None:
    """The smallest effect that so many samples of the baseline show with this chance; None: not even the largest rate.

    `falls`: downwards, and negative.
    """
    sign, unit = -1 if falls else 1, expected.value if look.relative else 1.0
    if expected.design_effect is not None:
        high = (expected.value if falls else 1 - expected.value) / unit
        if high <= 0 or detection_power(expected, sign * high, samples, look) < power:
            return None
    else:
        high = max(look.margin, sqrt(expected.variance / samples) / abs(unit), 1e-12)
        while detection_power(expected, sign * high, samples, look) < power:
            high *= 2
    low = look.margin
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = detection_power(expected, sign * middle, samples, look) >= power
        low, high = (low, middle) if enough else (middle, high)
    return sign * high


def days(samples: float, *, samples_per_day: float, share: float) -> float:
    """How long an arm with this share of the traffic needs for its samples; infinite without traffic."""
    reaching = samples_per_day * share
    return samples / reaching if reaching > 0 else inf


def subjects_of(expected: Expected, samples: float) -> int:
    """How many subjects bring so many samples, if they are as busy as before."""
    return ceil(samples / expected.samples_per_subject)


def _standard_error(expected: Expected, effect: float, samples: float, look: Look) -> float:
    """Of the difference of both arms, in the unit of the effect."""
    unit = expected.value if look.relative else 1.0
    after = expected.value + effect * unit
    before = expected.variance * ((after / unit) ** 2 if look.relative else 1.0) * (not look.known_baseline)
    return sqrt((before + expected.variance_at(after) / look.ratio) / samples) / abs(unit)
