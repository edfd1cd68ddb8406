"""Raw values into typed ones: what a setting accepts, and the words for it when it does not.

Pure: no file, no environment. A type form that a setting may have: `bool`, `int`, `float`, `str`, `Path`, an
enumeration, `Literal`, `X | None`, `tuple[X, ...]` and `dict[str, X]` of these.
"""

import json
import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["Accepts", "Unacceptable", "as_text", "closest", "convert", "expectation", "parse", "shown"]

_SHOWN_CHARACTERS = 60
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Unacceptable(ValueError):
    """A value that a setting does not accept; the text says what it expects and what it got."""


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a setting accepts. The bounds hold for numbers, for each one where there are several."""

    form: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[object, ...] = ()
    secret: bool = False

    def of(self, form: Any) -> "Accepts":
        """The same bounds on another type form."""
        return replace(self, form=form)

    def hidden(self) -> "Accepts":
        """The same, but no message shows the value."""
        return replace(self, secret=True)


def convert(accepts: Accepts, raw: object) -> object:
    """The typed value of decoded YAML or of a command-line option; `Unacceptable` when it is not one."""
    value = _converted(accepts, raw)
    if value is _NOT_ACCEPTED:
        raise Unacceptable(f"expected {expectation(accepts)}, got {shown(raw, secret=accepts.secret)}")
    return value


def parse(accepts: Accepts, text: str) -> object:
    """The typed value of an environment variable.

    Lists are `a,b` or a
    JSON array, maps are `key=value,key=value` or a JSON object.
    """
    form, optional = _without_none(accepts.form)
    if optional and not text:
        return None
    raw = _raw(form, text)
    value = _converted(accepts, raw)
    if value is _NOT_ACCEPTED:
        raise Unacceptable(f"expected {expectation(accepts)}, got {shown(text, secret=accepts.secret)}")
    return value


def as_text(value: object) -> str:
    """The text from which `parse` makes the same value."""
    if isinstance(value, tuple | dict):
        return json.dumps(value, default=str)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value.value if isinstance(value, Enum) else value)


def expectation(accepts: Accepts) -> str:
    """What is accepted, for a sentence: "an integer from 1 to 65535"."""
    form, optional = _without_none(accepts.form)
    words = _words(accepts.of(form))
    return f"{words}, or nothing" if optional else words


def shown(raw: object, *, secret: bool = False) -> str:
    """A value for a message: short, on one line, and not at all when it is secret."""
    if secret:
        return "a value that is not shown"
    text = repr(raw)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def closest(word: str, known: list[str]) -> str:
    """`; did you mean ...?` for a misspelt word, or nothing."""
    matches = get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean {matches[0]}?" if matches else ""


_NOT_ACCEPTED = object()


def _converted(accepts: Accepts, raw: object) -> object:  # noqa: PLR0911 - one line a type form, a table
    form, optional = _without_none(accepts.form)
    inner = accepts.of(form)
    origin = get_origin(form)
    if raw is None:
        return None if optional else _NOT_ACCEPTED
    if origin is Literal:
        return raw if any(raw == word and type(raw) is type(word) for word in get_args(form)) else _NOT_ACCEPTED
    if origin is tuple:
        return _converted_items(inner, raw)
    if origin is dict:
        return _converted_pairs(inner, raw)
    if issubclass(form, Enum):
        return next((member for member in form if member.value == raw), _NOT_ACCEPTED)
    if form is float or (form is int):
        return _converted_number(inner, raw)
    if form is Path:
        return _expanded(raw) if isinstance(raw, str | Path) and str(raw) else _NOT_ACCEPTED
    if not isinstance(raw, form) or (accepts.choices and raw not in accepts.choices):
        return _NOT_ACCEPTED
    return raw


def _expanded(raw: str | Path) -> object:
    try:
        return Path(raw).expanduser()
    except RuntimeError:  # `~name`, and there is nobody of that name
        return _NOT_ACCEPTED


def _converted_number(accepts: Accepts, raw: object) -> object:
    wanted = int | float if accepts.form is float else int
    if isinstance(raw, bool) or not isinstance(raw, wanted):
        return _NOT_ACCEPTED
    if accepts.minimum is not None and raw < accepts.minimum:
        return _NOT_ACCEPTED
    if accepts.maximum is not None and raw > accepts.maximum:
        return _NOT_ACCEPTED
    if accepts.choices and raw not in accepts.choices:
        return _NOT_ACCEPTED
    if accepts.form is int:
        return raw
    return float(raw) if abs(raw) < 1e300 and not math.isnan(raw) else _NOT_ACCEPTED  # noqa: PLR2004 - no infinity


def _converted_items(accepts: Accepts, raw: object) -> object:
    if not isinstance(raw, list | tuple):
        return _NOT_ACCEPTED
    one = accepts.of(get_args(accepts.form)[0])
    items = tuple(_converted(one, item) for item in raw)
    return _NOT_ACCEPTED if _NOT_ACCEPTED in items else items


def _converted_pairs(accepts: Accepts, raw: object) -> object:
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        return _NOT_ACCEPTED
    one = accepts.of(get_args(accepts.form)[1])
    pairs = {key: _converted(one, item) for key, item in raw.items()}
    return _NOT_ACCEPTED if _NOT_ACCEPTED in pairs.values() else pairs


def _raw(form: Any, text: str) -> object:
    """What YAML would have made of an environment variable's text; the text itself when it fits nothing."""
    origin = get_origin(form)
    if origin in (tuple, dict):
        return _raw_many(origin, form, text)
    if origin is Literal:
        return next((word for word in get_args(form) if str(word) == text), text)
    if form is bool:
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text
    if form in (int, float):
        try:
            return form(text)
        except ValueError:
            return text
    return text


def _raw_many(origin: type, form: Any, text: str) -> object:
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if origin is tuple:
        return [_raw(get_args(form)[0], part.strip()) for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals for _, equals, _ in pairs):
        return text
    return {key.strip(): _raw(get_args(form)[1], value.strip()) for key, _, value in pairs}


def _without_none(form: Any) -> tuple[Any, bool]:
    if get_origin(form) not in (Union, UnionType):
        return form, False
    rest = [part for part in get_args(form) if part is not NoneType]
    if len(rest) != 1:
        raise TypeError(f"a setting has one type, or one type and None: {form}")
    return rest[0], True


def _words(accepts: Accepts) -> str:
    form = accepts.form
    origin = get_origin(form)
    choices = get_args(form) if origin is Literal else accepts.choices
    if choices:
        return "one of " + ", ".join(str(choice) for choice in choices)
    if origin is tuple:
        return f"a list, each {expectation(accepts.of(get_args(form)[0]))}"
    if origin is dict:
        return f"a map of names, each with {expectation(accepts.of(get_args(form)[1]))}"
    if issubclass(form, Enum):
        return "one of " + ", ".join(str(member.value) for member in form)
    plain = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
    if form not in plain:
        raise TypeError(f"not a type that a setting can have: {form}")
    return plain[form] + _range(accepts)


def _range(accepts: Accepts) -> str:
    low, high = accepts.minimum, accepts.maximum
    if low is not None and high is not None:
        return f" from {_digits(low)} to {_digits(high)}"
    if low is not None:
        return f" of at least {_digits(low)}"
    return "" if high is None else f" of at most {_digits(high)}"


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
