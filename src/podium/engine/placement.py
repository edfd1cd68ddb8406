"""Which models are in memory. Pure: what there is and the budget in, what to load and to unload out.

Rules, in this order:
1. A pinned one stays, and comes first.
2. One that a caller waits for comes next, longest wait first; for it the least recently used ones make room, but never
   a pinned one, one that is being loaded, or one with calls under way.
3. When models have grown beyond the budget, the least recently used ones leave, but never the last one.
4. One that a Model or a Rollout names is loaded ahead of its first call as long as there is room left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Placement", "Resident", "place"]


@dataclass(frozen=True, slots=True)
class Resident:
    """One model that may be in memory."""

    name: str
    mib: int  # what it takes there
    loaded: bool = False  # or being loaded, or being unloaded: it takes memory
    leaving: bool = False  # it is being unloaded
    loading: bool = False
    pinned: bool = False
    in_use: bool = False  # a Model or a Rollout names it
    running: int = 0  # calls under way
    used_ns: int = 0  # when it was called last; 0: never
    wanted_ns: int | None = None  # since when callers wait for it; None: nobody does


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do now. What has to leave first is in `unload`; its successor is loaded once it has gone."""

    load: tuple[str, ...] = ()
    unload: tuple[str, ...] = ()
    impossible: dict[str, str] = field(default_factory=dict)  # why some can never be loaded


def place(residents: Sequence[Resident], budget_mib: int) -> Placement:
    """The next steps; the same state gives the same steps."""
    impossible = _impossible(residents, budget_mib)
    free = budget_mib - sum(one.mib for one in residents if one.loaded)
    coming_free = sum(one.mib for one in residents if one.leaving)
    evictable = sorted((one for one in residents if _may_leave(one)), key=lambda one: (one.used_ns, one.name))
    load: list[str] = []
    grown = _oldest_above(evictable[:-1], -free - coming_free)
    unload = [gone.name for gone in grown]
    evictable = [other for other in evictable if other not in grown]
    coming_free += sum(gone.mib for gone in grown)
    for one in sorted((one for one in residents if _should_come(one) and one.name not in impossible), key=_urgency):
        if one.mib <= free:
            free -= one.mib
            load.append(one.name)
            continue
        if not (one.pinned or one.wanted_ns is not None):
            continue  # smaller ones behind it may still fit
        # What is leaving already makes room for the most urgent; nothing else is thrown out in its place.
        missing = one.mib - free - coming_free
        leaving = _oldest_until(evictable, missing)
        if leaving is None:
            break  # nothing may go now: it waits, and nothing takes the room that it waits for
        unload += [gone.name for gone in leaving]
        evictable = [other for other in evictable if other not in leaving]
        coming_free += sum(gone.mib for gone in leaving)
        coming_free -= one.mib - free
        free = 0
    return Placement(tuple(load), tuple(unload), impossible)


def _impossible(residents: Sequence[Resident], budget_mib: int) -> dict[str, str]:
    pinned = sum(one.mib for one in residents if one.pinned and one.loaded)
    found: dict[str, str] = {}
    for one in residents:
        if one.loaded:
            continue
        if one.mib > budget_mib:
            found[one.name] = f"It needs about {one.mib} MiB, and `engine.memory_budget_mib` is {budget_mib}."
        elif one.mib > budget_mib - pinned:
            found[one.name] = f"It needs about {one.mib} MiB; of {budget_mib}, pinned models take {pinned}."
    return found


def _should_come(one: Resident) -> bool:
    return not one.loaded and (one.pinned or one.in_use or one.wanted_ns is not None)


def _may_leave(one: Resident) -> bool:
    return one.loaded and not (one.pinned or one.loading or one.leaving or one.running or one.wanted_ns is not None)


def _urgency(one: Resident) -> tuple[int, int, str]:
    if one.pinned:
        return (0, 0, one.name)
    if one.wanted_ns is not None:
        return (1, one.wanted_ns, one.name)
    return (2, 0, one.name)


def _oldest_above(evictable: Sequence[Resident], excess: int) -> list[Resident]:
    """As many of the first of them as it takes to give back so much, or all."""
    taken: list[Resident] = []
    for one in evictable:
        if excess <= 0:
            break
        taken.append(one)
        excess -= one.mib
    return taken


def _oldest_until(evictable: Sequence[Resident], missing: int) -> list[Resident] | None:
    """The first of them that together have so much; None: all of them have not."""
    taken = _oldest_above(evictable, missing)
    return taken if sum(one.mib for one in taken) >= missing else None
