"""Typed specs as built-in values and back: the one form in which specs are stored, compared and shown."""

import msgspec

from podium.core.resources import Kind, Resource, spec_from_builtins

__all__ = ["Key", "State", "Values", "resource_from_values", "same_values", "values_of"]

Values = dict[str, object]
Key = tuple[Kind, str]
State = dict[Key, Resource]


def values_of(spec: msgspec.Struct) -> Values:
    """The spec as built-in values; a field that has its default is left out, also when it was written down."""
    kept: Values = {}
    for field in msgspec.structs.fields(spec):
        value = _builtin(getattr(spec, field.name))
        if not same_values(value, _default(field)):
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
    if one is msgspec.NODEFAULT or other is msgspec.NODEFAULT:
        return False
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def resource_from_values(kind: Kind, name: str, values: Values) -> Resource:
    """The resource that `values_of` was taken from."""
    return Resource(kind, name, spec_from_builtins(kind, values))


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default is not msgspec.NODEFAULT:
        return _builtin(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return _builtin(field.default_factory())
    return msgspec.NODEFAULT
