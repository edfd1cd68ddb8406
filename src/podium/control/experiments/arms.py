"""Arms that end before their experiment does: by a guardrail, or because gateways took them out. Pure."""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from podium.control.rollouts.ports import Judgement, Trip
from podium.control.rollouts.standing import Standing
from podium.core.experiments import ArmEnd
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.analysis.observed import shares_of
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.experiments.shares import without
from podium.delivery.experiments.words import failure_text

__all__ = ["arms_failed", "arms_tripped"]

_MAX_DETAIL = 2000


def arms_failed(standing: Standing, judgement: Judgement) -> Judgement:
    """A failure, as it is when only the arms end whose guardrails failed; unchanged where all end with them."""
    if not judgement.body:
        return judgement
    verdict = msgspec.json.decode(judgement.body, type=Verdict)
    worse: dict[str, MetricResult] = {}
    for result in verdict.metrics:
        if result.decision == "worse":
            worse.setdefault(result.arm, result)
    return _ended(standing, judgement, {arm: _by_guardrail(result) for arm, result in worse.items()})


def arms_tripped(standing: Standing, judgement: Judgement, trips: Iterable[Trip]) -> Judgement:
    """A burst, as it is when only the arms end that gateways took out; unchanged where all end with them."""
    told: dict[str, list[str]] = {}
    for trip in trips:
        told.setdefault(trip.arm, []).append(f"{trip.gateway}: {trip.detail}")
    ends = {
        arm: ArmEnd(arm=arm, reason="burst", detail="; ".join(details)[:_MAX_DETAIL]) for arm, details in told.items()
    }
    return _ended(standing, judgement, ends)


def _ended(standing: Standing, judgement: Judgement, ends: Mapping[str, ArmEnd]) -> Judgement:
    rollout, progress = standing.rollout, standing.progress
    if rollout.experiment is None or progress is None:
        return judgement
    shares = without(rollout, progress, ends)
    if not shares.arms:
        return judgement
    mine = {arm: end for arm, end in ends.items() if arm in shares_of(progress.arms)}
    names = ", ".join(sorted(mine))
    why = "; ".join(end.detail for _, end in sorted(mine.items()))
    return replace(
        judgement,
        happening=None,
        shares=shares.arms,
        shares_detail=f"{names} taken out, {why}; {shares.detail}",
        ended=tuple(end for _, end in sorted(mine.items())),
    )


def _by_guardrail(result: MetricResult) -> ArmEnd:
    return ArmEnd(
        arm=result.arm,
        reason="metric_failed",
        detail=failure_text(result)[:_MAX_DETAIL],
        measure=result.name,
        scale=result.scale,
        effect=result.effect,
        lower=result.lower,
        upper=result.upper,
        tolerance=result.margin,
    )
