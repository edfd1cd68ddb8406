"""Whether declared flags fit together. Pure, as `podium.control.validation`, which asks it."""

from collections.abc import Iterator

from podium.control.problems import Problem
from podium.control.specs import State
from podium.core.flags import MAX_FLAGS, Flag, FlagType
from podium.core.rollouts import Rollout
from podium.delivery.flags.rings import endless_or_deep

__all__ = ["KNOWN_FLAGS", "check_flags", "flags_of"]

# Flags that Podium itself reads, or that are agreed with clients, and what they must be.
KNOWN_FLAGS: dict[str, FlagType] = {
    "enable_new_model": "boolean",
    "max_context_length": "number",
    "safety_filter_strictness": "string",
}


def flags_of(state: State) -> dict[str, Flag]:
    """The flags of a state by their names."""
    return {name: one.spec for (kind, name), one in state.items() if kind == "Flag" and isinstance(one.spec, Flag)}


def check_flags(before: State, after: State) -> Iterator[Problem]:
    """What a change breaks: prerequisites that lead back or too far or want what is not there, wrong types, too many.

    That the flags they name are there at all is found with the other references.
    """
    known, flags = flags_of(before), flags_of(after)
    yield from _gates(after, flags)
    if flags == known:
        return
    for name, flag in flags.items():
        yield from _wanted_variants(name, flag, flags, known)
        if flag.type != KNOWN_FLAGS.get(name, flag.type) and known.get(name) != flag:
            message = f"gateways and clients read `{name}` as a {KNOWN_FLAGS[name]}; give yours another name"
            yield Problem(message=message, kind="Flag", name=name, path="spec.type")
    old = endless_or_deep(known)
    for name, wrong in endless_or_deep(flags).items():
        if old.get(name) != wrong:
            yield Problem(message=wrong, kind="Flag", name=name, path="spec.prerequisites")
    if len(flags) > MAX_FLAGS and len(flags) > len(known):
        yield Problem(message=f"more than {MAX_FLAGS} flags", kind="Flag", conflict=True)


def _gates(after: State, flags: dict[str, Flag]) -> Iterator[Problem]:
    """Rollouts whose flag is not a boolean; none ever was."""
    for one in after.values():
        gate = one.spec.flag if isinstance(one.spec, Rollout) else None
        flag = None if gate is None else flags.get(gate)
        if flag is not None and flag.type != "boolean":
            message = f"Flag/{gate} is of type {flag.type}, and a rollout needs a boolean"
            yield Problem(message=message, kind=one.kind, name=one.name, path="spec.flag")


def _wanted_variants(name: str, flag: Flag, flags: dict[str, Flag], known: dict[str, Flag]) -> Iterator[Problem]:
    for index, wanted in enumerate(flag.prerequisites):
        other = flags.get(wanted.flag)
        if other is None or wanted.variant in other.values:
            continue
        if known.get(name) != flag:
            message = f"Flag/{wanted.flag} has no variant `{wanted.variant}`; it has {', '.join(other.values)}"
            path = f"spec.prerequisites[{index}].variant"
            yield Problem(message=message, kind="Flag", name=name, path=path)
        elif known.get(wanted.flag) != other:
            message = f"its variant `{wanted.variant}` is still wanted by Flag/{name} (spec.prerequisites[{index}])"
            yield Problem(message=message, kind="Flag", name=wanted.flag, path="spec.variants", conflict=True)
