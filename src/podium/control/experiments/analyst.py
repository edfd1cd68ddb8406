"""Judges experiments by their design, and leaves other rollouts to who judges those.

Guardrails are judged as everywhere, at every look. What an experiment does not do is to promote itself: at its end it
waits for a person, who reads the report.
"""

from dataclasses import replace
from typing import Protocol

import msgspec
from msgspec.structs import replace as changed

from podium.control.experiments.designs import digest_of, is_unchanged
from podium.control.rollouts.ports import Analyst, Judgement
from podium.control.rollouts.standing import Standing
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.observed import ArmSeen, Observed
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.buckets import steps_of
from podium.delivery.experiments.course import End, end_of, samples_of
from podium.delivery.experiments.design import short
from podium.delivery.experiments.shares import next_shares, waits_for, without
from podium.delivery.phases import Happening

__all__ = ["ExperimentAnalyst", "Observer"]

_FOR_EVER_S = 1e12
_ENDS = {
    End.SAMPLES: "every arm has its planned sample",
    End.DECIDED: "the primary measure is decided",
    End.TIME_IS_UP: "its time is up",
}


class Observer(Protocol):
    """What was seen of rollouts."""

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """In the run that goes on; of an adaptive experiment evened over its shares."""

    async def arms_seen(self, name: str, progress: Progress) -> tuple[ArmSeen, ...]:
        """Each arm in each span of the run."""


class ExperimentAnalyst:
    """Matches `Analyst`."""

    def __init__(self, analyst: Analyst, seen: Observer) -> None:
        self._analyst = analyst
        self._seen = seen

    async def judge(self, standing: Standing, now_unix_s: float) -> Judgement:
        """What is known of it."""
        progress = standing.progress
        if standing.rollout.experiment is None or progress is None:
            return await self._analyst.judge(standing, now_unix_s)
        if not is_unchanged(standing):
            return _changed_design(standing, progress)
        judgement = await self._analyst.judge(_without_end(standing), now_unix_s)
        judgement = changed(judgement, enough=False)
        if judgement.happening is Happening.FAILED:
            return _with_arms_out(standing, progress, judgement)
        if judgement.happening is not None or progress.phase != "running":
            return judgement
        observed = await self._observe(standing, progress, now_unix_s)
        end = end_of(standing.rollout, progress, observed, now_unix_s)
        if end is not None:
            detail = f"{_ENDS[end]}: {_told(standing.rollout, progress, observed)}"
            return changed(judgement, reason=str(end), detail=detail, happening=Happening.STEP_DONE)
        shares = next_shares(standing.rollout, progress, observed, now_unix_s)
        return changed(judgement, shares=shares.arms, shares_detail=shares.detail)

    async def _observe(self, standing: Standing, progress: Progress, now_unix_s: float) -> Observed:
        """What was seen; without its cells when they decide nothing now, for they are many."""
        name, rollout = standing.name, standing.rollout
        assert rollout.experiment is not None
        arms = Observed(await self._seen.arms_seen(name, progress))
        if rollout.experiment.stop == "at_samples" and waits_for(rollout, progress, arms, now_unix_s) is not None:
            return arms
        return await self._seen.observe(name, rollout, progress)

    async def keep(self, standing: Standing, judgement: Judgement, happening: str, now_unix_s: float) -> str:
        """Store the evidence of a decision; its id."""
        return await self._analyst.keep(standing, judgement, happening, now_unix_s)


def _without_end(standing: Standing) -> Standing:
    """As the analysis is to see it: its own samples and its own time are not what ends it."""
    rollout = standing.rollout
    assert rollout.analysis is not None, "an experiment has an analysis"
    steps = tuple(changed(step, minimum_samples=1) for step in steps_of(rollout))
    analysis = changed(rollout.analysis, inconclusive_after_s=_FOR_EVER_S)
    return replace(standing, rollout=changed(rollout, steps=steps, analysis=analysis))


def _changed_design(standing: Standing, progress: Progress) -> Judgement:
    detail = (
        f"its design is not what it was when it started: {short(digest_of(standing))} instead of"
        f" {short(progress.design)}; what was seen answers no question that was asked"
    )
    return Judgement(verdict="error", reason="design_changed", detail=detail, happening=Happening.ABORTED)


def _with_arms_out(standing: Standing, progress: Progress, judgement: Judgement) -> Judgement:
    """Of an adaptive experiment only the arms end whose guardrails failed, as long as two are left."""
    design = standing.rollout.experiment
    if design is None or design.adaptive is None or progress.phase != "running" or not judgement.body:
        return judgement
    verdict = msgspec.json.decode(judgement.body, type=Verdict)
    failed = {result.arm for result in verdict.metrics if result.decision == "worse"}
    shares = without(standing.rollout, progress, failed)
    if not shares.arms:
        return judgement
    names = ", ".join(sorted(failed))
    detail = f"{names} taken out, {judgement.detail}; {shares.detail}"
    return changed(judgement, happening=None, shares=shares.arms, shares_detail=detail)


def _told(rollout: Rollout, progress: Progress, observed: Observed) -> str:
    assert rollout.experiment is not None
    counts = samples_of(progress, observed)
    told = ", ".join(f"{arm.name} {counts.get(arm.name, 0)}" for arm in rollout.arms)
    return f"{told} of {rollout.experiment.samples} exchanges"
