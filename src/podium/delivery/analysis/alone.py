"""One arm by itself: against a limit that was declared, and against what the version before showed before a switch.

Where everybody has the new version there is nobody left to compare it with at the same time. What is left is the time
before: the version before was counted until the switch (podium.delivery.analysis.before), and is the reference. Times
differ, though, in traffic, prompts and providers' moods. So

- the two versions have a confidence sequence each, and the new one is worse only when its own best case lies beyond the
  worst case of the old one: two intervals that overlap prove nothing, however their difference looks;
- what is tolerated comes on top, and more than side by side: `RATE_MARGIN` of rates, the factor `MARGIN` of all else;
- only what is better when there is less of it is watched, and no opinions: these come late, and from other people.

Limits and this watch have `LEVEL` of the false returns to themselves, shared by all of them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from math import exp, expm1, inf, isfinite, log, log1p

from msgspec.structs import replace as changed

from podium.core.rollouts import Analysis, Metric, MetricName, Progress, Rollout
from podium.delivery.analysis.compared import LOGARITHMS, RATES, Look, MetricResult, direction_of
from podium.delivery.analysis.observed import Observed, windows
from podium.delivery.analysis.times import Times, quantile_interval
from podium.delivery.buckets import BASELINE
from podium.delivery.statistics.effect import Effect, compare
from podium.delivery.statistics.intervals import Interval, Side
from podium.delivery.statistics.rates import SHARE_OF_LARGE, independent, rate_interval
from podium.delivery.statistics.sequences import MINIMUM_SUBJECTS, sequential_interval
from podium.delivery.statistics.sums import Sums

__all__ = [
    "LEVEL",
    "LIMIT",
    "MARGIN",
    "RATE_MARGIN",
    "WATCH",
    "against_before",
    "against_limit",
    "held_alone",
    "looks_worse",
    "own_interval",
    "watched_metrics",
]

RATE_MARGIN = 0.02  # points of rates, besides the tolerance
MARGIN = 1.5  # times what is tolerated
LEVEL = 0.2  # of `false_return_rate`, besides it
LIMIT, WATCH = "limit", "watch"  # roles of results

_TUNING = 1000.0  # samples, counted twice: what is plainly worse is to be found soon
_MOST_LOGARITHM = 700.0
_NOTHING = 1e-9
_OPINIONS = frozenset({"thumbs_up_rate", "feedback_score", "task_done_rate", "judge_score"})
_ALWAYS: tuple[Metric, ...] = (
    Metric(name="error_rate", tolerance=0.005, absolute=True),
    Metric(name="empty_rate", tolerance=0.01, absolute=True),
    Metric(name="invalid_format_rate", tolerance=0.01, absolute=True),
    Metric(name="ttft_ms", tolerance=0.1),
)


def held_alone(
    rollout: Rollout,
    progress: Progress,
    arms: Collection[str],
    observed: Observed,
    before: Observed | None,
    look: Look,
    *,
    times: Times,
    without: Collection[str] = frozenset(),
) -> Iterator[MetricResult]:
    """These arms against limits, and against the version before the switch, where that is known.

    The level is shared out over all of it; limits are looked at in as many windows as comparisons are, and in the one
    that has none. `without`: backends that are left out, but for quantiles of times, which are of all of them.
    """
    analysis = rollout.analysis
    if analysis is None:
        return
    switches = rollout.strategy in ("canary", "blue_green")
    limited = [metric for metric in analysis.metrics if metric.limit is not None]
    watched = watched_metrics(analysis) if switches else ()
    looks = windows(rollout, progress.before) + int(switches)
    tests = len(watched) + len(limited) * looks * max(1, len({arm.name for arm in rollout.arms}) - 1)
    own = changed(look, alpha=LEVEL * analysis.false_return_rate / max(1, tests))
    for arm in arms:
        for metric in limited:
            sums = observed.sums(arm, metric.name, without=without)
            yield against_limit(metric, arm, sums, own, times.get(arm, {}).get(metric.name, {}))
        if before is None:
            continue
        for metric in watched:
            was, now = before.sums(BASELINE, metric.name), observed.sums(arm, metric.name, without=without)
            yield against_before(metric, arm, was, now, own)


def watched_metrics(analysis: Analysis) -> tuple[Metric, ...]:
    """What is watched after a switch: the usual four unless they are declared otherwise, and declared guardrails."""
    declared: dict[MetricName, Metric] = {metric.name: metric for metric in analysis.metrics}
    metrics = {metric.name: metric for metric in _ALWAYS} | declared
    return tuple(
        metric
        for metric in metrics.values()
        if metric.role != "info" and direction_of(metric) is False and metric.name not in _OPINIONS
    )


def own_interval(sums: Sums, alpha: float, side: Side, *, rate: bool, minimum: float) -> Interval | None:
    """The confidence sequence of one arm's ratio, valid at any number of looks; None: nothing is known of it.

    Of rates, as of two arms: a tenth of `alpha` is for small samples, and from `minimum` subjects on the rest for
    large ones. Of means there is no bound before that.
    """
    effect = _by_itself(sums, rate=rate)
    large = effect is not None and effect.subjects >= minimum
    if not rate:
        if effect is None or not large:
            return Interval.around(sums.ratio, inf, alpha, side) if sums.ratio is not None else None
        return sequential_interval(effect, alpha=alpha, tuning=_TUNING, side=side)
    if not sums.total_x:
        return None
    exact = rate_interval(*independent(sums, minimum), alpha=alpha * (1 - SHARE_OF_LARGE))
    lower, upper = exact.lower, exact.upper
    if effect is not None and large:
        narrow = sequential_interval(effect, alpha=alpha * SHARE_OF_LARGE, tuning=_TUNING, side=side)
        if max(lower, narrow.lower) <= min(upper, narrow.upper):  # else an estimate of the variance went wrong
            lower, upper = max(lower, narrow.lower), min(upper, narrow.upper)
    return Interval(
        sums.total_y / sums.total_x, -inf if side is Side.UPPER else lower, inf if side is Side.LOWER else upper, alpha
    )


def _by_itself(sums: Sums, *, rate: bool) -> Effect | None:
    """The difference to nothing. Rates have the floor that `compare` gives them."""
    effect = compare(Sums(sums.n, 0.0, sums.x, xx=sums.xx), sums)
    if effect is None or not rate:
        return effect
    likely = (min(max(sums.total_y, 0.0), sums.total_x) + 1) / (sums.total_x + 2)
    return replace(effect, variance=max(effect.variance, likely * (1 - likely) / sums.total_x))


def against_limit(
    metric: Metric, arm: str, sums: Sums, look: Look, buckets: Mapping[int, int] | None = None
) -> MetricResult:
    """Whether the arm is surely worse than the metric's limit. `effect` and bounds are how far it lies from that.

    `buckets`: how many exchanges took how long, for a limit of a quantile.
    """
    assert metric.limit is not None
    if metric.limit_quantile is not None:
        return _against_quantile(metric, arm, sums, look, buckets or {})
    limit = log(metric.limit) if metric.name in LOGARITHMS else metric.limit
    side = Side.UPPER if direction_of(metric) else Side.LOWER
    interval = own_interval(sums, look.alpha, side, rate=metric.name in RATES, minimum=_least(look))
    return _result(metric, arm, look, apart=_less(interval, limit), margin=0.0, sums=sums)


def _against_quantile(metric: Metric, arm: str, sums: Sums, look: Look, buckets: Mapping[int, int]) -> MetricResult:
    share = metric.limit_quantile
    assert metric.limit is not None
    assert share is not None
    interval = quantile_interval(buckets, sums, share, alpha=look.alpha, minimum=_least(look))
    told = _result(metric, arm, look, apart=_less(interval, log(metric.limit)), margin=0.0, sums=sums)
    value = exp(interval.estimate) if interval is not None else None
    return changed(told, name=f"{metric.name}_p{100 * share:g}", value=value)


def _less(interval: Interval | None, limit: float) -> Interval | None:
    return None if interval is None else interval.mapped(lambda value: value - limit)


def against_before(metric: Metric, arm: str, before: Sums, now: Sums, look: Look) -> MetricResult:
    """Whether the arm is surely worse than the version before was, by more than is tolerated between two times."""
    rate, least = metric.name in RATES, _least(look)
    old = own_interval(before, look.alpha / 2, Side.UPPER, rate=rate, minimum=least)
    new = own_interval(now, look.alpha / 2, Side.LOWER, rate=rate, minimum=least)
    apart, margin = _apart(metric, old, new) if old is not None and new is not None else (None, 0.0)
    return _result(metric, arm, look, apart=apart, margin=margin, sums=now, before=before)


def _apart(metric: Metric, old: Interval, new: Interval) -> tuple[Interval | None, float]:
    """How much worse the new one is, at least, and the margin: of rates as they are, of all else as logarithms."""
    if metric.name in RATES:
        tolerated = metric.tolerance * (1 if metric.absolute else old.estimate)
        return _between(old, new), tolerated + RATE_MARGIN
    if metric.name in LOGARITHMS:
        typical = exp(min(old.estimate, _MOST_LOGARITHM))
    elif old.estimate > _NOTHING and new.estimate > 0:
        typical, old, new = old.estimate, old.mapped(_logarithm), new.mapped(_logarithm)
    else:
        return None, 0.0  # nothing is a share of so little
    share = metric.tolerance / typical if metric.absolute else metric.tolerance
    return _between(old, new), log1p(share) + log(MARGIN)


def _between(old: Interval, new: Interval) -> Interval:
    """From the worst case of the one to the best case of the other."""
    return Interval(new.estimate - old.estimate, new.lower - old.upper, inf, old.alpha + new.alpha)


def looks_worse(result: MetricResult) -> bool:
    """Whether it lies beyond what is tolerated, though that is not sure."""
    if result.decision != "undecided" or result.effect is None:
        return False
    return result.effect < -result.margin if result.higher_is_better else result.effect > result.margin


def _result(
    metric: Metric,
    arm: str,
    look: Look,
    *,
    apart: Interval | None,
    margin: float,
    sums: Sums,
    before: Sums | None = None,
) -> MetricResult:
    """`before` None: the limit is what it is held against."""
    logarithm, better = metric.name in LOGARITHMS, direction_of(metric)
    relative = logarithm or (before is not None and metric.name not in RATES)
    shown = _factor if relative else float
    told = None if apart is None else apart.mapped(shown)
    worse = apart is not None and (apart.below(-margin) if better else apart.above(margin))
    return MetricResult(
        name=metric.name,
        arm=arm,
        role=LIMIT if before is None else WATCH,
        decision="no_data" if told is None else "worse" if worse else "undecided",
        scale="relative" if relative else "absolute",
        effect=_finite(told.estimate) if told else None,
        lower=_finite(told.lower) if told else None,
        upper=_finite(told.upper) if told else None,
        margin=shown(margin),
        higher_is_better=better,
        reference=metric.limit if before is None else _value(before, logarithm=logarithm),
        value=_value(sums, logarithm=logarithm),
        reference_samples=before.total_x if before is not None else 0.0,
        samples=sums.total_x,
        subjects=min(one.effective_subjects for one in (sums, before) if one is not None),
        alpha=look.alpha,
    )


def _least(look: Look) -> float:
    return max(look.minimum_subjects, MINIMUM_SUBJECTS)


def _factor(logarithm: float) -> float:
    """How much more that is, as a share."""
    return expm1(logarithm) if logarithm < _MOST_LOGARITHM else inf


def _logarithm(value: float) -> float:
    return log(value) if value > 0 else -inf


def _value(sums: Sums, *, logarithm: bool) -> float | None:
    if sums.ratio is None:
        return None
    return exp(min(sums.ratio, _MOST_LOGARITHM)) if logarithm else sums.ratio


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
