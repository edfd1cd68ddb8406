"""Limits in words: reasons and sentences of refusals."""

from podium.core.limits import Measure
from podium.core.reasons import Reason
from podium.traffic.limiting.buckets import Bucket

__all__ = ["REASONS", "describe", "refusal_message", "whose"]

REASONS: dict[Measure, Reason] = {
    "requests": Reason.REQUESTS_LIMITED,
    "input_tokens": Reason.TOKENS_LIMITED,
    "output_tokens": Reason.TOKENS_LIMITED,
    "tokens": Reason.TOKENS_LIMITED,
    "concurrency": Reason.CONCURRENCY_LIMITED,
}
_NOUNS: dict[Measure, str] = {
    "requests": "requests",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "tokens": "tokens",
    "concurrency": "exchanges at the same time",
}
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SECOND_NS = 1_000_000_000


def describe(bucket: Bucket) -> str:
    """The limit as `60 requests a minute`."""
    return f"{bucket.amount:,} {_NOUNS[bucket.what]}{_a_window(bucket)}"


def whose(bucket: Bucket) -> str:
    """Who is counted: `this key`, `this tenant and user`, `all callers together`."""
    if not bucket.per:
        return "all callers together"
    words = ["IP address" if dimension == "ip" else dimension for dimension in bucket.per]
    return f"this {', '.join(words[:-1])}{' and ' if words[:-1] else ''}{words[-1]}"


def refusal_message(bucket: Bucket, amount: int) -> str:
    """A sentence for a caller whose request needs `amount` and found no room."""
    if amount <= bucket.at_once or bucket.what in {"requests", "concurrency"}:
        return f"The limit of {describe(bucket)} for {whose(bucket)} is used up."
    noun = _NOUNS[bucket.what]
    at_once = f" ({bucket.burst:,} at once)" if bucket.at_once < bucket.amount else ""
    return (
        f"This request needs about {amount:,} {noun}, which is larger than the whole limit"
        f" of {describe(bucket)}{at_once} for {whose(bucket)}."
    )


def _a_window(bucket: Bucket) -> str:
    if bucket.what == "concurrency":
        return ""
    seconds = bucket.window_ns // _SECOND_NS
    length, unit = next((length, unit) for length, unit in _UNITS if seconds % length == 0)
    count = seconds // length
    return f" a {unit}" if count == 1 and unit != "hour" else " an hour" if count == 1 else f" in {count} {unit}s"
