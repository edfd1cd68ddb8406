"""How far a candidate lies from its baseline, and how sure that is.

A metric is a ratio of totals, `y` over `x`, and subjects are the independent units: the variance of a ratio is that of
each subject's residual `y - ratio * x` (delta method; Deng, Knoblich and Lu, "Applying the delta method in metric
analytics", KDD 2018). A plain mean is the case of `x` = 1, where it is the well-known variance of a mean.

CUPED (Deng, Xu, Kohavi and Walker, WSDM 2013) takes out what was known of subjects before: each arm's ratio less theta
times how far its mean of `z` lies from that of both arms, with one theta for both from the co-moments within them, as
in a regression on arm and `z`. A relative effect is that of the adjusted ratios, its variance by the delta method too.

Rates (`y` counts some of the `x`) get a floor: no arm's variance is smaller than that of independent trials whose rate
is (y + 1) / (x + 2). So 0 errors of n is not taken for certainty. Everything else has a floor for the sake of rounding:
values that never differ have means that differ in the last digit.
"""

from dataclasses import dataclass

from podium.delivery.statistics.sums import Sums

__all__ = ["Effect", "compare", "variance_reduction"]

_FEWEST = 2  # subjects of an arm: one has no variance
_ROUNDING = 1e-9  # of a ratio, at most: the least deviation that its estimate has


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference, candidate less baseline; `relative`: as a share of the baseline."""

    estimate: float
    variance: float  # of the estimate
    degrees: float  # of freedom, by Welch and Satterthwaite
    samples: float  # `x` of both arms: the clock of sequences
    subjects: float  # of the arm with fewer, at even weight
    baseline: float  # each arm's own ratio, without CUPED
    candidate: float
    relative: bool = False


def compare(
    baseline: Sums, candidate: Sums, *, relative: bool = False, rate: bool = False, cuped: bool = False
) -> Effect | None:
    """The effect; None where an arm has fewer than two subjects or no `x`, or nothing to be relative to.

    `cuped`: where both arms have `z`; what one of them has alone says nothing of the other.
    """
    before, after = baseline.ratio, candidate.ratio
    if before is None or after is None or min(baseline.n, candidate.n) < _FEWEST or (relative and not before):
        return None
    theta = _theta(baseline, candidate, before, after) if cuped and baseline.zz and candidate.zz else 0.0
    share, moved = candidate.n / (baseline.n + candidate.n), theta * (candidate.z - baseline.z)
    low, high = before + share * moved, after - (1 - share) * moved  # at the mean `z` of both arms
    if relative and not low:
        return None
    # How the estimate follows each arm's ratio, and its mean of `z`: the latter alike in both, with other signs.
    slopes, with_z = (-1.0, 1.0), theta
    if relative:
        slopes, with_z = (-high / low**2, 1 / low), theta * (low + share * (high - low)) / low**2
    variances = [
        max(
            _variance(sums, ratio, slope, change),
            (_floor(sums) if rate else (_ROUNDING * ratio) ** 2) * slope**2,
        )
        for sums, ratio, slope, change in zip(
            (baseline, candidate), (before, after), slopes, (with_z, -with_z), strict=True
        )
    ]
    return Effect(
        (high - low) / low if relative else high - low,
        sum(variances),
        _degrees(variances, (baseline.n, candidate.n)),
        baseline.total_x + candidate.total_x,
        min(baseline.effective_subjects, candidate.effective_subjects),
        before,
        after,
        relative,
    )


def variance_reduction(baseline: Sums, candidate: Sums, *, relative: bool = False, rate: bool = False) -> float | None:
    """The share of the estimate's variance that CUPED takes out; None where there is none, or no `z` in an arm."""
    if not baseline.zz or not candidate.zz:
        return None
    plain, adjusted = (compare(baseline, candidate, relative=relative, rate=rate, cuped=one) for one in (False, True))
    if plain is None or adjusted is None or not plain.variance:
        return None
    return 1 - adjusted.variance / plain.variance


def _variance(sums: Sums, ratio: float, slope: float, with_z: float) -> float:
    """Of `slope` times an arm's ratio and `with_z` times its mean of `z`, together."""
    residual = (sums.yy - 2 * ratio * sums.xy + ratio * ratio * sums.xx) / sums.x**2
    both = slope * slope * residual + 2 * slope * with_z * _with_z(sums, ratio) + with_z * with_z * sums.zz
    return max(0.0, both) / (sums.n - 1) / sums.n


def _with_z(sums: Sums, ratio: float) -> float:
    """The co-moment of the residual and `z`."""
    return (sums.zy - ratio * sums.zx) / sums.x


def _theta(baseline: Sums, candidate: Sums, before: float, after: float) -> float:
    return (_with_z(baseline, before) + _with_z(candidate, after)) / (baseline.zz + candidate.zz)


def _floor(sums: Sums) -> float:
    rate = (min(max(sums.total_y, 0.0), sums.total_x) + 1) / (sums.total_x + 2)
    return rate * (1 - rate) / sums.total_x


def _degrees(variances: list[float], counts: tuple[int, int]) -> float:
    uncertain = sum(variance**2 / (count - 1) for variance, count in zip(variances, counts, strict=True))
    return sum(variances) ** 2 / uncertain if uncertain else float(sum(counts) - _FEWEST)
