"""JSON schemas for the API's constrained decoding (structured outputs, strict tools).

It takes a part of JSON schema: objects must be closed, and bounds are not known. Bounds move into the description,
where the model reads them, as the official clients do it (`anthropic.transform_schema`).
"""

from typing import Any

__all__ = ["fit_schema"]

# Keywords whose values are schemas, and those whose values are maps or lists of schemas.
_ONE = frozenset(("items", "not"))
_MAPS = frozenset(("properties", "$defs", "definitions"))
_LISTS = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_BOUNDS = frozenset(
    (
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    )
)
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
)


def fit_schema(schema: Any) -> tuple[Any, bool]:
    """A schema that the API takes, and whether it says the same for whoever stays within its named properties.

    False: an object in it was to hold properties of any name, which constrained decoding cannot do.
    """
    fitted, opened = _fit(schema)
    return fitted, not opened


def _fit(schema: Any) -> tuple[Any, bool]:
    if not isinstance(schema, dict):
        return schema, False  # `true`, `false`, or nonsense that the provider judges
    fitted: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    opened = False
    for keyword, value in schema.items():
        if _is_bound(keyword, value):
            bounds[keyword] = value
        elif keyword != "additionalProperties":
            fitted["anyOf" if keyword == "oneOf" else keyword], inner = _fit_value(keyword, value)
            opened |= inner
    if _is_object(schema):
        opened |= schema.get("additionalProperties") not in (None, False)
        fitted["additionalProperties"] = False
    if bounds:
        listed = "{" + ", ".join(f"{keyword}: {value}" for keyword, value in bounds.items()) + "}"
        described = fitted.get("description")
        fitted["description"] = f"{described}\n\n{listed}" if described else listed
    return fitted, opened


def _fit_value(keyword: str, value: Any) -> tuple[Any, bool]:
    if keyword in _ONE:
        return _fit(value)
    if keyword in _MAPS and isinstance(value, dict):
        pairs = {name: _fit(inner) for name, inner in value.items()}
        return {name: fitted for name, (fitted, _) in pairs.items()}, any(opened for _, opened in pairs.values())
    if keyword in _LISTS and isinstance(value, list):
        items = [_fit(inner) for inner in value]
        return [fitted for fitted, _ in items], any(opened for _, opened in items)
    return value, False


def _is_bound(keyword: str, value: Any) -> bool:
    if keyword == "minItems":
        return value not in (0, 1)
    return keyword in _BOUNDS or (keyword == "format" and not (isinstance(value, str) and value in _FORMATS))


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)
