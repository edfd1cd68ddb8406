"""What a verdict says to people about single measures, and about what nothing was compared with."""

from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.alone import LIMIT, WATCH
from podium.delivery.analysis.before import FEWEST_BEFORE, Reference
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.analysis.observed import Observed, shares_of
from podium.delivery.buckets import BASELINE

__all__ = ["ground_sentence", "worse_sentence", "worse_values"]

_SWITCHING = ("canary", "blue_green")


def worse_values(result: MetricResult) -> str:
    """The measure, and what it is held against."""
    whose = {WATCH: " of the version before", LIMIT: " at least" if result.higher_is_better else " at most"}
    against = f"{result.reference:.4g}{whose.get(result.role, '')}"
    return f"{result.name} of arm `{result.arm}` is {result.value:.4g} against {against}"


def worse_sentence(result: MetricResult) -> str:
    """The same, and how sure that is."""
    bound = abs((result.upper if result.higher_is_better else result.lower) or 0.0)
    whose = {WATCH: " of that", LIMIT: " of that"}.get(result.role, " of the other arm's")
    unit = whose if result.scale == "relative" else ""
    margin = "" if result.role == LIMIT else f", which is more than {result.margin:.3g}"
    history = "" if result.variance_reduction is None else " (adjusted by what subjects did before the start)"
    return f"{worse_values(result)}: worse by at least {bound:.3g}{unit}{history}{margin}"


def ground_sentence(rollout: Rollout, progress: Progress, observed: Observed, before: Reference | None) -> str:
    """What the candidate is judged by where nobody has the version before beside it; empty elsewhere."""
    shares = shares_of(progress.arms)
    if rollout.analysis is None or rollout.strategy not in _SWITCHING:
        return ""
    if set(shares) == {BASELINE}:
        seen = round(observed.exposures(BASELINE)[0])
        needed = f"{FEWEST_BEFORE} are needed for its successor to be watched by them"
        return f"`{progress.before}` has had {seen} exchanges; {needed}"
    if BASELINE in shares:
        return ""
    seen_before = f"no exchange of `{progress.before}` was counted" if before is None else before.sentence
    if before is None or not before.enough:
        return f"{seen_before} before the switch, of {FEWEST_BEFORE} that a watch needs: only limits and bursts hold"
    return f"not compared at the same time: {seen_before} before the switch"
