"""Whether the declared state may become what a change makes of it. Pure: two states in, problems out.

Only what the change breaks is reported, so that a state that is wrong already can be mended step by step.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from podium.control.flags import check_flags
from podium.control.judge_rules import unfit_judges
from podium.control.problems import Problem
from podium.control.registry_rules import references_of_version, retired_in_use, wrong_versions
from podium.control.specs import Key, State
from podium.core.budgets import Budget
from podium.core.flags import Flag
from podium.core.limits import LimitPolicy
from podium.core.resources import Kind, Model, Resource, Version
from podium.core.rollouts import ACTIVE_PHASES, Arm, ArmShare, Progress, Rollout
from podium.delivery.digest import same_version

__all__ = ["MAX_RESOURCES", "check_change", "references"]

MAX_RESOURCES = 20_000
_KEY_IDS = re.compile(r"(?=[0-9a-z*]*\*)[0-9a-z*]{1,12}\Z|[0-9a-z]{12}\Z")


def check_change(
    before: State, after: State, *, tenants_with_keys: frozenset[str] = frozenset()
) -> tuple[Problem, ...]:
    """All reasons why the state may not go from `before` to `after`; none: it may."""
    return (
        *_changed_versions(before, after),
        *_missing_references(before, after),
        *_wrong_keys(before, after),
        *check_flags(before, after),
        *_deleted_tenants(before, after, tenants_with_keys),
        *_name_collisions(before, after),
        *wrong_versions(before, after),
        *retired_in_use(before, after, references),
        *_second_rollouts(before, after),
        *unfit_judges(before, after),
        *_too_many(before, after),
    )


def _changed_versions(before: State, after: State) -> Iterator[Problem]:
    for key, resource in after.items():
        old = before.get(key)
        if old is None or old is resource:
            continue
        if not isinstance(old.spec, Version) or not isinstance(resource.spec, Version):
            continue
        if not same_version(old.spec, resource.spec):
            yield Problem(
                message="what a Version answers with never changes: model names or weights, adapters, parameters,"
                " prompt, tools (where it runs may, and its notes); declare the new spec under a new name and point the"
                " Model to it",
                kind=resource.kind,
                name=resource.name,
                path="spec",
                conflict=True,
            )


def references(resource: Resource) -> Iterator[tuple[str, Key]]:
    """The key path of each reference and what it names. Keys are records, not resources."""
    match resource.spec:
        case Version():
            yield from references_of_version(resource.spec)
        case Model(version=version, failure=failure):
            yield "spec.version", ("Version", version)
            for index, fallback in enumerate(failure.fallbacks):
                yield f"spec.failure.fallbacks[{index}].model", ("Model", fallback.model)
        case Flag(prerequisites=prerequisites):
            for index, wanted in enumerate(prerequisites):
                yield f"spec.prerequisites[{index}].flag", ("Flag", wanted.flag)
        case LimitPolicy(where=where):
            yield from _named("tenant", "Tenant", where.tenant or ())
            yield from _named("model", "Model", where.model or ())
        case Budget(where=where):
            yield from _named("tenant", "Tenant", where.get("tenant", ()))
            yield from _named("model", "Model", where.get("model", ()))
        case Rollout() as rollout:
            yield from _of_rollout(rollout)
        case Progress() as progress:
            yield "name", ("Rollout", resource.name)
            yield "spec.before", ("Version", progress.before)
            yield from _of_arms(progress.arms)


def _of_rollout(rollout: Rollout) -> Iterator[tuple[str, Key]]:
    yield "spec.model", ("Model", rollout.model)
    if rollout.candidate is not None:
        yield "spec.candidate", ("Version", rollout.candidate)
    if rollout.flag is not None:
        yield "spec.flag", ("Flag", rollout.flag)
    yield from _of_arms(rollout.arms)
    if rollout.analysis is not None and rollout.analysis.judge_model is not None:
        yield "spec.analysis.judge_model", ("Model", rollout.analysis.judge_model)
    segments = [("spec.where", rollout.where)]
    segments += [(f"spec.steps[{index}].where", step.where) for index, step in enumerate(rollout.steps)]
    for place, segment in segments:
        for index, name in enumerate((segment.tenants if segment is not None else None) or ()):
            if "*" not in name:
                yield f"{place}.tenants[{index}]", ("Tenant", name)


def _of_arms(arms: Sequence[Arm | ArmShare]) -> Iterator[tuple[str, Key]]:
    for index, arm in enumerate(arms):
        yield f"spec.arms[{index}].version", ("Version", arm.version)


def _named(dimension: str, kind: Kind, patterns: tuple[str, ...]) -> Iterator[tuple[str, Key]]:
    for index, name in enumerate(patterns):
        if "*" not in name:
            yield f"spec.where.{dimension}[{index}]", (kind, name)


def _wrong_keys(before: State, after: State) -> Iterator[Problem]:
    """Keys of policies and budgets that no key can have: they are records, so whether they are there is not asked."""
    for key, resource in after.items():
        match resource.spec:
            case LimitPolicy(where=where):
                keys = where.key or ()
            case Budget(where=where):
                keys = where.get("key", ())
            case _:
                continue
        if before.get(key) is resource:
            continue
        for index, named in enumerate(keys):
            if not _KEY_IDS.match(named):  # it is not told: somebody may have pasted a whole key, which is secret
                message = "a key is named by its id, the 12 letters and digits after `pk_`; `*` matches any run of them"
                yield Problem(message=message, kind=resource.kind, name=resource.name, path=f"spec.where.key[{index}]")


def _missing_references(before: State, after: State) -> Iterator[Problem]:
    nothing_went = before.keys() <= after.keys()
    for key, resource in after.items():
        if nothing_went and before.get(key) is resource:
            continue
        for path, target in references(resource):
            if target in after:
                continue
            if target in before:
                yield Problem(
                    message=f"is still used by {resource.kind}/{resource.name} ({path})",
                    kind=target[0],
                    name=target[1],
                    conflict=True,
                )
            elif before.get(key) is not resource:
                message = f"there is no {target[0]} `{target[1]}`{_suggestion(target, after)}"
                yield Problem(message=message, kind=resource.kind, name=resource.name, path=path)


def _suggestion(target: Key, after: State) -> str:
    owner = _owner_of_alias(target[1], after) if target[0] == "Model" else None
    if owner is not None:
        return f"; it is an alias of `{owner}`"
    near = get_close_matches(target[1], [name for kind, name in after if kind == target[0]], 1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _owner_of_alias(alias: str, state: State) -> str | None:
    specs = ((resource.name, resource.spec) for resource in state.values())
    return next((name for name, spec in specs if isinstance(spec, Model) and alias in spec.aliases), None)


def _deleted_tenants(before: State, after: State, tenants_with_keys: frozenset[str]) -> Iterator[Problem]:
    for kind, name in before.keys() - after.keys():
        if kind == "Tenant" and name in tenants_with_keys:
            yield Problem(
                message="the tenant still has API keys; revoke them first", kind=kind, name=name, conflict=True
            )


def _name_collisions(before: State, after: State) -> Iterator[Problem]:
    """Names and aliases of models are one set: what a client asks for means one model."""
    known = _uses_of_public_names(before)
    for name, uses in _uses_of_public_names(after).items():
        if len(uses) == 1 or uses == known.get(name):
            continue
        unchanged_first = sorted(uses, key=lambda use: before.get(("Model", use[0])) is not after["Model", use[0]])
        owner = unchanged_first[0][0]
        for model, path in unchanged_first[1:]:
            whose = "this Model" if owner == model else f"Model/{owner}"
            message = f"`{name}` is a name or alias of {whose} already"
            yield Problem(message=message, kind="Model", name=model, path=path)


def _uses_of_public_names(state: State) -> dict[str, list[tuple[str, str]]]:
    """For each public name the models that have it, with the key path where they say so."""
    uses: dict[str, list[tuple[str, str]]] = {}
    for resource in state.values():
        if isinstance(resource.spec, Model):
            uses.setdefault(resource.name, []).append((resource.name, "name"))
            for index, alias in enumerate(resource.spec.aliases):
                uses.setdefault(alias, []).append((resource.name, f"spec.aliases[{index}]"))
    return uses


def _second_rollouts(before: State, after: State) -> Iterator[Problem]:
    """A model's traffic is moved by one rollout at a time."""
    moving: dict[str, str] = {}
    for key, resource in sorted(after.items(), key=lambda item: before.get(item[0]) is not item[1]):
        rollout = after.get(("Rollout", resource.name)) if isinstance(resource.spec, Progress) else None
        if rollout is None or not isinstance(resource.spec, Progress) or not isinstance(rollout.spec, Rollout):
            continue
        if resource.spec.phase in ACTIVE_PHASES and moving.setdefault(rollout.spec.model, key[1]) != key[1]:
            model = rollout.spec.model
            message = f"rollout `{moving[model]}` of the model `{model}` is under way; one runs at a time"
            yield Problem(message=message, kind="Rollout", name=key[1], conflict=True)


def _too_many(before: State, after: State) -> Iterator[Problem]:
    if len(after) > MAX_RESOURCES and len(after) > len(before):
        yield Problem(message=f"more than {MAX_RESOURCES} resources", conflict=True)
