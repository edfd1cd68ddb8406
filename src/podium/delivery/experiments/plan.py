"""How many exchanges and days an experiment takes, or which effect it can show in so many. Pure.

Both methods are planned: a fixed horizon, looked at once, and confidence sequences, looked at whenever one likes. The
level is shared out over the arms that are compared to the first one, as reports do. However large an effect is, each
arm has as many subjects as intervals need.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, expm1, inf, isfinite, log, log1p, sqrt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from podium.core.errors import InvalidRequest
from podium.core.experiments import Method
from podium.core.measures import MetricName
from podium.core.rollouts import Metric
from podium.delivery.analysis.compared import LOGARITHMS, RATES, direction_of
from podium.delivery.experiments.effects import ABSOLUTE
from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.planning import Expected, Look, minimum_detectable_effect, sample_size
from podium.delivery.statistics.sequences import MINIMUM_SUBJECTS

__all__ = ["Base", "GuardPlan", "MethodPlan", "Plan", "Question", "expected_of", "guard_plan", "plan", "scale_of"]

Scale = Literal["relative", "absolute"]
_ROUNDS = 30  # until the sequence is tightest where it is read
_CLOSE = 0.001
_WEEK_DAYS, _MANY_DAYS = 7.0, 28.0
_FEW_SAMPLES = 100
_MOST_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be planned. One of `effect`, `samples` and `days` at least."""

    measure: MetricName
    effect: float | None = None  # as in core.experiments.Experiment
    samples: int | None = None  # exchanges of the smallest arm
    days: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    weights: tuple[float, ...] = (1.0, 1.0)  # of the arms; the first is what others are compared to
    share: float = 1.0  # of the exchanges, that take part
    tolerance: float | None = None  # planned as a guardrail: only what is worse by more than this counts


@dataclass(frozen=True, slots=True)
class Base:
    """What is known before."""

    expected: Expected
    samples_per_exchange: float = 1.0
    exchanges_per_day: float | None = None  # of the model; None: unknown
    subjects: int | None = None  # seen in so many exchanges; None: unknown
    samples: float | None = None  # that it is known by; None: it was given
    by_subject: bool = True


class MethodPlan(msgspec.Struct, frozen=True, kw_only=True):
    """By one method. Null: not asked, never, or unknown."""

    method: Method
    samples: Annotated[int | None, Meta(description="Exchanges of the smallest arm.")]
    total: Annotated[int | None, Meta(description="Exchanges of all arms.")]
    subjects: Annotated[int | None, Meta(description="Of the smallest arm, if they are as busy as before.")]
    days: Annotated[float | None, Meta(description="At the model's traffic.")]
    detectable: Annotated[float | None, Meta(description="The smallest effect in the samples or days that were asked.")]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment takes."""

    measure: str
    scale: Annotated[Scale, Meta(description="`relative`: effects are shares of the first arm's.")]
    base: Annotated[float, Meta(description="The measure now; of times the typical one.")]
    deviation: Annotated[
        float, Meta(description="Standard deviation that one exchange brings; of times of logarithms.")
    ]
    design_effect: Annotated[float | None, Meta(description="Of rates: how much more alike a subject's exchanges are.")]
    effect: float | None
    tolerance: Annotated[float | None, Meta(description="Planned as a guardrail; null: as what decides.")]
    alpha: float
    power: float
    arms: int
    known_from: Annotated[str, Meta(description="`given`, or `ledger`: the model's recent exchanges.")]
    known_samples: float | None
    exchanges_per_day: float | None
    methods: tuple[MethodPlan, ...]
    guardrails: Annotated[
        tuple["GuardPlan", ...], Meta(description="Of a declared experiment, those that the ledger tells of.")
    ] = ()
    warnings: tuple[str, ...] = ()


class GuardPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a guardrail notices by the end of the planned sample, with the power that was asked."""

    measure: str
    scale: Scale
    tolerance: Annotated[float, Meta(description="Negative where less is worse; likewise the next.")]
    notices: Annotated[float | None, Meta(description="Worse by so much or more; null: nothing that can be.")]


