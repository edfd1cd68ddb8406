"""Lowest cost: the cheapest backend as long as it has room, then the next dearer one."""

from collections.abc import Collection, Sequence
from itertools import groupby

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter
from podium.traffic.balancing.ports import CallFacts, Choice, Why

__all__ = ["LowestCost"]


class LowestCost:
    """The cheapest with room; unknown prices last.

    A backend has no room when its calls in flight for its weight are more than `room` and more than `ratio` times those
    of the next dearer one. So a few calls all go to the cheapest, and under load each price carries up to `ratio` times
    what the next one does. Among equal prices the lighter one of two, drawn by weight.
    """

    __slots__ = ("_backends", "_prices", "_ratio", "_room")

    def __init__(self, *, room: int = 16, ratio: float = 2.0) -> None:
        if ratio <= 1.0:
            raise ValueError("ratio must be above 1")  # it also bounds how many prices one choice looks at
        self._backends: Sequence[BackendLoad] = ()
        self._prices: list[Members] = []  # one a price, cheapest first
        self._room = room
        self._ratio = ratio

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The cheapest one that has room."""
        if self._backends is not backends:
            self._backends = backends
            self._prices = _by_price(backends)
        chosen, why = -1, Why.CHEAPEST
        for members in self._prices:
            pair = members.two(call.random, excluded)
            if not pair:
                continue
            index = lighter(backends, pair)
            if chosen >= 0:
                if self._has_room(backends[chosen], backends[index]):
                    break
                why = Why.CHEAPER_FULL
            chosen = index
            if backends[index].in_flight <= self._room * backends[index].weight:
                break
        return Choice(chosen, why) if chosen >= 0 else None

    def _has_room(self, cheaper: BackendLoad, dearer: BackendLoad) -> bool:
        return cheaper.in_flight * dearer.weight <= self._ratio * dearer.in_flight * cheaper.weight


def _by_price(backends: Sequence[BackendLoad]) -> list[Members]:
    def price(index: int) -> tuple[bool, int]:
        known = backends[index].price
        return known is None, known or 0

    ordered = sorted(range(len(backends)), key=price)  # stable: ascending within a price
    return [Members(backends, among) for _, among in groupby(ordered, key=price)]
