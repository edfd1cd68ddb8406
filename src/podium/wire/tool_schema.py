"""JSON schemas of functions, made ready for the grammar that our workers sample with (LLGuidance).

A grammar that does not compile is ignored by the worker without a word, so what it cannot enforce is refused
here, by name. Each list below was tried on the worker; see also
https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
"""

import re
from typing import Any

from podium.core.errors import InvalidRequest

__all__ = ["grammar_schema"]

_MAX_DEPTH = 32
_REFUSED = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_FORMATS = frozenset({"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_ONE_SCHEMA = frozenset({"additionalProperties", "items", "additionalItems"})
_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_COMBINED = frozenset({"anyOf", "oneOf", "allOf", "$ref", "patternProperties", "additionalProperties"})
_BOUNDS = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)
# Look-around, conditions, comments; word boundaries and references back, an escaped backslash before them aside.
_NOT_REGULAR = re.compile(r"\(\?(?:[=!#(>]|<[=!]|P=)|(?<!\\)(?:\\\\)*\\[bBAZzGk1-9]")
# Short output, and `oneOf` read as `anyOf`.
_OPTIONS = {"whitespace_flexible": False, "coerce_one_of": True}


def grammar_schema(parameters: dict[str, Any] | None, where: str) -> dict[str, Any]:
    """The schema that the arguments of a call are sampled with. It allows nothing that `parameters` forbids.

    Objects that say nothing about other properties get none: a small model would not stop adding them.
    InvalidRequest names what cannot be enforced; `where` is the schema's place in the request.
    """
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    schema: dict[str, Any] = _Preparation(parameters).prepare(parameters, where, 0, closing=True)
    kind = schema.setdefault("type", "object")
    if kind != "object":
        raise InvalidRequest("The `parameters` of a function must be a schema of type object.", parameter=where)
    return schema | {"x-guidance": _OPTIONS}


class _Preparation:
    """One schema document."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def prepare(self, schema: Any, where: str, depth: int, *, closing: bool) -> Any:
        """A copy of `schema` without what has no effect; `closing`: nothing else constrains the same value."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise InvalidRequest("A JSON schema must be an object or a boolean.", parameter=where)
        if depth > _MAX_DEPTH:
            raise InvalidRequest(f"The JSON schema is nested deeper than {_MAX_DEPTH} levels.", parameter=where)
        closing = closing and not _COMBINED & schema.keys()
        prepared = {
            name: self._keyword(name, value, f"{where}.{name}", depth + 1, closing=closing)
            for name, value in schema.items()
            if not _without_effect(name, value)
        }
        _check_bounds(prepared, where)
        if closing and "properties" in prepared:
            prepared["additionalProperties"] = False
        _check_required(prepared, where)
        return prepared

    def _keyword(self, name: str, value: Any, where: str, depth: int, *, closing: bool) -> Any:
        if name in _REFUSED or name == "uniqueItems":
            raise InvalidRequest(f"The JSON schema keyword `{name}` is not supported by this model.", parameter=where)
        if name in _NAMED_SCHEMAS:
            if not isinstance(value, dict):
                raise InvalidRequest(f"`{name}` must be an object.", parameter=where)
            closing &= name == "properties"
            return {key: self.prepare(part, f"{where}.{key}", depth, closing=closing) for key, part in value.items()}
        if name in _SCHEMAS or (name == "items" and isinstance(value, list)):
            if not isinstance(value, list):
                raise InvalidRequest(f"`{name}` must be an array.", parameter=where)
            return [self.prepare(part, f"{where}[{i}]", depth, closing=False) for i, part in enumerate(value)]
        if name in _ONE_SCHEMA:
            return self.prepare(value, where, depth, closing=closing)
        self._check_value(name, value, where)
        return value

    def _check_value(self, name: str, value: Any, where: str) -> None:
        if name == "type":
            kinds = value if isinstance(value, list) else [value]
            if not kinds or not all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
                raise InvalidRequest("`type` must be one of JSON's types, or several.", parameter=where)
        elif name == "pattern":
            _check_pattern(value, where)
        elif name == "enum" and not (isinstance(value, list) and value):
            raise InvalidRequest("`enum` must be an array that is not empty.", parameter=where)
        elif name == "$ref" and not self._resolves(value):
            raise InvalidRequest("`$ref` must point to a place within this schema.", parameter=where)

    def _resolves(self, reference: Any) -> bool:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return False
        place: Any = self._root
        for part in reference.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or key not in place:
                return False
            place = place[key]
        return True


def _without_effect(name: str, value: Any) -> bool:
    """True for a format that is an annotation only, as JSON Schema has it for unknown ones, and for what is off."""
    return (name == "format" and value not in _FORMATS) or (name == "uniqueItems" and value is False)


def _check_pattern(pattern: Any, where: str) -> None:
    try:
        regular = isinstance(pattern, str) and _NOT_REGULAR.search(pattern) is None
        if regular:
            re.compile(_without_properties(pattern))
    except (re.error, RecursionError, OverflowError):
        regular = False
    if not regular:
        message = "`pattern` must be a regular expression without look-around, references back and word boundaries."
        raise InvalidRequest(message, parameter=where)


def _without_properties(pattern: str) -> str:
    r"""The pattern without \p{...}, which Python's `re` does not know."""
    return re.sub(r"\\[pP]\{\w+\}", "x", pattern)


def _check_bounds(schema: dict[str, Any], where: str) -> None:
    for low, high in _BOUNDS:
        least, most = schema.get(low), schema.get(high)
        for name, bound in ((low, least), (high, most)):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
                raise InvalidRequest(f"`{name}` must be a number.", parameter=f"{where}.{name}")
        if least is not None and most is not None and least > most:
            raise InvalidRequest(f"`{low}` is greater than `{high}`.", parameter=f"{where}.{low}")


def _check_required(schema: dict[str, Any], where: str) -> None:
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise InvalidRequest("`required` must be an array of strings.", parameter=f"{where}.required")
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return
    missing = [name for name in required if schema.get("properties", {}).get(name, False) is False]
    if missing:
        message = f"The property {missing[0][:64]!r} is required, but not declared."
        raise InvalidRequest(message, parameter=f"{where}.required")
