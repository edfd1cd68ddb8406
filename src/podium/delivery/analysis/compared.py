"""One measure of two arms: how far apart they are, how sure that is, and whether it is worse than it may be."""

from collections.abc import Callable
from math import expm1, inf, isfinite, log1p
from typing import Literal

import msgspec

from podium.core.rollouts import Metric
from podium.delivery.statistics.effect import compare, variance_reduction
from podium.delivery.statistics.intervals import Interval, Side, fixed_interval
from podium.delivery.statistics.rates import guarded_rate_interval
from podium.delivery.statistics.sequences import MINIMUM_SUBJECTS, sequential_interval
from podium.delivery.statistics.sums import Sums

__all__ = ["LOGARITHMS", "RATES", "Look", "MetricResult", "compared", "direction_of", "pairs_reference"]

RATES = frozenset(
    {
        "error_rate",
        "empty_rate",
        "truncated_rate",
        "refusal_rate",
        "invalid_format_rate",
        "thumbs_up_rate",
        "task_done_rate",
        "call_failure_rate",
    }
)
LOGARITHMS = frozenset({"ttft_ms", "duration_ms", "call_wait_ms"})
_HIGHER = frozenset({"thumbs_up_rate", "feedback_score", "task_done_rate", "judge_score"})
_NEITHER = frozenset({"input_tokens", "output_tokens"})
_LARGEST = 700.0  # logarithm
_NOTHING = 1e-9  # nothing is a share of so little
_EVEN = 0.5  # the score of a pair of answers that are equally good

Decision = Literal["worse", "no_worse", "undecided", "too_few", "no_data", "shown"]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How a measure is looked at."""

    alpha: float  # of "it is worse"
    proof_alpha: float  # of "it is no worse", and of what is only shown
    tuning: float  # samples of both arms at which intervals are narrowest
    minimum_subjects: int
    once: bool = False  # nobody looks again: intervals of a fixed sample, which are narrower


class MetricResult(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of an arm against the arm that it is compared to. Bounds that there are none of are null.

    `scale`: of effect, bounds and margin: `relative` is a share of the other arm's, `absolute` the measure's own unit.
    Of times the typical one (geometric mean) is compared. With history the effect is adjusted, `reference` and `value`
    are not.
    """

    name: str
    arm: str
    role: str
    decision: Decision
    scale: Literal["relative", "absolute"]
    effect: float | None
    lower: float | None
    upper: float | None
    margin: float  # worse by more than this is a failure
    higher_is_better: bool | None
    reference: float | None  # of the arm that it is compared to
    value: float | None
    reference_samples: float
    samples: float
    subjects: float  # of the arm with fewer, at even weight
    alpha: float
    variance_reduction: float | None = None  # by what subjects did before (CUPED): a share; null: no history


def direction_of(metric: Metric) -> bool | None:
    """Whether more is better; None: neither is."""
    if metric.higher_is_better is not None:
        return metric.higher_is_better
    return None if metric.name in _NEITHER else metric.name in _HIGHER


def pairs_reference(candidate: Sums) -> Sums:
    """What scores of pairs are compared to: as many of them, each exactly even."""
    half, quarter = _EVEN, _EVEN * _EVEN
    return Sums(
        candidate.n,
        half * candidate.x,
        candidate.x,
        yy=quarter * candidate.xx,
        xx=candidate.xx,
        xy=half * candidate.xx,
    )


