"""Regions: which part of a pool a balancer may choose from.

Rules
1. Residency is a hard filter: a backend outside of the allowed regions is never used, whatever else is down. One whose
   region is not known is outside.
2. Of the allowed regions the nearest with a backend left, in the operator's order. Those that the order does not name
   come last, all as one part.
3. A part stays the same tuple as long as its backends do, so that what a balancer derives from it holds.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from podium.traffic.balancing.load import BackendLoad

__all__ = ["RegionFilter", "RegionOrder", "RegionPart", "RegionPick", "RegionWhy"]

_MAX_ORDERS = 256  # orders whose parts are remembered


class RegionWhy(StrEnum):
    """Why a call goes to a part of the pool."""

    ANYWHERE = "anywhere"  # no order, no residency
    ALLOWED = "allowed_region"  # residency alone; the order names no allowed region
    NEAREST = "nearest_region"
    OTHER = "other_region"  # nothing is left in a nearer one


@dataclass(frozen=True, slots=True)
class RegionOrder:
    """What is asked for. `nearest`: regions, nearest first. `allowed`: residency; None: anywhere."""

    nearest: tuple[str, ...] = ()
    allowed: frozenset[str] | None = None

    def allows(self, region: str) -> bool:
        """True when residency lets a call go there."""
        return self.allowed is None or (region != "" and region in self.allowed)


class RegionPart:
    """A part of a pool: one region, or what an order leaves as the rest.

    `name` tells it from other parts, also after the pool has changed. `indexes`: the pool's index of each backend.
    """

    __slots__ = ("_places", "backends", "indexes", "name")

    def __init__(self, name: str | RegionOrder, backends: tuple[BackendLoad, ...], indexes: list[int]) -> None:
        self.name = name
        self.backends = backends
        self.indexes = indexes
        self._places = {index: place for place, index in enumerate(indexes)}

    def own(self, indexes: Collection[int]) -> list[int]:
        """Indexes of the pool as indexes of this part; those that are not in it are left out."""
        return [self._places[index] for index in indexes if index in self._places]

    def has_left(self, excluded: Collection[int]) -> bool:
        """True when a backend may take something new; `excluded` are indexes of the pool."""
        for index, backend in zip(self.indexes, self.backends, strict=True):
            if backend.weight > 0 and index not in excluded:
                return True
        return False


class RegionPick(NamedTuple):
    """The part for a call, and why it."""

    part: RegionPart
    why: RegionWhy


class RegionFilter:
    """Finds the part of one pool for a call."""

    __slots__ = ("_backends", "_regions", "_rests", "_routes")

    def __init__(self) -> None:
        self._backends: Sequence[BackendLoad] = ()
        self._regions: dict[str, RegionPart] = {}
        self._rests: dict[RegionOrder, RegionPart] = {}  # outlive a change of the pool, to keep their tuples
        self._routes: dict[RegionOrder, list[RegionPick]] = {}  # of this pool

    def pick(self, backends: Sequence[BackendLoad], excluded: Collection[int], order: RegionOrder) -> RegionPick | None:
        """The nearest allowed part with a backend left; None when there is none.

        `backends` and `excluded` as a `Balancer` takes them.
        """
        if self._backends is not backends:
            self._follow(backends)
        route = self._routes.get(order)
        if route is None:
            route = self._learn(order)
        for pick in route:
            if pick.part.has_left(excluded):
                return pick
        return None

    def _follow(self, backends: Sequence[BackendLoad]) -> None:
        self._backends = backends
        self._routes.clear()
        indexes: dict[str, list[int]] = {}
        for index, backend in enumerate(backends):
            indexes.setdefault(backend.region, []).append(index)
        old = self._regions
        self._regions = {region: _part(region, backends, found, old.get(region)) for region, found in indexes.items()}

    def _learn(self, order: RegionOrder) -> list[RegionPick]:
        """The parts of an order, nearest first."""
        near = [region for region in dict.fromkeys(order.nearest) if order.allows(region)]
        route = [
            RegionPick(self._regions[region], RegionWhy.OTHER if place else RegionWhy.NEAREST)
            for place, region in enumerate(near)
            if region in self._regions
        ]
        rest = [
            index
            for index, backend in enumerate(self._backends)
            if backend.region not in near and order.allows(backend.region)
        ]
        part = _part(order, self._backends, rest, self._rests.pop(order, None))
        alone = RegionWhy.ANYWHERE if order.allowed is None else RegionWhy.ALLOWED
        route.append(RegionPick(part, RegionWhy.OTHER if near else alone))
        for kept in (self._routes, self._rests):
            if len(kept) >= _MAX_ORDERS:
                kept.pop(next(iter(kept)))
        self._rests[order] = part
        self._routes[order] = route
        return route


def _part(
    name: str | RegionOrder, backends: Sequence[BackendLoad], indexes: list[int], old: RegionPart | None
) -> RegionPart:
    chosen = tuple(backends[index] for index in indexes)
    if old is not None and old.backends == chosen:  # the very same objects: backends compare by identity
        chosen = old.backends
    return RegionPart(name, chosen, indexes)
