"""The backends of a pool that may take something new, and drawing among them by weight."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate

from podium.traffic.balancing.load import BackendLoad

__all__ = ["Members", "lighter"]


class Members:
    """What is derived from one `backends` object. A draw costs O(log n)."""

    __slots__ = ("_among", "_starts", "backends", "even", "indexes")

    def __init__(self, backends: Sequence[BackendLoad], among: Iterable[int] | None = None) -> None:
        """`among`: only these indexes, ascending."""
        self.backends = backends
        self._among = range(len(backends)) if among is None else list(among)
        self._derive()

    def _derive(self) -> None:
        backends = self.backends
        self.indexes = [index for index in self._among if backends[index].weight > 0]
        weights = {backends[index].weight for index in self.indexes}
        self.even = len(weights) == 1 and len(self.indexes) > 1  # equal weights: drawing is simple
        # Where each one's tickets start; the last entry is the number of all tickets.
        self._starts = [0, *accumulate(backends[index].weight for index in self.indexes)]

    def one(self, random: float, excluded: Collection[int]) -> int | None:
        """One of those not excluded, drawn by weight."""
        drawn = self._draw(random, self._positions(excluded) if excluded else [])
        if drawn is None:
            return None
        index = self.indexes[drawn[0]]
        return index if self._still(index) else self.one(random, excluded)

    def two(self, random: float, excluded: Collection[int]) -> tuple[int, ...]:
        """Two different ones of those not excluded, drawn by weight; one or none when there are no more.

        Both come from the one random value: what the first draw leaves of it is uniform again.
        """
        if self.even and not excluded:
            first, second = self._even_pair(random)
            if self.backends[first].weight > 0 and self.backends[second].weight > 0:
                return first, second
        gone = self._positions(excluded) if excluded else []
        drawn = self._draw(random, gone)
        if drawn is None:
            return ()
        position, random_left = drawn
        first = self.indexes[position]
        insort(gone, position)
        drawn = self._draw(random_left, gone)
        if drawn is None:
            return (first,) if self._still(first) else self.two(random, excluded)
        second = self.indexes[drawn[0]]
        return (first, second) if self._still(first) and self._still(second) else self.two(random, excluded)

    def _even_pair(self, random: float) -> tuple[int, int]:
        """Two different indexes, each pair as likely as any other."""
        indexes = self.indexes
        count = len(indexes)
        scaled = random * count
        one = int(scaled)
        other = int((scaled - one) * (count - 1))
        return indexes[one], indexes[other + 1 if other >= one else other]

    def _draw(self, random: float, gone: list[int]) -> tuple[int, float] | None:
        """A position that is not `gone` (ascending), and what is left of the random value; None when all are gone."""
        starts = self._starts
        tickets = starts[-1]
        for position in gone:
            tickets -= starts[position + 1] - starts[position]
        if not tickets:
            return None
        scaled = random * tickets
        ticket = int(scaled)
        random_left = scaled - ticket
        for position in gone:
            if ticket >= starts[position]:
                ticket += starts[position + 1] - starts[position]
        return bisect_right(starts, ticket) - 1, random_left

    def _positions(self, excluded: Collection[int]) -> list[int]:
        indexes = self.indexes
        found = []
        for index in set(excluded):
            position = bisect_left(indexes, index)
            if position < len(indexes) and indexes[position] == index:
                found.append(position)
        found.sort()
        return found

    def _still(self, index: int) -> bool:
        """False when a backend began to drain under the same `backends`; from now on it is not drawn."""
        if self.backends[index].weight > 0:
            return True
        self._derive()
        return False


def lighter(backends: Sequence[BackendLoad], indexes: Sequence[int]) -> int:
    """The index whose backend would have the fewest calls in flight for its weight; the first of equals."""
    if len(indexes) == 2:  # noqa: PLR2004 - the usual case
        first, second = indexes
        one, other = backends[first], backends[second]
        return second if (other.in_flight + 1) * one.weight < (one.in_flight + 1) * other.weight else first
    chosen = -1
    for index in indexes:
        if chosen < 0:
            chosen = index
            continue
        one, other = backends[index], backends[chosen]
        if (one.in_flight + 1) * other.weight < (other.in_flight + 1) * one.weight:
            chosen = index
    return chosen
