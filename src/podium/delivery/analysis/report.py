"""All measures of all arms, for people: effects with intervals that end on both sides and allow peeking.

Segments are for experiments (podium.delivery.experiments.segments): sums here are by arm, backend and subjects.
"""

from collections.abc import Iterable
from math import sqrt

from podium.core.rollouts import Analysis, Metric, MetricName, Progress, Rollout
from podium.delivery.analysis.compared import Look, MetricResult, compared
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import Observed, reference_of, shares_of
from podium.delivery.analysis.tally import bucket_ms
from podium.delivery.statistics.quantiles import Histogram

__all__ = ["effects_of", "quantiles_of"]

_DECLARABLE: tuple[MetricName, ...] = MetricName.__args__  # type: ignore[attr-defined]
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def effects_of(
    rollout: Rollout, progress: Progress, observed: Observed, *, taken_out: frozenset[str] = frozenset()
) -> tuple[MetricResult, ...]:
    """Every measure of every arm against the one that it is compared to, each at the usual level by itself.

    A measure that the rollout declares keeps its role; none decides anything here.
    """
    analysis = rollout.analysis or Analysis(metrics=())
    declared = {metric.name: metric for metric in analysis.metrics}
    alpha = analysis.false_return_rate
    look = Look(
        alpha=alpha,
        proof_alpha=alpha,
        tuning=2.0 * analysis.target_samples,
        minimum_subjects=analysis.minimum_subjects,
    )
    reference = reference_of(rollout)
    told = []
    for arm in shares_of(progress.arms) or {seen.name for seen in observed.arms}:
        if arm == reference:
            continue
        for name in _DECLARABLE:
            metric = Metric(name=name, role="info", absolute=declared[name].absolute if name in declared else False)
            baseline = observed.sums(reference, name, without=taken_out)
            candidate = observed.sums(arm, name, without=taken_out)
            if baseline.n or candidate.n:
                told.append(compared(metric, arm, baseline, candidate, look))
    return tuple(told)


def quantiles_of(buckets: Iterable[tuple[int, int]]) -> dict[str, float]:
    """Of a histogram's buckets and counts, milliseconds; empty when nothing was counted."""
    histogram = Histogram()
    for bucket, count in buckets:
        low, high = bucket_ms(bucket)
        histogram.add(sqrt(low * high), count)
    found = {name: histogram.quantile(share) for name, share in _QUANTILES.items()}
    return {name: value for name, value in found.items() if value is not None}


assert set(_DECLARABLE) <= set(INDEX)
