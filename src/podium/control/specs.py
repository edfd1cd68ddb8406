"""Typed specs as built-in values and back: the one form in which specs are stored, compared and shown."""

from typing import cast

import msgspec

from podium.core.resources import Kind, Resource, Spec, spec_from_builtins

__all__ = ["Key", "State", "Values", "resource_from_values", "same_values", "values_of"]

Values = dict[str, object]
Key = tuple[Kind, str]
State = dict[Key, Resource]


def values_of(spec: Spec) -> Values:
    """The spec as built-in values; a field that has its default is left out, also when it was written down."""
    kept: Values = {}
    for field in msgspec.structs.fields(spec):
        value = msgspec.to_builtins(getattr(spec, field.name))
        if not same_values(value, _default(field)):
            kept[field.encode_name] = value
    return kept


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
        return msgspec.to_builtins(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(cast("object", field.default_factory()))
    return msgspec.NODEFAULT
