"""Shares of an experiment: what becomes of them now, and why they stay as they are.

Shares move at a bounded pace: after some time, with new exchanges, by a bounded step. An arm whose guardrail failed is
taken out at once, and never comes back; where shares are fixed, the first arm has its subjects from then on.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from podium.core.rollouts import ArmShare, Progress, Rollout
from podium.delivery.analysis.compared import RATES, direction_of
from podium.delivery.analysis.observed import Observed, run_us, shares_of
from podium.delivery.analysis.tally import span_us
from podium.delivery.buckets import handed_over, with_weights
from podium.delivery.experiments.effects import metric_of
from podium.delivery.statistics.rates import independent
from podium.delivery.statistics.sums import Sums
from podium.delivery.statistics.thompson import BetaBelief, NormalBelief, thompson_weights

__all__ = ["MOST_SPANS", "Shares", "SharesReason", "next_shares", "waits_for", "without"]

MOST_SPANS = 24  # of a run: each look reads them all
_NEWS = 0.25  # of the exchanges so far, that a change waits for: 24 spans last while these grow two-hundredfold
_LEAST_MOVE = 0.01  # of the subjects: less is not worth a revision


class SharesReason(StrEnum):
    """Why shares change, or do not."""

    CHANGED = "changed"
    ARM_OUT = "arm_out"
    NOT_ADAPTIVE = "not_adaptive"
    TOO_EARLY = "too_early"
    TOO_FEW_SAMPLES = "too_few_samples"
    NOTHING_NEW = "nothing_new"  # few exchanges since the last change
    MOST_CHANGES = "most_changes"
    SMALL = "small"  # the change that is due
    UNKNOWN = "unknown"  # the primary measure of an arm


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of them. `arms` empty: they stay."""

    reason: SharesReason
    arms: tuple[ArmShare, ...] = ()
    detail: str = ""


def next_shares(rollout: Rollout, progress: Progress, observed: Observed, now_unix_s: float) -> Shares:
    """Shares by what was seen of the run. `observed` is evened: see podium.delivery.experiments.evening."""
    if waits := waits_for(rollout, progress, observed, now_unix_s):
        return Shares(reason=waits)
    design = rollout.experiment
    assert design is not None, "only experiments are adaptive"
    assert design.adaptive is not None
    now = _parts(progress.arms)
    metric = metric_of(design)
    beliefs = [_belief(observed.sums(name, design.primary), rate=design.primary in RATES) for name in now]
    if None in beliefs:
        return Shares(reason=SharesReason.UNKNOWN)
    aims = thompson_weights(beliefs, floor=design.adaptive.floor, higher_is_better=bool(direction_of(metric)))
    wanted = dict(zip(now, aims, strict=True))
    far = sum(max(0.0, wanted[name] - share) for name, share in now.items())
    if far < _LEAST_MOVE:
        return Shares(reason=SharesReason.SMALL)
    step = min(1.0, design.adaptive.largest_step / far)
    weights = {name: share + step * (wanted[name] - share) for name, share in now.items()}
    return Shares(reason=SharesReason.CHANGED, arms=with_weights(rollout, progress, weights), detail=_told(weights))


def without(rollout: Rollout, progress: Progress, failed: Collection[str]) -> Shares:
    """The shares without the failed arms. Adaptive, the others share what these had; else the first arm has it all.

    No arms: there would be nothing left to compare, or none failed.
    """
    left = {name: share for name, share in _parts(progress.arms).items() if name not in failed}
    if len(left) < 2 or len(left) == len(_parts(progress.arms)) or rollout.arms[0].name not in left:  # noqa: PLR2004
        return Shares(reason=SharesReason.ARM_OUT)
    design = rollout.experiment
    if design is not None and design.adaptive is not None:
        arms = with_weights(rollout, progress, left)
    else:
        arms = handed_over(progress.arms, failed, rollout.arms[0])
    return Shares(reason=SharesReason.ARM_OUT, arms=arms, detail=_told(_parts(arms)))


def waits_for(rollout: Rollout, progress: Progress, observed: Observed, now_unix_s: float) -> SharesReason | None:
    """Why nothing may move yet; None: it may. This reads no more of `observed` than its arms."""
    adaptive = rollout.experiment.adaptive if rollout.experiment is not None else None
    if adaptive is None:
        return SharesReason.NOT_ADAPTIVE
    if now_unix_s < progress.step_unix_s + adaptive.every_s:
        return SharesReason.TOO_EARLY
    mine = [one for one in observed.arms if one.span_us >= run_us(progress)]
    counts = {name: sum(one.exchanges for one in mine if one.name == name) for name in _parts(progress.arms)}
    if min(counts.values(), default=0) < adaptive.minimum_samples:
        return SharesReason.TOO_FEW_SAMPLES
    if len({one.span_us for one in mine}) >= MOST_SPANS:
        return SharesReason.MOST_CHANGES
    new = sum(one.exchanges for one in mine if one.span_us == span_us(progress.step_unix_s))
    if new < _NEWS * (sum(counts.values()) - new):
        return SharesReason.NOTHING_NEW
    return None


def _parts(arms: Iterable[ArmShare]) -> dict[str, float]:
    counts = shares_of(arms)
    whole = sum(counts.values())
    return {name: count / whole for name, count in counts.items()}


def _belief(sums: Sums, *, rate: bool) -> BetaBelief | NormalBelief | None:
    if not rate:
        return NormalBelief.of_sums(sums)
    hits, trials = independent(sums)
    return BetaBelief(hits, trials - hits) if trials else None


def _told(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in weights.items())
