"""Whether prerequisites of flags can be followed to their end."""

from collections.abc import Mapping, Sequence

from podium.core.flags import MAX_PREREQUISITE_DEPTH, Flag

__all__ = ["endless_or_deep"]


def endless_or_deep(flags: Mapping[str, Flag]) -> dict[str, str]:
    """What is wrong with the prerequisites of flags, by their names: they lead back, or too far."""
    depths: dict[str, int] = {}
    problems: dict[str, str] = {}
    for name in flags:
        ring = _follow(name, flags, depths)
        if name in ring:
            problems.setdefault(name, f"leads back to the flag itself: {' -> '.join(ring)}")
    for name, depth in depths.items():
        if depth > MAX_PREREQUISITE_DEPTH:
            problems.setdefault(name, f"leads {depth} flags deep, and more than {MAX_PREREQUISITE_DEPTH} are too many")
    return problems


def _follow(start: str, flags: Mapping[str, Flag], depths: dict[str, int]) -> Sequence[str]:
    """The ring that `start` is part of, or leads into; empty: none. Adds how deep flags lead to `depths`.

    Without recursion: a chain may be as long as there are flags before anybody has checked it.
    """
    path: list[str] = []
    waiting = [(start, False)]
    while waiting:
        name, done = waiting.pop()
        needed = [one.flag for one in flags[name].prerequisites if one.flag in flags] if name in flags else []
        if done:
            path.pop()
            depths[name] = max((depths[other] + 1 for other in needed), default=0)
        elif name in path:
            return [*path[path.index(name) :], name]
        elif name not in depths:
            path.append(name)
            waiting.append((name, True))
            waiting += [(other, False) for other in needed]
    return ()
