"""Typed specs as built-in values and back: the one form in which specs are stored, compared and shown."""

from functools import cache

import msgspec

from podium.core.resources import Kind, Resource, spec_from_builtins

__all__ = ["Key", "State", "Values", "resource_from_values", "same_values", "values_of"]

Values = dict[str, object]
Key = tuple[Kind, str]
State = dict[Key, Resource]


def values_of(spec: msgspec.Struct) -> Values:
    """The spec as built-in values; a field that has its default is left out, also when it was written down."""
    kept: Values = {}
    for field, default in _fields(type(spec)):
        value = _builtin(getattr(spec, field.name))
        if default is None or msgspec.json.encode(value, order="sorted") != default:
            kept[field.encode_name] = value
    return kept


def _builtin(value: object) -> object:
    match value:
        case msgspec.Struct():
            return values_of(value)
        case tuple() | list():
            return [_builtin(item) for item in value]
        case dict():
            return {key: _builtin(item) for key, item in value.items()}
        case _:
            return value


def same_values(one: object, other: object) -> bool:
    """Whether two built-in values are the same as JSON: `1`, `1.0` and `true` are three things."""
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def resource_from_values(kind: Kind, name: str, values: Values) -> Resource:
    """The resource that `values_of` was taken from."""
    return Resource(kind, name, spec_from_builtins(kind, values))


@cache
def _fields(spec: type[msgspec.Struct]) -> tuple[tuple[msgspec.structs.FieldInfo, bytes | None], ...]:
    """Of a kind of spec, and of its parts: each field, and its default as JSON, None where there is none."""
    return tuple((field, _default(field)) for field in msgspec.structs.fields(spec))


def _default(field: msgspec.structs.FieldInfo) -> bytes | None:
    if field.default is not msgspec.NODEFAULT:
        default = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    else:
        return None
    return msgspec.json.encode(_builtin(default), order="sorted")
