"""How far an experiment has come: its samples, its arms, and whether it is at its end."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec.structs import replace

from podium.core.experiments import ArmEnd, SharesChange
from podium.core.rollouts import ArmShare, Progress, Rollout
from podium.delivery.analysis.observed import Observed, run_us, shares_of
from podium.delivery.experiments.effects import decided

__all__ = ["End", "arms_in", "end_of", "is_complete", "rearranged", "samples_of", "shares_move"]


class End(StrEnum):
    """Why an experiment is at its end."""

    SAMPLES = "samples"  # the planned ones
    DECIDED = "decided"  # and the design says that it stops then
    TIME_IS_UP = "time_is_up"


def shares_move(rollout: Rollout, progress: Progress) -> bool:
    """Whether arms have other shares at some times than at others: what is seen of them is evened then."""
    design = rollout.experiment
    return design is not None and (design.adaptive is not None or bool(progress.changes))


def rearranged(
    progress: Progress, arms: tuple[ArmShare, ...], at_unix_s: float, ended: Iterable[ArmEnd] = ()
) -> Progress:
    """With other shares from this time on, and what `ended` by that. What is counted from here on is counted anew."""
    return replace(
        progress,
        arms=arms,
        step_unix_s=at_unix_s,
        changed_unix_s=at_unix_s,
        changes=(*progress.changes, SharesChange(unix_s=at_unix_s, shares=shares_of(arms))),
        ended=(*progress.ended, *(replace(one, unix_s=at_unix_s) for one in ended)),
    )


def samples_of(progress: Progress, observed: Observed) -> dict[str, int]:
    """Exchanges of each arm in the whole run, whatever shares it had."""
    counts: dict[str, int] = {}
    for one in observed.arms:
        if one.span_us >= run_us(progress):
            counts[one.name] = counts.get(one.name, 0) + one.exchanges
    return counts


def arms_in(rollout: Rollout, progress: Progress, observed: Observed) -> tuple[str, ...]:
    """The arms that take part now, or did until the end; in their declared order."""
    names = set(shares_of(progress.arms))
    if not names:
        last = max((one.span_us for one in observed.arms if one.span_us >= run_us(progress)), default=0)
        names = {one.name for one in observed.arms if one.span_us == last}
    names -= {one.arm for one in progress.ended}
    return tuple(arm.name for arm in rollout.arms if arm.name in names)


def is_complete(rollout: Rollout, progress: Progress, observed: Observed) -> bool:
    """Whether every arm that takes part has its planned sample."""
    assert rollout.experiment is not None, "only experiments have planned samples"
    arms, counts = arms_in(rollout, progress, observed), samples_of(progress, observed)
    return bool(arms) and all(counts.get(name, 0) >= rollout.experiment.samples for name in arms)


def end_of(rollout: Rollout, progress: Progress, observed: Observed, now_unix_s: float) -> End | None:
    """None: it goes on. `observed` is what its arms are compared by."""
    design = rollout.experiment
    assert design is not None, "only experiments have an end"
    age_s = now_unix_s - progress.started_unix_s
    if age_s >= design.at_most_s:
        return End.TIME_IS_UP
    if age_s < rollout.steps[0].minimum_s:
        return None
    if is_complete(rollout, progress, observed):
        return End.SAMPLES
    others = [name for name in arms_in(rollout, progress, observed) if name != rollout.arms[0].name]
    if design.stop == "when_decided" and decided(rollout, observed, others):
        return End.DECIDED
    return None
