"""An instance of a JSON schema, the same for the same schema."""

from typing import Any

__all__ = ["instance_of"]

_WORD = "Zürich"  # not in ASCII, so that a letter may be torn between two reads
_DEPTH = 16


def instance_of(schema: Any, *, _root: Any = None, _depth: int = 0) -> Any:
    """A value that fits `schema`: JSON Schema, or Google's and OpenAPI's dialects of it.

    Understood is what requests for structured output use; anything else counts as any value.
    """
    root = schema if _root is None else _root
    if not isinstance(schema, dict) or _depth > _DEPTH:
        return _WORD
    if "$ref" in schema:
        return instance_of(_referred(root, schema["$ref"]), _root=root, _depth=_depth + 1)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return instance_of(schema[word][0], _root=root, _depth=_depth + 1)
    return _typed(schema, root, _depth)


def _referred(root: Any, reference: str) -> Any:
    found = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _typed(schema: dict[str, Any], root: Any, depth: int) -> Any:  # noqa: PLR0911 - one line a type
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    match str(kind).lower():  # Google's are in capitals
        case "object":
            properties = schema.get("properties") or {}
            return {name: instance_of(part, _root=root, _depth=depth + 1) for name, part in properties.items()}
        case "array":
            item = instance_of(schema.get("items") or {}, _root=root, _depth=depth + 1)
            return [item] * max(1, int(schema.get("minItems", 1)))
        case "integer":
            return int(schema.get("minimum", 7))
        case "number":
            return float(schema.get("minimum", 7.5))
        case "boolean":
            return True
        case "null":
            return None
    word = _WORD * (1 + int(schema.get("minLength", 0)) // len(_WORD))
    return word[: int(schema.get("maxLength", len(word)))]
