"""Whether an answer is what the JSON schema of its request declares.

Schema and answer are strangers' work, so that everything here is bounded: both in bytes, and what the comparison may
take in time of the processor. It runs in a thread of its own, one comparison after the other. A bound that is reached,
a schema that is none, and one that leads to another document (nothing is ever fetched) give `UNKNOWN`.

Not looked at: `pattern` and `patternProperties`, because a regular expression can take for ever, `format`, which the
standard leaves open, and `unevaluatedItems`, `unevaluatedProperties` and `$dynamicRef`.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from enum import StrEnum
from functools import cache, partial
from typing import Any

import msgspec
import structlog

__all__ = ["MAX_ANSWER", "MAX_CPU_S", "MAX_SCHEMA", "Fit", "fit_of", "fits"]

log = structlog.get_logger("podium.gateway")

MAX_SCHEMA = 32 * 1024  # bytes
MAX_ANSWER = 256 * 1024  # characters
MAX_CPU_S = 0.02
_MOST_WAITING = 64  # further answers are not compared
_LOOK_EVERY = 8  # steps between two looks at the clock
_WIDE = 100  # items of an array or object that take as long as a step
_TOO_WIDE = 5000  # between two steps there is no stopping

_NOT_LOOKED_AT = (
    "$dynamicRef",
    "format",
    "pattern",
    "patternProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
)

_SUBSCHEMA, _NUMBER = (dict, bool), (int, float)
_SHAPES: dict[str, type | tuple[type, ...]] = {  # what else the library would misread in silence, or stumble over
    **dict.fromkeys(("$ref",), str),
    **dict.fromkeys(("allOf", "anyOf", "enum", "oneOf", "prefixItems", "required"), list),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "properties"), dict),
    **dict.fromkeys(("additionalProperties", "contains", "if", "items", "not", "propertyNames"), _SUBSCHEMA),
    **dict.fromkeys(("minItems", "minLength", "minProperties", "maxItems", "maxLength", "maxProperties"), _NUMBER),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _NUMBER),
    "type": (str, list),
    "uniqueItems": bool,
}

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]  # validator, the keyword's value, instance, schema


class Fit(StrEnum):
    """What came of a comparison."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class _NoSchemaError(Exception):
    """A keyword has a value that it cannot have."""


class _TooCostlyError(Exception):
    """It has taken as long as it may."""


class _Allowance:
    """What one comparison may still take."""

    def __init__(self) -> None:
        self._steps = 0
        self._look_at = _LOOK_EVERY
        self._until_ns = time.thread_time_ns() + int(MAX_CPU_S * 1e9)

    def step(self, instance: Any) -> None:
        """Go on to a part of the answer, or _TooCostlyError."""
        width = len(instance) if isinstance(instance, list | dict) else 0
        if width > _TOO_WIDE:
            raise _TooCostlyError
        self._steps += 1 + width // _WIDE
        if self._steps >= self._look_at:
            self._look_at = self._steps + _LOOK_EVERY
            if time.thread_time_ns() > self._until_ns:
                raise _TooCostlyError


_allowance: ContextVar[_Allowance] = ContextVar("allowance")
_pool = ThreadPoolExecutor(1, thread_name_prefix="answer schemas")  # its thread starts with the first comparison
_waiting: set[asyncio.Future[Fit]] = set()


async def fits(schema: bytes, text: str) -> Fit:
    """Whether a text is JSON of this schema; the event loop goes on meanwhile."""
    if len(schema) > MAX_SCHEMA or len(text) > MAX_ANSWER or len(_waiting) >= _MOST_WAITING:
        return Fit.UNKNOWN
    comparison = asyncio.get_running_loop().run_in_executor(_pool, fit_of, schema, text)
    _waiting.add(comparison)
    comparison.add_done_callback(_waiting.discard)
    return await comparison


def fit_of(schema: bytes, text: str) -> Fit:
    """The same, here and now."""
    try:
        validator_of = _validator()
        _allowance.set(_Allowance())
        validator = validator_of(_read(schema))
        return Fit.YES if validator.is_valid(msgspec.json.decode(text)) else Fit.NO
    except Exception as error:  # noqa: BLE001 - the job's boundary: strangers' schemas find what nobody thought of
        log.debug("answer_not_compared", error=type(error).__name__)
        return Fit.UNKNOWN


def _read(schema: bytes) -> dict[str, Any] | bool:
    made = msgspec.json.decode(schema)
    if isinstance(made, dict):
        made.pop("$schema", None)  # all dialects are read as the newest
    if not isinstance(made, dict | bool) or _names_a_dialect(made):
        raise _NoSchemaError
    return made


def _names_a_dialect(schema: Any) -> bool:
    """Whether something inside says `$schema`: the library would go on with validators that count nothing."""
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if isinstance(one.get("$schema"), str):
                return True
            left += one.values()
        elif isinstance(one, list):
            left += one
    return False


@cache
def _validator() -> Callable[[Any], Any]:
    """Makes a validator of a schema, which knows that schema and the standard's own documents."""
    import jsonschema_specifications  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and few need it
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # noqa: PLC0415
    from jsonschema.validators import extend  # type: ignore[import-untyped]  # noqa: PLC0415

    checks = {name: _counted(name, check) for name, check in Draft202012Validator.VALIDATORS.items()}
    checks["additionalProperties"] = _unless_patterns(checks["additionalProperties"])
    checks["uniqueItems"] = _counted("uniqueItems", _unique_items)
    checks |= dict.fromkeys(_NOT_LOOKED_AT, _passes)
    return partial(extend(Draft202012Validator, checks), registry=jsonschema_specifications.REGISTRY)


def _counted(name: str, check: Keyword) -> Keyword:
    shape = _SHAPES.get(name, object)

    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        _allowance.get().step(instance)
        if not isinstance(value, shape):
            raise _NoSchemaError
        return check(validator, value, instance, schema)

    return counted


def _unless_patterns(check: Keyword) -> Keyword:
    def unless(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        return None if "patternProperties" in schema else check(validator, value, instance, schema)

    return unless


def _passes(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> None:
    return None


def _unique_items(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """In linear time, which the library's is not; 1 and 1.0 pass for two."""
    from jsonschema import ValidationError  # noqa: PLC0415 - as above

    if value and isinstance(instance, list):
        encoded = {msgspec.json.encode(one, order="sorted") for one in instance}
        if len(encoded) < len(instance):
            yield ValidationError("it has an item twice")
