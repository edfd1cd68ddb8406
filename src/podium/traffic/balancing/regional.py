"""A balancer for each region of a pool, behind the choice of the region."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import Balancer, CallFacts, Why
from podium.traffic.balancing.region import RegionFilter, RegionOrder, RegionWhy

__all__ = ["RegionalBalancer", "RegionalChoice"]

_MAX_BALANCERS = 64  # one a region, and one for the rest of each order; the oldest goes


class RegionalChoice(msgspec.Struct, frozen=True, gc=False):
    """The chosen backend's index in the pool, why it, and why its region."""

    index: int
    why: Why
    region_why: RegionWhy


class RegionalBalancer:
    """Chooses the region, then the backend in it. Each part of the pool has a balancer of its own.

    One balancer for all parts would see another `backends` object at every other call, and derive everything anew.
    """

    __slots__ = ("_balancers", "_filter", "_make")

    def __init__(self, make: Callable[[], Balancer]) -> None:
        """`make`: a fresh balancer of the pool's strategy."""
        self._make = make
        self._filter = RegionFilter()
        self._balancers: dict[str | RegionOrder, Balancer] = {}

    def choose(
        self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts, order: RegionOrder
    ) -> RegionalChoice | None:
        """The backend for a call; None when none is left in any allowed region."""
        pick = self._filter.pick(backends, excluded, order)
        if pick is None:
            return None
        part = pick.part
        balancer = self._balancers.get(part.name) or self._open(part.name)
        choice = balancer.choose(part.backends, part.own(excluded) if excluded else (), call)
        if choice is None:
            return None
        return RegionalChoice(part.indexes[choice.index], choice.why, pick.why)

    def _open(self, name: str | RegionOrder) -> Balancer:
        if len(self._balancers) >= _MAX_BALANCERS:
            self._balancers.pop(next(iter(self._balancers)))
        balancer = self._balancers[name] = self._make()
        return balancer
