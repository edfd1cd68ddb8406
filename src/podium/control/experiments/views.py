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


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be planned: a declared experiment, or a measure of a model. What is said goes before the design."""

    experiment: Annotated[str | None, Meta(description="Name of a declared experiment.", max_length=128)] = None
    model: Annotated[str | None, Meta(description="Name of a Model, or any name.", max_length=128)] = None
    measure: MetricName | None = None
    effect: Annotated[
        float | None,
        Meta(description="The smallest that matters: a share (-0.1: a tenth less); of rates and scores a difference."),
    ] = None
    samples: Annotated[
        int | None, Meta(description="Exchanges of the smallest arm: what can be seen in them?", ge=1, le=10**12)
    ] = None
    days: Annotated[float | None, Meta(description="What can be seen in so many?", gt=0, le=3660)] = None
    base: Annotated[float | None, Meta(description="The measure now; null: from the model's last week.")] = None
    deviation: Annotated[
        float | None, Meta(description="Standard deviation of an exchange's, with `base`; rates need none.", gt=0)
    ] = None
    design_effect: Annotated[
        float, Meta(description="With `base`: variance over that of independent exchanges.", ge=1, le=1e6)
    ] = 1.0
    alpha: Annotated[float | None, Meta(description="null: 0.05.", gt=0, lt=0.5)] = None
    power: Annotated[float | None, Meta(description="null: 0.8.", gt=0.5, lt=1)] = None
    weights: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=10_000)], ...] | None,
        Meta(description="Of the arms, the first what others are compared to; null: two alike.", max_length=16),
    ] = None
    share: Annotated[float | None, Meta(description="Of the traffic, that takes part; null: all.", gt=0, le=1)] = None
    exchanges_per_day: Annotated[
        float | None, Meta(description="Of the model; null: from its last week.", ge=0, le=1e12)
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