def guard_plan(metric: Metric, expected: Expected, look: Look, samples: float, power: float) -> GuardPlan:
    """`look`: level and tuning of the test; `samples`: of the first arm, in the measure's own."""
    name, tolerance, falls = metric.name, metric.tolerance, bool(direction_of(metric))
    logarithm = name in LOGARITHMS
    relative = scale_of(name) == "relative" and not metric.absolute
    margin = tolerance
    if logarithm:
        share = tolerance / exp(expected.value) if metric.absolute else tolerance
        margin = log1p(share)
    elif name in RATES and not metric.absolute:
        margin = tolerance * expected.value
    look = replace(look, side=Side.LOWER, margin=margin, relative=relative and not logarithm)
    found = minimum_detectable_effect(expected, samples, power=power, look=look, falls=falls)
    return GuardPlan(
        measure=name,
        scale="relative" if logarithm or relative else "absolute",
        tolerance=expm1(margin) if logarithm else (-margin if falls else margin),
        notices=expm1(found) if found is not None and logarithm else found,
    )


def scale_of(measure: MetricName) -> Scale:
    """What an effect on this measure is counted in."""
    return "absolute" if measure in RATES or measure in ABSOLUTE else "relative"


def expected_of(measure: MetricName, value: float, deviation: float | None, design_effect: float = 1.0) -> Expected:
    """From what an operator knows. Of times, mean and deviation in milliseconds: they are taken for log-normal ones.

    InvalidRequest: a rate outside 0 to 1, or a mean without its deviation.
    """
    if measure in RATES:
        if not 0 < value < 1:
            raise InvalidRequest("a rate lies between 0 and 1", parameter="base")
        return Expected.of_rate(value, design_effect)
    if deviation is None or deviation <= 0:
        raise InvalidRequest(f"say the standard deviation of `{measure}` too", parameter="deviation")
    if measure in LOGARITHMS:
        if value <= 0:
            raise InvalidRequest("a time is more than 0", parameter="base")
        variance = log1p((deviation / value) ** 2)
        return Expected(log(value) - variance / 2, variance * design_effect)
    if not value and scale_of(measure) == "relative":
        raise InvalidRequest("nothing is a share of 0", parameter="base")
    return Expected(value, deviation**2 * design_effect)


def plan(question: Question, base: Base) -> Plan:
    """Both methods. InvalidRequest: nothing is asked, or it makes no sense."""
    _check(question, base)
    expected, measure = base.expected, question.measure
    logarithm = measure in LOGARITHMS
    methods = tuple(_by(method, question, base) for method in ("fixed", "sequential"))
    return Plan(
        measure=measure,
        scale=scale_of(measure),
        base=exp(expected.value) if logarithm else expected.value,
        deviation=sqrt(expected.variance / base.samples_per_exchange),
        design_effect=expected.design_effect,
        effect=question.effect,
        tolerance=question.tolerance,
        alpha=question.alpha,
        power=question.power,
        arms=len(question.weights),
        known_from="given" if base.samples is None else "ledger",
        known_samples=base.samples,
        exchanges_per_day=base.exchanges_per_day,
        methods=methods,
        warnings=tuple(_warnings(question, base, methods)),
    )


def _check(question: Question, base: Base) -> None:
    if question.effect is None and question.samples is None and question.days is None:
        raise InvalidRequest("say the effect that matters, or samples, or days", parameter="effect")
    if question.tolerance is not None and not 0 <= question.tolerance < _MOST_TOLERANCE:
        raise InvalidRequest("a tolerance is at least 0; falls of all there is are seen at once", parameter="tolerance")
    if question.effect == 0:
        raise InvalidRequest("an effect of 0 takes for ever", parameter="effect")
    if len(question.weights) < 2 or min(question.weights) <= 0:  # noqa: PLR2004
        raise InvalidRequest("two arms or more, each with a weight", parameter="weights")
    if question.days is not None and base.exchanges_per_day is None:
        raise InvalidRequest("days say nothing while the model's traffic is unknown", parameter="days")
    effect, value = question.effect, base.expected.value
    if effect is not None and question.measure in RATES and not 0 <= value + effect <= 1:
        raise InvalidRequest(f"a rate of {value:.4g} cannot change by {effect:g}", parameter="effect")
    if effect is not None and scale_of(question.measure) == "relative" and effect <= -1:
        raise InvalidRequest("nothing falls by more than all of it: -0.1 is a tenth less", parameter="effect")


def _by(method: Method, question: Question, base: Base) -> MethodPlan:
    """The pair of arms that takes most counts."""
    weights, per_exchange = question.weights, base.samples_per_exchange
    whole, least = sum(weights), min(weights)
    total: float | None = None
    if question.effect is not None:
        effect = _on_scale(question.measure, question.effect)
        needed = [_samples(method, question, base, effect, one / weights[0]) for one in weights[1:]]
        fewest = MINIMUM_SUBJECTS * base.expected.samples_per_subject * whole / least
        total = max(max(needed) * whole / weights[0], fewest) / per_exchange
    asked = _asked(question, base)
    detectable = [_detectable(method, question, base, asked, one / weights[0]) for one in weights[1:]] if asked else []
    found = [one for one in detectable if one is not None]
    known = total is not None and isfinite(total)
    smallest = ceil(total * least / whole) if total is not None and known else None
    return MethodPlan(
        method=method,
        samples=smallest,
        total=ceil(total) if total is not None and known else None,
        subjects=_subjects(base, smallest),
        days=_days(total, question, base) if total is not None and known else None,
        detectable=max(found, key=abs) if found and len(found) == len(detectable) else None,
    )


