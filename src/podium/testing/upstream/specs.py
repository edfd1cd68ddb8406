"""Behaviours in words: `slow=2s`, `tool-call,stalls-mid-tool-call`, `rate-limited,retry-after=3,share=0.1`.

A spec is a list of items, divided by `,`, or by `+` where it follows a model's name (`m+slow=2000ms+chunks=3`).
An item is a mode's name, perhaps with a value for what matters most in it, or `setting=value`. Durations are
`250ms`, `2s` or seconds; a latency is its median and 99th percentile, `20ms/200ms`. Later items win.
"""

import math
from collections.abc import Callable

from podium.testing.upstream.behaviours import Behaviour, Latency, Stop
from podium.testing.upstream.modes import MODES, Mode

__all__ = ["SETTINGS", "behaviour_of", "split_model"]

_CHANGED = "changed"  # the name of a behaviour that only settings made


def _duration(text: str) -> float:
    seconds = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise ValueError(f"not a duration: {text!r}")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"not a count: {text!r}")
    return int(text)


def _positive(text: str) -> float:
    if not (math.isfinite(value := float(text)) and value > 0):
        raise ValueError(f"not above zero: {text!r}")
    return value


def _latency(text: str) -> Latency:
    median, _, p99 = text.partition("/")
    latency = Latency(_duration(median), _duration(p99 or median))
    if not 0 < latency.median_s <= latency.p99_s:
        raise ValueError(f"not a median and a larger 99th percentile: {text!r}")
    return latency


# By the word for it: the field of `Behaviour`, and how its value is read.
SETTINGS: dict[str, tuple[str, Callable[[str], object]]] = {
    "text": ("text", str),
    "chunks": ("chunks", _count),
    "calls": ("calls", _count),
    "thoughts": ("reasoning", _count),
    "stop": ("stop", Stop),
    "input": ("input_tokens", _count),
    "cached-tokens": ("cached_tokens", _count),
    "cache-write-tokens": ("cache_write_tokens", _count),
    "retry-after": ("retry_after_s", _count),
    "per-second": ("per_second", _positive),
    "before-head": ("before_head_s", _duration),
    "before-content": ("before_content_s", _duration),
    "between": ("between_s", _duration),
    "distribution": ("latency", _latency),
    "size": ("size", _count),
    "write-size": ("write_size", lambda text: max(1, _count(text))),
    "share": ("share", _positive),
}

# What the value of a mode is.
_OF_MODE = {
    Mode.SLOW_HEAD: "before-head",
    Mode.SLOW: "before-content",
    Mode.PACED: "between",
    Mode.LATENCY: "distribution",
    Mode.RATE: "per-second",
    Mode.OVERSIZED: "size",
    Mode.CACHED: "cached-tokens",
    Mode.REASONING: "thoughts",
    Mode.PARALLEL_TOOLS: "calls",
    Mode.SINGLE_BYTES: "write-size",
    Mode.RATE_LIMITED: "retry-after",
    Mode.SERVER_ERROR: "retry-after",
    Mode.UNAVAILABLE: "retry-after",
    Mode.OVERLOADED: "retry-after",
}


def behaviour_of(spec: str, *, divided_by: str = ",") -> Behaviour:
    """The behaviour that a spec describes; ValueError: a word or a value that there is not."""
    behaviour = Behaviour()
    for item in spec.split(divided_by):
        if item.strip():
            behaviour = _item(item.strip()).over(behaviour)
    return behaviour


def _item(item: str) -> Behaviour:
    word, equals, value = item.partition("=")
    if word in SETTINGS:
        return _setting(Behaviour(name=_CHANGED), word, value)
    try:
        mode = Mode(word)
    except ValueError:
        raise ValueError(f"no such behaviour: {word!r}") from None
    if not equals:
        return MODES[mode]
    if mode not in _OF_MODE:
        raise ValueError(f"{word} takes no value")
    return _setting(MODES[mode], _OF_MODE[mode], value)


def _setting(behaviour: Behaviour, word: str, value: str) -> Behaviour:
    field, read = SETTINGS[word]
    try:
        return behaviour.but(**{field: read(value)})
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from None


def split_model(model: str) -> tuple[str, Behaviour | None]:
    """A model's name and the behaviour that stands after its first `+`; ValueError as above."""
    name, plus, spec = model.partition("+")
    return (name, behaviour_of(spec, divided_by="+")) if plus else (model, None)
