"""A rollout as operators see it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from podium.control.rollouts.standing import Standing
from podium.core.rollouts import BUCKETS, ArmShare, Phase, Progress, RolloutStrategy
from podium.delivery.buckets import steps_of

__all__ = ["ArmView", "EvidenceNote", "RolloutView", "VerdictView", "view_of"]

_ENDED = frozenset({"promoted", "returned", "aborted", "failed"})


class ArmView(msgspec.Struct, frozen=True, kw_only=True):
    """One arm and whom it has."""

    name: str
    version: str
    percent: Annotated[float, Meta(description="Of the subjects that are meant.")]


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """What the last look at the evidence said."""

    verdict: Annotated[str, Meta(description="`success`, `failed`, `inconclusive` or `error`.")]
    reason: str
    detail: str
    unix_s: float


class EvidenceNote(msgspec.Struct, frozen=True, kw_only=True):
    """That evidence was kept."""

    id: Annotated[str, Meta(description="SHA-256 of what was kept.")]
    decided_unix_s: float


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands."""

    name: str
    model: str
    strategy: RolloutStrategy
    candidate: Annotated[str | None, Meta(description="The Version that is brought; null: an A/B of several.")]
    before: Annotated[str, Meta(description="The Version that the model had when it was started; the way back.")]
    phase: Phase
    step: Annotated[int, Meta(description="The step that it is at, from 0.")]
    steps: Annotated[int, Meta(description="How many there are.")]
    arms: Annotated[tuple[ArmView, ...], Meta(description="Who gets what; all others have `before`.")]
    mirrored: bool
    reason: Annotated[str, Meta(description="Why it is here, in one word.")]
    detail: Annotated[str, Meta(description="The same in a sentence.")]
    ended: Annotated[bool, Meta(description="Nothing happens any more by itself.")]
    waits: Annotated[bool, Meta(description="It needs a person to go on.")]
    asked_by: Annotated[str, Meta(description="Who asked for what waits for approvals; empty: nothing waits.")]
    approved_by: tuple[str, ...]
    approvals_missing: int
    started_unix_s: float
    step_unix_s: float
    changed_unix_s: Annotated[
        float, Meta(description="When it last moved; a command that says it as `seen` is refused once this has passed.")
    ]
    evidence: Annotated[str, Meta(description="Id of the evidence that was kept with the last decision.")]
    design: Annotated[str, Meta(description="Of an experiment: digest of its design, frozen when it was started.")]
    verdict: Annotated[
        VerdictView | None, Meta(description="Of the control process that leads; null: none yet, or another leads.")
    ]
    revision: Annotated[int, Meta(description="The newest revision when this was read.")]


def view_of(standing: Standing, verdict: VerdictView | None = None) -> RolloutView:
    """What people are shown of it."""
    rollout, progress = standing.rollout, standing.progress or _never_started(standing)
    wanted = rollout.approval.approvals if rollout.approval is not None and progress.asked_by else 0
    return RolloutView(
        name=standing.name,
        model=rollout.model,
        strategy=rollout.strategy,
        candidate=rollout.candidate,
        before=progress.before,
        phase=progress.phase,
        step=progress.step,
        steps=len(steps_of(rollout)),
        arms=tuple(map(_arm_view, progress.arms)),
        mirrored=progress.mirrored,
        reason=progress.reason,
        detail=progress.detail,
        ended=progress.phase in _ENDED,
        waits=progress.phase in ("pending", "paused"),
        asked_by=progress.asked_by,
        approved_by=progress.approved_by,
        approvals_missing=max(wanted - len(progress.approved_by), 0),
        started_unix_s=progress.started_unix_s,
        step_unix_s=progress.step_unix_s,
        changed_unix_s=progress.changed_unix_s,
        evidence=progress.evidence,
        design=progress.design,
        verdict=verdict,
        revision=standing.revision,
    )


def _never_started(standing: Standing) -> Progress:
    return Progress(phase="pending", before=standing.model.version, salt="", detail="declared, and never started")


def _arm_view(arm: ArmShare) -> ArmView:
    return ArmView(name=arm.name, version=arm.version, percent=round(arm.count * 100 / BUCKETS, 2))
