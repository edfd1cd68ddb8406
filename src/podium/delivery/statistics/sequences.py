"""Intervals and p-values that stay valid however often one looks: asymptotic confidence sequences.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences"
(Annals of Statistics 2024, arXiv:2103.06476): two-sided theorem 2.2, with the tuning of its section on rho (as
GrowthBook uses it, with 5000). One-sided: the half-normal mixture of Howard, Ramdas, McAuliffe and Sekhon (Annals of
Statistics 2021, arXiv:1810.08240, proposition 6), solved instead of bounded.

The clock is the number of samples (`x`) of both arms, not of subjects: a subject who comes back brings news. Where a
subject's samples are alike, the estimate moves less than independent samples would let it, and less often leaves
the interval (Slepian's inequality): the sequence is then wider than it need be, never too narrow.

They are asymptotic: below some count of subjects in each arm, the estimate of the variance is no guide. Ask `enough`
first. How many that takes depends on tails: of means of times as they are (log-normal, with a spread of 1.5), in arms
of 1 to 4, a tenth leaves a sequence of 5% from 50 subjects on, for a few large ones rule them; in arms of one size 1.6%
do. So the times of exchanges are compared as logarithms, and arms should be of one size.
"""

from math import exp, inf, log, log1p, sqrt

from podium.delivery.statistics.effect import Effect
from podium.delivery.statistics.intervals import Interval, Side
from podium.delivery.statistics.special import log_normal_cdf

__all__ = [
    "MINIMUM_SUBJECTS",
    "TUNING",
    "enough",
    "multiplier",
    "sequential_interval",
    "sequential_p_value",
]

TUNING = 5000.0  # GrowthBook's; the sequence is tightest near this sample
MINIMUM_SUBJECTS = 50  # in each arm, of even weight; simulated with subjects of very different weights too

_CLOSE = 1e-12


def enough(effect: Effect | None, minimum: float = MINIMUM_SUBJECTS) -> bool:
    """True when each arm has as many subjects as the limit theorem needs.

    One subject with most of the traffic counts as one: its own residual says nothing of how subjects differ.
    """
    return effect is not None and effect.subjects >= minimum


def multiplier(samples: float, *, alpha: float, tuning: float = TUNING, side: Side = Side.BOTH) -> float:
    """The half width in standard errors, when so many samples have been seen."""
    if samples <= 0:
        return inf
    grown = 1 + samples * _density(alpha, tuning, side)  # 1 + t rho²
    if side is Side.BOTH:
        return sqrt(grown / (grown - 1) * (2 * log(1 / alpha) + log(grown)))
    return _half_normal(log(1 / (2 * alpha)) + log(grown) / 2) * sqrt(grown / (grown - 1))


def sequential_interval(
    effect: Effect, *, alpha: float = 0.05, tuning: float = TUNING, side: Side = Side.BOTH
) -> Interval:
    """The confidence sequence's interval of now.

    `tuning` is the sample (of both arms) at which it is tightest; `planning` says which one an effect needs.
    """
    half_width = multiplier(effect.samples, alpha=alpha, tuning=tuning, side=side) * sqrt(effect.variance)
    return Interval.around(effect.estimate, half_width, alpha, side)


def sequential_p_value(
    effect: Effect, *, null: float = 0.0, alpha: float = 0.05, tuning: float = TUNING, side: Side = Side.BOTH
) -> float:
    """The smallest level at which this look alone rejects; the smallest of all looks is valid too.

    `alpha` only tunes the mixture: p <= alpha just when the interval of that alpha leaves `null` out.
    """
    distance = (effect.estimate - null) * (-1 if side is Side.UPPER else 1)
    if not effect.variance or not effect.samples:
        return 1.0 if not effect.samples or distance == 0 or (side is not Side.BOTH and distance < 0) else 0.0
    grown = 1 + effect.samples * _density(alpha, tuning, side)
    z = distance / sqrt(effect.variance) * sqrt((grown - 1) / grown)
    log_e_value = z * z / 2 - log(grown) / 2
    if side is not Side.BOTH:
        log_e_value += log(2) + log_normal_cdf(z)
    return exp(min(0.0, -log_e_value))


def _density(alpha: float, tuning: float, side: Side) -> float:
    """rho²: tightest at `tuning` samples; one side spends what two would at twice the level."""
    twice_log = -2 * log(min(alpha if side is Side.BOTH else 2 * alpha, 0.5))
    return (twice_log + log1p(twice_log)) / tuning


def _half_normal(target: float) -> float:
    """The z at which z² / 2 + log cdf(z) is `target`, by Newton's rule; it rises everywhere."""
    z = sqrt(max(1.0, 2 * target))
    for _ in range(50):
        log_cdf = log_normal_cdf(z)
        density = exp(-z * z / 2 - log_cdf) / 2.5066282746310002  # the root of 2 pi
        step = (z * z / 2 + log_cdf - target) / (z + density)
        z -= step
        if abs(step) < _CLOSE * max(1.0, abs(z)):
            break
    return z
