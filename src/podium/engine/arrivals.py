"""When each model that is not in memory will be there, as far as can be told: what a caller is told to come back after.

It plays on what podium.engine.placement does, in the order in which callers wait: who gets which room, and when that is
free. Loads and drains are guessed before they were timed, so all of it is "about". Pure.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from podium.engine.placement import Resident, impossible_ones, urgency

__all__ = ["arrivals"]


@dataclass(frozen=True, slots=True)
class _Room:
    """Memory that comes free."""

    mib: int
    free_s: float  # from when on it may be taken, from now
    drain_s: float | None = None  # how long calls in it take to end; None: it has none

    def had_at(self, fair_s: float) -> float:
        """When it is free for one whose turn comes at `fair_s`."""
        return self.free_s if self.drain_s is None else max(self.free_s, fair_s) + self.drain_s


def arrivals(
    residents: Sequence[Resident], budget_mib: int, *, now_ns: int, fair_wait_ns: int, min_stay_s: float
) -> dict[str, float]:
    """Seconds until each that is not loaded would be, for those who wait and for one who began now.

    None of those that are loaded and not leaving, and of those that never can be.
    """
    never = impossible_ones(residents, budget_mib)
    rooms = [_room_of(one, now_ns, min_stay_s) for one in residents if one.loaded and not one.pinned]
    free = budget_mib - sum(one.mib for one in residents if one.loaded)
    if free > 0:
        rooms.append(_Room(free, 0.0))
    asked = [one for one in residents if (one.leaving or not one.loaded) and one.name not in never]
    found = {one.name: one.load_s for one in residents if one.loading}
    in_line = sorted((one for one in asked if one.pinned or one.wanted_ns is not None), key=urgency)
    for one in in_line:
        since_ns = now_ns if one.wanted_ns is None else one.wanted_ns
        at_s, rooms = _take(rooms, one.mib, max(0.0, (since_ns + fair_wait_ns - now_ns) / 1e9))
        if at_s is not None:
            found[one.name] = at_s + one.load_s
            if not one.pinned:
                rooms.append(_Room(one.mib, at_s + one.load_s + max(min_stay_s, one.load_s), one.drain_s))
    waiting = {one.name for one in in_line}
    return found | _for_new_ones([one for one in asked if one.name not in waiting], rooms, fair_wait_ns / 1e9)


def _room_of(one: Resident, now_ns: int, min_stay_s: float) -> _Room:
    if one.leaving:
        return _Room(one.mib, one.drain_s)
    if one.loading:
        return _Room(one.mib, one.load_s + max(min_stay_s, one.load_s), one.drain_s)
    stays_s = max(0.0, (one.stays_until_ns - now_ns) / 1e9)
    return _Room(one.mib, stays_s, one.drain_s if one.running else None)


def _take(rooms: list[_Room], mib: int, fair_s: float) -> tuple[float | None, list[_Room]]:
    """When so much is free, and the rooms that are left then; None: never."""
    at_s, missing = 0.0, mib
    ordered = sorted(rooms, key=lambda room: room.had_at(fair_s))
    for index, room in enumerate(ordered):
        at_s, missing = max(at_s, room.had_at(fair_s)), missing - room.mib
        if missing <= 0:
            rest = [_Room(-missing, at_s)] if missing else []
            return at_s, [*rest, *ordered[index + 1 :]]
    return None, rooms


def _for_new_ones(asked: Iterable[Resident], rooms: Iterable[_Room], fair_s: float) -> dict[str, float]:
    """Of those for which nobody waits yet, each as if it were the only one: there may be thousands."""
    ordered = sorted((room.had_at(fair_s), room.mib) for room in rooms)
    sums = list(accumulate(mib for _, mib in ordered))
    found: dict[str, float] = {}
    for one in asked:
        place = bisect_left(sums, one.mib)
        if place < len(sums):
            found[one.name] = ordered[place][0] + one.load_s
    return found
