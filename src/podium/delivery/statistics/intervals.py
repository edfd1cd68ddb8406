"""Intervals around an effect, and those of a fixed horizon: valid for one look, at a sample chosen before."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, sqrt

from podium.delivery.statistics.effect import Effect
from podium.delivery.statistics.special import student_quantile, student_survival

__all__ = ["Interval", "Side", "fixed_interval", "fixed_p_value"]


class Side(StrEnum):
    """On which sides an interval ends."""

    BOTH = "both"
    LOWER = "lower"  # a lower bound only: is it more than so much?
    UPPER = "upper"  # an upper bound only: is it less?


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies, but for a share `alpha` of cases; open sides are infinite."""

    estimate: float
    lower: float
    upper: float
    alpha: float

    @classmethod
    def around(cls, estimate: float, half_width: float, alpha: float, side: Side) -> "Interval":
        """From an estimate and how far it may be off."""
        lower = -inf if side is Side.UPPER else estimate - half_width
        upper = inf if side is Side.LOWER else estimate + half_width
        return cls(estimate, lower, upper, alpha)

    def above(self, value: float) -> bool:
        """True when the truth is surely more than this."""
        return self.lower > value

    def below(self, value: float) -> bool:
        """True when it is surely less."""
        return self.upper < value

    def mapped(self, function: Callable[[float], float]) -> "Interval":
        """On another scale, by a rising function: `math.expm1` makes a difference of logarithms a relative one."""
        lower = function(self.lower) if self.lower > -inf else -inf
        upper = function(self.upper) if self.upper < inf else inf
        return Interval(function(self.estimate), lower, upper, self.alpha)


def fixed_interval(effect: Effect, *, alpha: float = 0.05, side: Side = Side.BOTH) -> Interval:
    """Student's interval for unequal variances (Welch). Not valid for whoever looks until something is seen."""
    tail = alpha / 2 if side is Side.BOTH else alpha
    half_width = student_quantile(1 - tail, effect.degrees) * sqrt(effect.variance)
    return Interval.around(effect.estimate, half_width, alpha, side)


def fixed_p_value(effect: Effect, *, null: float = 0.0, side: Side = Side.BOTH) -> float:
    """Welch's p-value; LOWER asks whether the effect is more than `null`, UPPER whether it is less."""
    distance = effect.estimate - null
    if not effect.variance:
        return 1.0 if distance == 0 or (side is not Side.BOTH and (distance > 0) != (side is Side.LOWER)) else 0.0
    t = distance / sqrt(effect.variance)
    if side is Side.BOTH:
        return min(1.0, 2 * student_survival(abs(t), effect.degrees))
    return student_survival(t if side is Side.LOWER else -t, effect.degrees)