def compared(metric: Metric, arm: str, baseline: Sums, candidate: Sums, look: Look, *, name: str = "") -> MetricResult:
    """Compare. `name`: of what is measured, when it is none that operators name."""
    name = name or metric.name
    if name == "judge_score" and not baseline.n:
        baseline = pairs_reference(candidate)
    better = direction_of(metric)
    judged = metric.role != "info" and better is not None
    scale, margin, ends, shown = _scale(metric, name, baseline)
    worse_side = (Side.UPPER if better else Side.LOWER) if judged else Side.BOTH
    interval = ends(baseline, candidate, look, look.alpha if judged else look.proof_alpha, worse_side)
    decision: Decision = "shown" if interval is not None else "no_data"
    subjects = min(baseline.effective_subjects, candidate.effective_subjects)
    if judged and interval is not None:
        decision = _decision(interval, margin, better=bool(better))
        if decision == "undecided":
            proof = ends(baseline, candidate, look, look.proof_alpha, Side.LOWER if better else Side.UPPER)
            if proof is not None and (proof.lower >= -margin if better else proof.upper <= margin):
                decision = "no_worse"
            elif subjects < look.minimum_subjects:
                decision = "too_few"
    told = interval.mapped(shown) if interval is not None else None
    logarithm = name in LOGARITHMS
    return MetricResult(
        name=name,
        arm=arm,
        role=metric.role,
        decision=decision,
        scale=scale,
        effect=_finite(told.estimate) if told else None,
        lower=_finite(told.lower) if told else None,
        upper=_finite(told.upper) if told else None,
        margin=shown(margin),
        higher_is_better=better,
        reference=_value(baseline, logarithm=logarithm),
        value=_value(candidate, logarithm=logarithm),
        reference_samples=baseline.total_x,
        samples=candidate.total_x,
        subjects=subjects,
        alpha=look.alpha if judged else look.proof_alpha,
        variance_reduction=variance_reduction(baseline, candidate, relative=ends is _shares, rate=ends is _rates),
    )


def _decision(interval: Interval, margin: float, *, better: bool) -> Decision:
    worse = interval.below(-margin) if better else interval.above(margin)
    return "worse" if worse else "undecided"


_Ends = Callable[[Sums, Sums, Look, float, Side], Interval | None]


def _scale(
    metric: Metric, name: str, baseline: Sums
) -> tuple[Literal["relative", "absolute"], float, _Ends, Callable[[float], float]]:
    """The scale, the margin on the scale of the interval, how that is made, and how it is shown."""
    before = baseline.ratio or 0.0
    if name in RATES:
        return "absolute", metric.tolerance * (1 if metric.absolute else before), _rates, float
    if name in LOGARITHMS:
        share = metric.tolerance / (_factor(before) + 1) if metric.absolute else metric.tolerance
        return "relative", log1p(share), _means, _factor
    if metric.absolute or abs(before) < _NOTHING:
        return "absolute", metric.tolerance if metric.absolute else 0.0, _means, float
    return "relative", metric.tolerance, _shares, float


def _rates(baseline: Sums, candidate: Sums, look: Look, alpha: float, side: Side) -> Interval | None:
    if not baseline.total_x or not candidate.total_x:
        return None
    if look.once:
        effect = compare(baseline, candidate, rate=True, cuped=True)
        return fixed_interval(effect, alpha=alpha, side=side) if effect is not None else None
    least = max(look.minimum_subjects, MINIMUM_SUBJECTS)
    return guarded_rate_interval(
        baseline, candidate, alpha=alpha, tuning=look.tuning, side=side, minimum=least, cuped=True
    )


def _means(baseline: Sums, candidate: Sums, look: Look, alpha: float, side: Side) -> Interval | None:
    return _sequence(baseline, candidate, look, alpha, side, relative=False)


def _shares(baseline: Sums, candidate: Sums, look: Look, alpha: float, side: Side) -> Interval | None:
    return _sequence(baseline, candidate, look, alpha, side, relative=True)


def _sequence(
    baseline: Sums, candidate: Sums, look: Look, alpha: float, side: Side, *, relative: bool
) -> Interval | None:
    effect = compare(baseline, candidate, relative=relative, cuped=True)
    if effect is None:
        return None
    if look.once:
        return fixed_interval(effect, alpha=alpha, side=side)
    if effect.subjects < max(look.minimum_subjects, MINIMUM_SUBJECTS):  # variances of so few are no guide
        return Interval.around(effect.estimate, inf, alpha, side)
    return sequential_interval(effect, alpha=alpha, tuning=look.tuning, side=side)


def _value(sums: Sums, *, logarithm: bool) -> float | None:
    if sums.ratio is None:
        return None
    return _finite(_factor(sums.ratio) + 1) if logarithm else _finite(sums.ratio)


def _factor(logarithm: float) -> float:
    """How much more that is, as a share; infinite beyond all numbers."""
    return expm1(logarithm) if logarithm < _LARGEST else inf


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
