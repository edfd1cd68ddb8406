"""What arms cost, and what their difference is worth a month at the model's traffic of now."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from podium.core.experiments import Method
from podium.core.rollouts import Rollout
from podium.delivery.analysis.observed import Observed
from podium.delivery.experiments.effects import tuning_of
from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import fixed_interval
from podium.delivery.statistics.sequences import MINIMUM_SUBJECTS, sequential_interval

__all__ = ["DAYS_A_MONTH", "ArmCost", "Money", "money_of"]

DAYS_A_MONTH = 365.25 / 12
_NANO = 1e-9


class ArmCost(msgspec.Struct, frozen=True, kw_only=True):
    """In US dollars. Months are those in which everybody had this arm."""

    arm: str
    answers: Annotated[float, Meta(description="That anything is known of.")]
    total_usd: Annotated[float, Meta(description="In the experiment; of an adaptive one weighed as its effects are.")]
    per_thousand_usd: Annotated[float | None, Meta(description="Of a thousand answers.")]
    month_usd: float | None
    difference_month_usd: Annotated[float | None, Meta(description="Compared to the first arm.")]
    difference_lower_usd: Annotated[float | None, Meta(description="By the interval that counts: `decided_by`.")]
    difference_upper_usd: float | None


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Of all arms."""

    answers_per_month: Annotated[float | None, Meta(description="Of the model, at the traffic of now; null: unknown.")]
    arms: tuple[ArmCost, ...]


def money_of(rollout: Rollout, observed: Mapping[str, Observed], answers_per_day: float | None, by: Method) -> Money:
    """`observed`: for each arm what it is compared by. The first arm's own is that of the arm itself."""
    monthly = None if answers_per_day is None else answers_per_day * DAYS_A_MONTH
    return Money(
        answers_per_month=monthly,
        arms=tuple(
            _cost(rollout, arm.name, observed[arm.name], monthly, by) for arm in rollout.arms if arm.name in observed
        ),
    )


def _cost(rollout: Rollout, arm: str, observed: Observed, monthly: float | None, by: Method) -> ArmCost:
    own = observed.sums(arm, "cost_nanousd")
    each = own.ratio * _NANO if own.ratio is not None else None
    difference = lower = upper = None
    if arm != rollout.arms[0].name and monthly is not None:
        difference, lower, upper = (
            None if value is None else value * _NANO * monthly for value in _difference(rollout, arm, observed, by)
        )
    return ArmCost(
        arm=arm,
        answers=own.total_x,
        total_usd=own.total_y * _NANO,
        per_thousand_usd=None if each is None else each * 1000,
        month_usd=None if each is None or monthly is None else each * monthly,
        difference_month_usd=difference,
        difference_lower_usd=lower,
        difference_upper_usd=upper,
    )


def _difference(
    rollout: Rollout, arm: str, observed: Observed, by: Method
) -> tuple[float | None, float | None, float | None]:
    """Of one answer's cost: estimate and interval."""
    design = rollout.experiment
    assert design is not None, "only experiments are reported"
    effect = compare(observed.sums(rollout.arms[0].name, "cost_nanousd"), observed.sums(arm, "cost_nanousd"))
    if effect is None:
        return None, None, None
    if by == "fixed":
        interval = fixed_interval(effect, alpha=design.alpha)
    elif effect.subjects < MINIMUM_SUBJECTS:
        return effect.estimate, None, None
    else:
        interval = sequential_interval(effect, alpha=design.alpha, tuning=tuning_of(design))
    return effect.estimate, interval.lower, interval.upper
