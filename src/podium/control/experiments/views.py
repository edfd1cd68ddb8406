"""Experiments as operators see them, and what they ask of a plan."""

from typing import Annotated

import msgspec
from msgspec import Meta

from podium.control.rollouts.standing import Standing
from podium.core.experiments import Method
from podium.core.measures import MetricName
from podium.core.rollouts import ACTIVE_PHASES, Phase
from podium.delivery.analysis.observed import ArmSeen

__all__ = ["ExperimentView", "PlanRequest", "experiment_view"]

_Text = Annotated[str, Meta(max_length=128)]
_Positive = Annotated[float, Meta(gt=0, le=1e18)]
_Weights = Annotated[tuple[Annotated[float, Meta(gt=0, le=10_000)], ...], Meta(max_length=16)]


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be planned: a declared experiment, or a measure of a model. What is said goes before the design."""

    experiment: Annotated[_Text | None, Meta(description="Name of a declared experiment.")] = None
    model: Annotated[_Text | None, Meta(description="Name of a Model, or any name.")] = None
    measure: MetricName | None = None
    effect: Annotated[
        float | None,
        Meta(description="The smallest that matters: a share (-0.1: a tenth less); of rates and scores a difference."),
    ] = None
    samples: Annotated[
        Annotated[int, Meta(ge=1, le=10**12)] | None,
        Meta(description="Exchanges of the smallest arm: what can be seen in them?"),
    ] = None
    days: Annotated[Annotated[float, Meta(gt=0, le=3660)] | None, Meta(description="What can be seen in so many?")] = (
        None
    )
    base: Annotated[float | None, Meta(description="The measure now; null: from the model's last week.")] = None
    deviation: Annotated[
        _Positive | None, Meta(description="Standard deviation of an exchange's, with `base`; rates need none.")
    ] = None
    design_effect: Annotated[
        float, Meta(description="With `base`: variance over that of independent exchanges.", ge=1, le=1e6)
    ] = 1.0
    alpha: Annotated[Annotated[float, Meta(gt=0, lt=0.5)] | None, Meta(description="null: 0.05.")] = None
    power: Annotated[Annotated[float, Meta(gt=0.5, lt=1)] | None, Meta(description="null: 0.8.")] = None
    weights: Annotated[
        _Weights | None, Meta(description="Of the arms, the first what others are compared to; null: two alike.")
    ] = None
    share: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None, Meta(description="Of the traffic, that takes part; null: all.")
    ] = None
    tolerance: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(description="Plan a guardrail: only what is worse by more than this counts, on one side."),
    ] = None
    exchanges_per_day: Annotated[
        Annotated[float, Meta(ge=0, le=1e12)] | None, Meta(description="Of the model; null: from its last week.")
    ] = None


class ExperimentView(msgspec.Struct, frozen=True, kw_only=True):
    """Where an experiment stands."""

    name: str
    model: str
    hypothesis: str
    primary: str
    method: Method
    adaptive: bool
    phase: Phase
    detail: Annotated[str, Meta(description="Why it is in this phase.")]
    ended: bool
    arms: tuple[str, ...]
    exchanges: Annotated[int, Meta(description="Of the arm with fewest.")]
    planned: Annotated[int, Meta(description="Exchanges that each arm is to have.")]
    design: Annotated[str, Meta(description="SHA-256 of the frozen design; before the start that of the declared one.")]
    frozen: Annotated[bool, Meta(description="It cannot be changed: the experiment is under way.")]
    started_unix_s: float
    changed_unix_s: float


def experiment_view(standing: Standing, seen: tuple[ArmSeen, ...], digest: str) -> ExperimentView:
    """What people are shown of it. `digest`: of the design as it is declared now."""
    rollout, progress = standing.rollout, standing.progress
    design = rollout.experiment
    assert design is not None, "only experiments are shown"
    counts = {arm.name: sum(one.exchanges for one in seen if one.name == arm.name) for arm in rollout.arms}
    phase: Phase = "pending" if progress is None else progress.phase
    return ExperimentView(
        name=standing.name,
        model=rollout.model,
        hypothesis=design.hypothesis,
        primary=design.primary,
        method=design.method,
        adaptive=design.adaptive is not None,
        phase=phase,
        detail="declared, and never started" if progress is None else progress.detail,
        ended=phase not in ACTIVE_PHASES and phase != "pending",
        arms=tuple(counts),
        exchanges=min(counts.values()),
        planned=design.samples,
        design=progress.design if progress is not None and progress.design else digest,
        frozen=phase in ACTIVE_PHASES,
        started_unix_s=0.0 if progress is None else progress.started_unix_s,
        changed_unix_s=0.0 if progress is None else progress.changed_unix_s,
    )
