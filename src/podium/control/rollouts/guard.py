"""What `apply`, `delete` and `undo` may not do to rollouts. Pure: two states in, problems out.

`Progress` is written by rollouts alone, and what an active one stands on stays as it is until it has ended.
"""

from collections.abc import Iterator

from podium.control.ports import Revision
from podium.control.problems import Problem
from podium.control.specs import Key, State
from podium.core.resources import Model, Progress, Resource, Rollout
from podium.core.rollouts import ACTIVE_PHASES

__all__ = ["check_active", "check_declared", "check_undo", "is_active", "kept_progress", "tidied"]


def is_active(progress: Progress | None) -> bool:
    """Whether the rollout has been asked for or has begun, and has not ended."""
    return progress is not None and (progress.phase in ACTIVE_PHASES or bool(progress.asked_by))


def check_declared(before: State, after: State) -> Iterator[Problem]:
    """Why an operator may not declare `after`."""
    for key in before.keys() | after.keys():
        if key[0] != "Progress" or before.get(key) is after.get(key):
            continue
        if key in after or ("Rollout", key[1]) in after:  # else it goes with its rollout
            yield Problem(
                message="is where a rollout stands, which only rollouts write: `podium rollout` starts and moves them",
                kind="Progress",
                name=key[1],
            )
    for key, resource in after.items():
        if key[0] == "Rollout" and "/" in key[1] and before.get(key) is not resource:
            yield Problem(message="the name of a rollout has no `/`", kind="Rollout", name=key[1], path="name")
    yield from check_active(before, after)


def check_active(before: State, after: State, *, but: str = "") -> Iterator[Problem]:
    """What `after` would take from under rollouts that have begun and not ended, all `but` one."""
    for rollout, progress in _active(before):
        if rollout.name == but:
            continue
        yield from _changed_rollout(rollout, after)
        yield from _changed_model(rollout, progress, before, after)


def check_undo(revision: Revision) -> Iterator[Problem]:
    """Why a revision may not be taken back as others are."""
    for change in revision.changes:
        if change.kind == "Progress" and change.after is not None:
            yield Problem(
                message="a rollout's step is not undone as other changes are: `podium rollout undo` goes back",
                kind="Progress",
                name=change.name,
                conflict=True,
            )


def kept_progress(before: State, after: State) -> State:
    """What is kept when all that is not declared is deleted: where the rollouts stand that are still declared."""
    return {key: resource for key, resource in before.items() if key[0] == "Progress" and ("Rollout", key[1]) in after}


def tidied(before: State, after: State) -> State:
    """`after` without the progress that rollouts leave behind when they are deleted."""
    return {
        key: resource
        for key, resource in after.items()
        if key[0] != "Progress" or ("Rollout", key[1]) in after or before.get(key) is not resource
    }


def _active(state: State) -> Iterator[tuple[Resource, Progress]]:
    for (kind, name), resource in state.items():
        if kind == "Rollout" and isinstance(resource.spec, Rollout):
            progress = state.get(("Progress", name))
            if progress is not None and isinstance(progress.spec, Progress) and is_active(progress.spec):
                yield resource, progress.spec


def _changed_rollout(resource: Resource, after: State) -> Iterator[Problem]:
    now = after.get(("Rollout", resource.name))
    if now is resource:
        return
    hint = f"abort it first: `podium rollout abort {resource.name}`"
    if now is None:
        yield Problem(message=f"is under way; {hint}", kind="Rollout", name=resource.name, conflict=True)
        return
    # What was approved, tested and measured was this plan, so all of it stays, thresholds and approvals too.
    yield Problem(
        message=f"is under way and cannot be another plan meanwhile; {hint}",
        kind="Rollout",
        name=resource.name,
        conflict=True,
    )


def _changed_model(rollout: Resource, progress: Progress, before: State, after: State) -> Iterator[Problem]:
    if not isinstance(rollout.spec, Rollout):
        return
    key: Key = ("Model", rollout.spec.model)
    old, new = before.get(key), after.get(key)
    if old is None or new is None or not (isinstance(old.spec, Model) and isinstance(new.spec, Model)):
        return
    if new.spec.version != old.spec.version:
        yield Problem(
            message=f"rollout `{rollout.name}` is moving this model from `{progress.before}`;"
            f" abort it first: `podium rollout abort {rollout.name}`",
            kind="Model",
            name=key[1],
            path="spec.version",
            conflict=True,
        )