def _look(method: Method, question: Question, ratio: float) -> Look:
    alpha = question.alpha / (len(question.weights) - 1)
    relative = scale_of(question.measure) == "relative" and question.measure not in LOGARITHMS
    look = Look(alpha=alpha, tuning=None if method == "fixed" else 1.0, ratio=ratio, relative=relative)
    if question.tolerance is None:
        return look
    falls = question.effect is not None and question.effect < 0
    margin = abs(_on_scale(question.measure, -question.tolerance if falls else question.tolerance))
    return replace(look, side=Side.LOWER, margin=margin)


def _samples(method: Method, question: Question, base: Base, effect: float, ratio: float) -> float:
    """Of the first arm; infinite: never. The sequence is tuned to be tightest at just that sample."""
    look = _look(method, question, ratio)
    if method == "fixed":
        return sample_size(base.expected, effect, power=question.power, look=look) or inf
    found = float(sample_size(base.expected, effect, power=question.power, look=replace(look, tuning=None)) or inf)
    for _ in range(_ROUNDS):
        if not isfinite(found):
            break
        tuned = replace(look, tuning=found * (1 + ratio))
        before, found = found, float(sample_size(base.expected, effect, power=question.power, look=tuned) or inf)
        if abs(found - before) <= max(1.0, _CLOSE * before):
            break
    return found


def _detectable(method: Method, question: Question, base: Base, exchanges: float, ratio: float) -> float | None:
    """In so many exchanges of all arms; in the direction that was asked, else upwards."""
    samples = exchanges * question.weights[0] / sum(question.weights) * base.samples_per_exchange
    look = _look(method, question, ratio)
    if method == "sequential":
        look = replace(look, tuning=samples * (1 + ratio))
    falls = question.effect is not None and question.effect < 0
    found = minimum_detectable_effect(base.expected, samples, power=question.power, look=look, falls=falls)
    return expm1(found) if found is not None and question.measure in LOGARITHMS else found


def _asked(question: Question, base: Base) -> float | None:
    """Exchanges of all arms."""
    if question.samples is not None:
        return question.samples * sum(question.weights) / min(question.weights)
    if question.days is not None and base.exchanges_per_day:
        return question.days * base.exchanges_per_day * question.share
    return None


def _on_scale(measure: MetricName, effect: float) -> float:
    return log1p(effect) if measure in LOGARITHMS else effect


def _days(total: float, question: Question, base: Base) -> float | None:
    if not base.exchanges_per_day:
        return None
    return total / (base.exchanges_per_day * question.share)


def _subjects(base: Base, exchanges: int | None) -> int | None:
    if exchanges is None or base.samples is None or not base.by_subject:
        return None
    return ceil(exchanges * base.samples_per_exchange / base.expected.samples_per_subject)


def _warnings(question: Question, base: Base, methods: Sequence[MethodPlan]) -> list[str]:
    told = []
    if base.samples is not None and base.samples < _FEW_SAMPLES:
        told.append(f"only {base.samples:.0f} samples are known: take the figures as a first guess")
    if not base.by_subject:
        told.append(
            "all exchanges are of one subject, which gets one arm: let callers send `user` or `x-podium-session`"
        )
    elif base.subjects is not None and base.subjects < MINIMUM_SUBJECTS * len(question.weights):
        told.append(
            f"{base.subjects} subjects were seen; each arm needs {MINIMUM_SUBJECTS} of even weight before intervals"
            " can be trusted"
        )
    if base.exchanges_per_day == 0:
        told.append("the model has no traffic: days cannot be told")
    if question.effect is not None and any(one.samples is None for one in methods):
        told.append("such an effect cannot be seen with any sample")
    days = [one.days for one in methods if one.days is not None]
    if days and max(days) > _MANY_DAYS:
        told.append("this takes more than four weeks: look for a larger effect, or let more of the traffic take part")
    elif days and max(days) < _WEEK_DAYS:
        told.append("this takes less than a week: weekdays may differ from weekends")
    return told
