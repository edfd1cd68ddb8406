"""Rates that are valid at any sample, however small: for 0 errors of 5 as for 5 of 5.

The confidence sequence of Robbins (1970, "Statistical methods related to the law of the iterated logarithm") for
Bernoulli trials: the likelihood, mixed over a beta distribution of rates, is compared to that of each rate; what lies
below by a factor of `alpha` is left out. A difference of two arms is bounded by both arms' bounds at half the level.

Exchanges of one subject are not independent trials: `independent` shrinks counts to as many as they are worth.
"""

from math import inf, log, log1p

from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import Interval, Side
from podium.delivery.statistics.sequences import MINIMUM_SUBJECTS, TUNING, enough, sequential_interval
from podium.delivery.statistics.special import log_beta
from podium.delivery.statistics.sums import Sums

__all__ = ["SHARE_OF_LARGE", "guarded_rate_interval", "independent", "rate_difference", "rate_interval"]

SHARE_OF_LARGE = 0.9  # of alpha, for large samples; the rest is for small ones

_PRIOR = 0.5  # both parameters of the beta distribution: Jeffreys' prior, at ease near 0 and 1
_HALVINGS = 60


def rate_interval(hits: float, trials: float, *, alpha: float = 0.05) -> Interval:
    """The confidence sequence of one rate; [0, 1] when nothing was tried."""
    estimate = hits / trials if trials else 0.5
    misses = trials - hits
    limit = log_beta(hits + _PRIOR, misses + _PRIOR) - log_beta(_PRIOR, _PRIOR) + log(alpha)
    lower = _edge(hits, misses, limit, 0.0, estimate) if hits else 0.0
    upper = _edge(hits, misses, limit, 1.0, estimate) if misses else 1.0
    return Interval(estimate, lower, upper, alpha)


def rate_difference(
    baseline: tuple[float, float], candidate: tuple[float, float], *, alpha: float = 0.05, side: Side = Side.BOTH
) -> Interval:
    """Candidate's rate less baseline's, each given as hits and trials; valid at any sample, and wide.

    An open side saves nothing: Robbins' sequence has two.
    """
    before = rate_interval(*baseline, alpha=alpha / 2)
    after = rate_interval(*candidate, alpha=alpha / 2)
    return Interval(
        after.estimate - before.estimate,
        -inf if side is Side.UPPER else after.lower - before.upper,
        inf if side is Side.LOWER else after.upper - before.lower,
        alpha,
    )


def independent(sums: Sums, minimum: float = MINIMUM_SUBJECTS) -> tuple[float, float]:
    """Hits and trials, shrunk by how much more alike a subject's exchanges are than independent ones (design effect).

    That can be told from many subjects only, some with hits and some without; else each subject counts as one trial.
    """
    hits, trials, ratio, subjects = sums.total_y, sums.total_x, sums.ratio, sums.effective_subjects
    if ratio is None:
        return 0.0, 0.0
    alike = trials / subjects
    if subjects >= minimum and 0 < ratio < 1:
        residual = sums.yy - 2 * ratio * sums.xy + ratio * ratio * sums.xx
        alike = residual / (sums.n - 1) / sums.x / (ratio * (1 - ratio))
    alike = max(1.0, alike)
    return hits / alike, trials / alike


def guarded_rate_interval(
    baseline: Sums,
    candidate: Sums,
    *,
    alpha: float = 0.05,
    tuning: float = TUNING,
    side: Side = Side.BOTH,
    minimum: float = MINIMUM_SUBJECTS,
    cuped: bool = False,
) -> Interval:
    """The difference of two rates at any sample: a tenth of `alpha` for small ones, the rest for large ones.

    The two intervals' intersection; from `minimum` subjects an arm on the second is the narrower. Before, only what is
    plain to see leaves it: an arm that always fails is told apart after some ten subjects. `cuped`: of the second one.
    """
    counts = independent(baseline, minimum), independent(candidate, minimum)
    exact = rate_difference(*counts, alpha=alpha * (1 - SHARE_OF_LARGE), side=side)
    effect = compare(baseline, candidate, rate=True, cuped=cuped)
    if effect is None or not enough(effect, minimum):
        return Interval(exact.estimate, exact.lower, exact.upper, alpha)
    large = sequential_interval(effect, alpha=alpha * SHARE_OF_LARGE, tuning=tuning, side=side)
    lower, upper = max(exact.lower, large.lower), min(exact.upper, large.upper)
    if lower > upper:  # they contradict each other: an estimate of the variance went wrong
        lower, upper = exact.lower, exact.upper
    return Interval(large.estimate, lower, upper, alpha)


def _edge(hits: float, misses: float, limit: float, outside: float, inside: float) -> float:
    """Where the likelihood falls below `limit`, between a rate that is left out and the estimate; errs outwards."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if 0 < middle < 1 and hits * log(middle) + misses * log1p(-middle) > limit:
            inside = middle
        else:
            outside = middle
    return outside
