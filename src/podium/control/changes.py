"""What a set of documents changes in a state, as values."""

from collections.abc import Iterable, Iterator

import msgspec

from podium.control.ports import Change
from podium.control.specs import State, Values, resource_from_values, same_values, values_of
from podium.core.resources import Resource

__all__ = ["FieldChange", "applied", "changes_between", "field_changes", "inverse", "state_of"]


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field before and after, for people to read."""

    path: str
    before: object = None  # None: not there
    after: object = None


def state_of(resources: Iterable[Resource]) -> State:
    """Resources by kind and name."""
    return {(resource.kind, resource.name): resource for resource in resources}


def changes_between(before: State, after: State) -> tuple[Change, ...]:
    """What makes `after` of `before`, ordered by kind and name."""
    changes = []
    others = [key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)]
    for kind, name in sorted(others):
        old, new = before.get((kind, name)), after.get((kind, name))
        old_values = None if old is None else values_of(old.spec)
        new_values = None if new is None else values_of(new.spec)
        if not same_values(old_values, new_values):
            changes.append(Change(kind, name, old_values, new_values))
    return tuple(changes)


def applied(state: State, changes: Iterable[Change]) -> State:
    """The state after `changes`; msgspec.ValidationError when a stored spec is no longer a valid one."""
    after = dict(state)
    for change in changes:
        if change.after is None:
            after.pop((change.kind, change.name), None)
        else:
            after[change.kind, change.name] = resource_from_values(change.kind, change.name, change.after)
    return after


def inverse(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that take `changes` back."""
    return tuple(Change(change.kind, change.name, change.after, change.before) for change in changes)


def field_changes(change: Change) -> tuple[FieldChange, ...]:
    """The fields that differ, by key path."""
    return tuple(_differences("spec", change.before, change.after))


def _differences(path: str, before: object, after: object) -> Iterator[FieldChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        old: Values = before
        new: Values = after
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{key}", old.get(key), new.get(key))
    elif not same_values(before, after):
        yield FieldChange(path=path, before=before, after=after)
