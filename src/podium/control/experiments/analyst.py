"""Judges experiments by their design, and leaves other rollouts to who judges those.

Guardrails are judged as everywhere, at every look. What an experiment does not do is to promote itself: at its end it
waits for a person, who reads the report.
"""

from dataclasses import replace
from typing import Protocol

import msgspec
from msgspec.structs import replace as changed

from podium.control.experiments.arms import arms_failed
from podium.control.experiments.designs import digest_of, is_unchanged
from podium.control.rollouts.ports import Analyst, Judgement
from podium.control.rollouts.standing import Standing
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.observed import ArmSeen, Observed
from podium.delivery.analysis.verdict import Verdict, VerdictReason
from podium.delivery.buckets import steps_of
from podium.delivery.experiments.course import End, end_of, samples_of
from podium.delivery.experiments.design import short
from podium.delivery.experiments.ratio import share_check
from podium.delivery.experiments.shares import next_shares, waits_for
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
        """In the run that goes on; evened over its shares where they change."""

    async def observe_whole(self, name: str, progress: Progress) -> Observed:
        """All spans of the run as they are; of them the numbers of exchanges may be added up, and nothing else."""

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
            return arms_failed(standing, judgement)
        if judgement.happening is None and progress.changes:
            judgement = await self._with_shares_checked(standing, progress, judgement)
        if judgement.happening is not None or progress.phase != "running":
            return judgement
        observed = await self._observe(standing, progress, now_unix_s)
        end = end_of(standing.rollout, progress, observed, now_unix_s)
        if end is not None:
            detail = f"{_ENDS[end]}: {_told(standing.rollout, progress, observed)}"
            return changed(judgement, reason=str(end), detail=detail, happening=Happening.STEP_DONE)
        shares = next_shares(standing.rollout, progress, observed, now_unix_s)
        return changed(judgement, shares=shares.arms, shares_detail=shares.detail)

    async def _with_shares_checked(self, standing: Standing, progress: Progress, judgement: Judgement) -> Judgement:
        """Shares have changed, so the judge of a step cannot tell whether arms got theirs: the whole run does."""
        analysis = standing.rollout.analysis
        seen = await self._seen.observe_whole(standing.name, progress)
        check = share_check(standing.rollout, progress, seen)
        if judgement.body:
            verdict = msgspec.json.decode(judgement.body, type=Verdict)
            judgement = changed(judgement, body=msgspec.json.encode(changed(verdict, shares=check)))
        if check is None or not check.mismatch or analysis is None or analysis.sample_ratio_mismatch == "go_on":
            return judgement
        told = ", ".join(f"{name} {count} of {check.expected[name]:.0f}" for name, count in check.counts.items())
        return changed(
            judgement,
            verdict="inconclusive",
            reason=str(VerdictReason.SAMPLE_RATIO),
            detail=f"arms have other shares of the subjects than they were given: {told}",
            happening=Happening.MISMATCH,
        )

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


def _told(rollout: Rollout, progress: Progress, observed: Observed) -> str:
    assert rollout.experiment is not None
    counts = samples_of(progress, observed)
    told = ", ".join(f"{arm.name} {counts.get(arm.name, 0)}" for arm in rollout.arms)
    return f"{told} of {rollout.experiment.samples} exchanges"
