"""Measures, effects and values as people read them."""

from datetime import UTC, datetime
from math import floor, log10

from podium.core.experiments import ArmEnd, Method
from podium.delivery.analysis.alone import LIMIT
from podium.delivery.analysis.compared import RATES, MetricResult
from podium.delivery.experiments.effects import Bounds, EffectRow, Finding

__all__ = [
    "FINDINGS",
    "bounds_of",
    "bounds_text",
    "concluded",
    "dollars",
    "effect_text",
    "ended_text",
    "failure_text",
    "measure_text",
    "percent",
    "value_text",
]

_MEASURES = {
    "error_rate": "errors",
    "ttft_ms": "time to first token",
    "time_per_output_token_ms": "time per output token",
    "duration_ms": "duration",
    "cost_nanousd": "cost of an answer",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "empty_rate": "empty answers",
    "truncated_rate": "truncated answers",
    "refusal_rate": "refusals",
    "invalid_format_rate": "answers in a wrong format",
    "thumbs_up_rate": "thumbs up",
    "feedback_score": "score by users",
    "task_done_rate": "tasks done",
    "judge_score": "score by the judge",
}
FINDINGS: dict[Finding, str] = {
    "better": "better",
    "worse": "worse",
    "different": "different",
    "no_difference_seen": "no difference seen",
    "too_few": "too few subjects",
    "no_data": "no data",
}
_NANO = 1e-9
_FINE_USD = 0.01
_DECIMALS = 4
_POINTS = " points"


def measure_text(measure: str) -> str:
    """`errors` of `error_rate`."""
    return _MEASURES.get(measure, measure)


def percent(share: float) -> str:
    """`12.5%`; three digits."""
    return f"{share * 100:.3g}%"


def dollars(usd: float | None) -> str:
    """`$1,234.50`, `$0.00042`, `-$3.10`; nothing for None."""
    if usd is None:
        return ""
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if size and size < _FINE_USD:
        digits = 2 - floor(log10(size))  # three that count
        return f"{sign}${size:.{digits}f}".rstrip("0")
    return f"{sign}${size:,.2f}"


def value_text(measure: str, value: float | None) -> str:
    """In its unit; nothing for None."""
    if value is None:
        return ""
    if measure in RATES:
        return percent(value)
    if measure == "cost_nanousd":
        return dollars(value * _NANO)
    if measure.endswith("_ms"):
        return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"  # noqa: PLR2004
    return f"{value:,.4g}"


def effect_text(row: EffectRow, value: float | None) -> str:
    """`+12.5%`, `-0.31 points`, `+0.02`; nothing for None."""
    return "" if value is None else _apart(row.measure, row.scale, value)


def _apart(measure: str, scale: str, value: float) -> str:
    if scale == "relative":
        return f"{_signed(value * 100)}%"
    if measure in RATES:
        return f"{_signed(value * 100)}{_POINTS}"
    if measure == "cost_nanousd":
        return f"{'' if value < 0 else '+'}{dollars(value * _NANO)}"
    return _signed(value)


def _signed(value: float) -> str:
    """`+12.5`, `-0.31`, `0`: to three digits, and none that rounding leaves behind."""
    rounded = round(value, _DECIMALS)
    return f"{rounded:+.3g}" if rounded else "0"


def bounds_of(row: EffectRow, by: Method) -> Bounds | None:
    """Of the method."""
    return row.fixed if by == "fixed" else row.sequential


def bounds_text(row: EffectRow, bounds: Bounds | None) -> str:
    """`-12% to +3%`."""
    return "" if bounds is None else _between(row.measure, row.scale, bounds.lower, bounds.upper)


def _between(measure: str, scale: str, lower: float | None, upper: float | None) -> str:
    first, last = ("no bound" if end is None else _apart(measure, scale, end) for end in (lower, upper))
    return f"{first.removesuffix(_POINTS) if last.endswith(_POINTS) else first} to {last}"


def concluded(row: EffectRow, reference: str, by: Method) -> str:
    """What is known of the primary measure, in a sentence."""
    name = f"{measure_text(row.measure)} ({row.measure})"
    if row.finding == "no_data":
        return f"{row.arm}: nothing is known of {name} yet."
    between = bounds_text(row, bounds_of(row, by))
    seen = f"{row.arm}: {name} is {value_text(row.measure, row.value)} against {value_text(row.measure, row.reference)}"
    seen += f" of {reference}, {effect_text(row, row.effect)}"
    if row.finding == "too_few":
        return f"{seen}. Of so few subjects ({row.subjects:.0f} in the smaller arm) nothing can be told."
    sure = f"{1 - row.alpha:.4g}"
    sentence = {
        "better": "That is better",
        "worse": "That is worse",
        "different": "That is different",
        "no_difference_seen": "That may be chance",
    }[row.finding]
    return f"{seen} ({between}, confidence {sure}). {sentence}."


def failure_text(result: MetricResult) -> str:
    """By what, and by which interval, an arm failed."""
    name, scale = result.name, result.scale
    seen = f"{value_text(name, result.value)} against {value_text(name, result.reference)}"
    between = _between(name, scale, result.lower, result.upper)
    apart = "" if result.effect is None else f", {_apart(name, scale, result.effect)}"
    if result.role == LIMIT:
        seen, than = f"{seen} at {'least' if result.higher_is_better else 'most'}", ""
    else:
        than = f", worse by more than {_apart(name, scale, result.margin).lstrip('+')}"
    return f"{name} of arm `{result.arm}` is {seen}{apart} ({between}){than}"


def ended_text(end: ArmEnd) -> str:
    """When an arm ended, and why."""
    when = datetime.fromtimestamp(end.unix_s, UTC)
    by = "gateways took it out" if end.reason == "burst" else "a guardrail failed"
    return f"Arm {end.arm} ended on {when:%Y-%m-%d at %H:%M:%S} UTC, {by}: {end.detail}."
