"""What was seen of each measure in an experiment, by the method that its design says."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from podium.core.experiments import Experiment, Method
from podium.core.measures import MetricName
from podium.core.rollouts import Analysis, Metric, Rollout
from podium.delivery.analysis.compared import Look, MetricResult, compared, direction_of
from podium.delivery.analysis.observed import Observed

__all__ = [
    "ABSOLUTE",
    "MEASURED",
    "Bounds",
    "EffectRow",
    "Finding",
    "decided",
    "declared_measures",
    "effect_of",
    "guard_look",
    "metric_of",
    "tuning_of",
]

MEASURED: tuple[MetricName, ...] = MetricName.__args__  # type: ignore[attr-defined]
# Scores are told apart by points, as rates are: a share of a score says little.
ABSOLUTE = frozenset({"feedback_score", "judge_score"})

Role = Literal["primary", "guardrail", "goal", "info"]
Finding = Literal["better", "worse", "different", "no_difference_seen", "too_few", "no_data"]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Where the effect lies. Null: no bound on this side."""

    lower: float | None
    upper: float | None


class EffectRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of one arm against the first arm."""

    measure: str
    arm: str
    role: Role
    scale: Annotated[
        Literal["relative", "absolute"],
        Meta(description="`relative`: effect and bounds are shares of the first arm's."),
    ]
    reference: Annotated[float | None, Meta(description="The first arm's; of times the typical one.")]
    value: float | None
    effect: float | None
    fixed: Annotated[Bounds | None, Meta(description="Valid for one look, at the planned sample.")]
    sequential: Annotated[Bounds | None, Meta(description="Valid however often one looks.")]
    alpha: Annotated[float, Meta(description="Of the intervals; of the primary measure shared out over the arms.")]
    samples: float
    reference_samples: float
    subjects: Annotated[float, Meta(description="Of the arm with fewer, at even weight.")]
    higher_is_better: bool | None
    finding: Annotated[Finding, Meta(description="By the interval that counts: `decided_by`.")]
    guardrail_failed: Annotated[bool, Meta(description="Worse than its tolerance, by the test that guards it.")] = False
    variance_reduction: Annotated[
        float | None,
        Meta(
            description="Share of the variance that is taken out by what subjects did before the start (CUPED); null:"
            " nothing is known of that. With it the effect is adjusted; `reference` and `value` are not."
        ),
    ] = None


def metric_of(design: Experiment) -> Metric:
    """The primary measure as the analysis knows measures."""
    return Metric(
        name=design.primary, role="info", absolute=design.primary in ABSOLUTE, higher_is_better=design.higher_is_better
    )


def declared_measures(rollout: Rollout) -> tuple[MetricName, ...]:
    """The primary measure, and what its analysis watches."""
    assert rollout.experiment is not None, "only experiments have a primary measure"
    watched = rollout.analysis.metrics if rollout.analysis is not None else ()
    return tuple(dict.fromkeys([rollout.experiment.primary, *(metric.name for metric in watched)]))


def tuning_of(design: Experiment) -> float:
    """Of confidence sequences: tightest when both arms have their planned samples."""
    return 2.0 * design.samples


def effect_of(
    rollout: Rollout, observed: Observed, arm: str, name: MetricName, *, by: Method | None = None, looks: int = 1
) -> EffectRow | None:
    """One measure of one arm; None: nothing is known of it. `by`: what the finding goes by, if not the design.

    `looks`: among how many parts of the subjects the level is shared out (Bonferroni).
    """
    design = rollout.experiment
    assert design is not None, "only experiments are reported"
    analysis = rollout.analysis or Analysis(metrics=())
    reference, candidate = observed.sums(rollout.arms[0].name, name), observed.sums(arm, name)
    if not reference.n and not candidate.n:
        return None
    declared = next((one for one in analysis.metrics if one.name == name), None)
    metric, role = _metric(design, declared, name)
    alpha = (design.alpha / (len(rollout.arms) - 1) if role == "primary" else design.alpha) / looks
    guard = guard_look(rollout, analysis)
    sequential, fixed = (
        compared(metric, arm, reference, candidate, _look(design, analysis, alpha, once=once)) for once in (False, True)
    )
    told = fixed if (by or design.method) == "fixed" else sequential
    return EffectRow(
        measure=name,
        arm=arm,
        role=role,
        scale=told.scale,
        reference=told.reference,
        value=told.value,
        effect=told.effect,
        fixed=_bounds(fixed),
        sequential=_bounds(sequential),
        alpha=alpha,
        samples=told.samples,
        reference_samples=told.reference_samples,
        subjects=told.subjects,
        higher_is_better=direction_of(metric),
        finding=_finding(told, direction_of(metric)),
        guardrail_failed=declared is not None
        and declared.role == "guardrail"
        and compared(declared, arm, reference, candidate, replace(guard, alpha=guard.alpha / looks)).decision
        == "worse",
        variance_reduction=told.variance_reduction,
    )


def decided(rollout: Rollout, observed: Observed, arms: Iterable[str]) -> bool:
    """Whether the primary measure of each of these arms is told apart from the first one's."""
    assert rollout.experiment is not None
    rows = [effect_of(rollout, observed, arm, rollout.experiment.primary) for arm in arms]
    return bool(rows) and all(row is not None and row.finding in ("better", "worse", "different") for row in rows)


def _metric(design: Experiment, declared: Metric | None, name: MetricName) -> tuple[Metric, Role]:
    if name == design.primary:
        return metric_of(design), "primary"
    absolute = name in ABSOLUTE or (declared is not None and declared.absolute)
    direction = declared.higher_is_better if declared is not None else None
    metric = Metric(name=name, role="info", absolute=absolute, higher_is_better=direction)
    return metric, declared.role if declared is not None else "info"


def _look(design: Experiment, analysis: Analysis, alpha: float, *, once: bool) -> Look:
    return Look(
        alpha=alpha,
        proof_alpha=alpha,
        tuning=tuning_of(design),
        minimum_subjects=analysis.minimum_subjects,
        once=once,
    )


def guard_look(rollout: Rollout, analysis: Analysis) -> Look:
    """How guardrails are tested: as podium.delivery.analysis.judge shares its level out."""
    judged = sum(metric.role != "info" and direction_of(metric) is not None for metric in analysis.metrics)
    tests = max(1, judged) * max(1, len(rollout.arms) - 1)
    return Look(
        alpha=analysis.false_return_rate / tests,
        proof_alpha=analysis.false_return_rate,
        tuning=2.0 * analysis.target_samples,
        minimum_subjects=analysis.minimum_subjects,
    )


def _bounds(result: MetricResult) -> Bounds | None:
    if result.lower is None and result.upper is None:
        return None
    return Bounds(lower=result.lower, upper=result.upper)


def _finding(result: MetricResult, higher: bool | None) -> Finding:  # noqa: FBT001 - three values
    if result.effect is None:
        return "no_data"
    if result.lower is None and result.upper is None:
        return "too_few"
    above = result.lower is not None and result.lower > 0
    below = result.upper is not None and result.upper < 0
    if not above and not below:
        return "no_difference_seen"
    if higher is None:
        return "different"
    return "better" if above == higher else "worse"
