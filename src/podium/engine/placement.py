"""Which models are in memory. Pure: what there is, the budget and the time in, what to load and to unload out.

Rules, in this order:
1. A pinned one stays, and comes first.
2. One that a caller waits for comes next, longest wait first. `HOLD` says who makes room for it: the least recently
   used of those without calls, or, once it has waited for `fair_wait_ns`, of those with calls too, the one that has
   been in memory for longest. Nobody makes room within the minimum stay after being loaded.
3. When models have grown beyond the budget, the least recently used ones leave, but never the last one.
4. One that a Model or a Rollout names is loaded ahead of its first call as long as there is room left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["HOLD", "NEVER_NS", "Hold", "Placement", "Resident", "hold_of", "impossible_ones", "place", "urgency"]

NEVER_NS = 1 << 62  # no wait is so long


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
    loaded_ns: int = 0  # when it was ready
    stays_until_ns: int = 0  # the end of its minimum stay
    load_s: float = 0.0  # how long it takes to load, or until it is loaded
    drain_s: float = 0.0  # how long calls under way take to end


class Hold(Enum):
    """What keeps a model in memory against one that a caller waits for."""

    NOTHING = "it leaves at once"
    CALLS = "it leaves for one that has waited for its turn"
    STAY = "it leaves at neither, yet"
    PINNED = "it never leaves"


# What of a loaded model holds first, and how. The first line that is true of it counts.
HOLD: tuple[tuple[str, Hold], ...] = (
    ("pinned", Hold.PINNED),
    ("loading", Hold.STAY),
    ("leaving", Hold.STAY),  # it makes room already
    ("wanted", Hold.STAY),  # callers wait for it, as for one that is tried again
    ("new", Hold.STAY),  # within its minimum stay
    ("running", Hold.CALLS),
)


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do now. What has to leave first is in `unload`; its successor is loaded once it has gone."""

    load: tuple[str, ...] = ()
    unload: tuple[str, ...] = ()
    impossible: dict[str, str] = field(default_factory=dict)  # why some can never be loaded


def place(
    residents: Sequence[Resident], budget_mib: int, *, now_ns: int = 0, fair_wait_ns: int = NEVER_NS
) -> Placement:
    """The next steps; the same state gives the same steps."""
    impossible = impossible_ones(residents, budget_mib)
    free = budget_mib - sum(one.mib for one in residents if one.loaded)
    coming_free = sum(one.mib for one in residents if one.leaving)
    unload = _grown(residents, -free - coming_free)
    coming_free += sum(gone.mib for gone in unload)
    load: list[str] = []
    for one in sorted((one for one in residents if _should_come(one) and one.name not in impossible), key=urgency):
        if one.mib <= free:
            free -= one.mib
            load.append(one.name)
            continue
        if not (one.pinned or one.wanted_ns is not None):
            continue  # smaller ones behind it may still fit
        # What is leaving already makes room for the most urgent; nothing else is thrown out in its place.
        fair = one.wanted_ns is not None and now_ns - one.wanted_ns >= fair_wait_ns
        missing = one.mib - free - coming_free
        leaving = _least_until(_may_leave(residents, unload, now_ns, fair=fair), missing)
        if leaving is None:
            break  # nothing may go now: it waits, and nothing takes the room that it waits for
        unload += leaving
        coming_free += sum(gone.mib for gone in leaving) - (one.mib - free)
        free = 0
    return Placement(tuple(load), tuple(gone.name for gone in unload), impossible)


def hold_of(one: Resident, now_ns: int) -> Hold:
    """What keeps a loaded model in memory now."""
    true_of_it = {
        "pinned": one.pinned,
        "loading": one.loading,
        "leaving": one.leaving,
        "wanted": one.wanted_ns is not None,
        "new": now_ns < one.stays_until_ns,
        "running": one.running > 0,
    }
    return next((hold for name, hold in HOLD if true_of_it[name]), Hold.NOTHING)


def impossible_ones(residents: Sequence[Resident], budget_mib: int) -> dict[str, str]:
    """Why some can never be loaded, by name."""
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


def urgency(one: Resident) -> tuple[int, int, str]:
    """The place in line: who comes first has the least."""
    if one.pinned:
        return (0, 0, one.name)
    if one.wanted_ns is not None:
        return (1, one.wanted_ns, one.name)
    return (2, 0, one.name)


def _should_come(one: Resident) -> bool:
    return not one.loaded and (one.pinned or one.in_use or one.wanted_ns is not None)


def _grown(residents: Sequence[Resident], excess: int) -> list[Resident]:
    """Who leaves because all together take more than there is: no minimum stay helps, and one is left over."""
    idle = [one for one in residents if one.loaded and hold_of(one, NEVER_NS) is Hold.NOTHING]
    idle.sort(key=_last_use)
    return _least_above(idle[:-1], excess)


def _may_leave(residents: Sequence[Resident], gone: Sequence[Resident], now_ns: int, *, fair: bool) -> list[Resident]:
    """Who may leave, in this order. Of those in use all the time none was used least recently: the oldest goes."""
    left = {one.name for one in gone}
    there = [(one, hold_of(one, now_ns)) for one in residents if one.loaded and one.name not in left]
    idle = sorted((one for one, hold in there if hold is Hold.NOTHING), key=_last_use)
    busy = sorted((one for one, hold in there if hold is Hold.CALLS), key=lambda one: (one.loaded_ns, one.name))
    return idle + busy if fair else idle


def _last_use(one: Resident) -> tuple[int, str]:
    return (one.used_ns, one.name)


def _least_above(ordered: Sequence[Resident], excess: int) -> list[Resident]:
    """As many of the first of them as it takes to give back so much, or all."""
    taken: list[Resident] = []
    for one in ordered:
        if excess <= 0:
            break
        taken.append(one)
        excess -= one.mib
    return taken


def _least_until(ordered: Sequence[Resident], missing: int) -> list[Resident] | None:
    """The first of them that together have so much; None: all of them have not."""
    taken = _least_above(ordered, missing)
    return taken if sum(one.mib for one in taken) >= missing else None
