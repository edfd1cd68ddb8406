"""Which exchanges of a rollout a judge is asked about, and with which version's answer it compares them."""

from dataclasses import dataclass

from podium.core.rollouts import Rollout
from podium.delivery.buckets import CANDIDATE

__all__ = ["Judging", "judging_of"]


@dataclass(frozen=True, slots=True)
class Judging:
    """One rollout's. Of a shadow rollout the copies are judged, against what their callers got."""

    model: str  # public name of the judge
    share: float  # of exchanges of these arms
    arms: frozenset[str]
    other: str  # the version that answers once more, for comparison


def judging_of(rollout: Rollout, before: str) -> Judging | None:
    """None: nobody judges. Arms of an A/B test are compared to its first one, as in all other measures."""
    analysis = rollout.analysis
    if analysis is None or analysis.judge_model is None or not analysis.judge_share:
        return None
    if rollout.strategy == "ab":
        first, *others = rollout.arms
        arms, other = frozenset(arm.name for arm in others), first.version
    else:
        arms, other = frozenset({CANDIDATE}), before
    return Judging(analysis.judge_model, analysis.judge_share, arms, other)
