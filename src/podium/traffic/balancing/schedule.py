"""Turns by weight, exactly: in any run of turns each has its share, give or take less than one turn.

Rules
1. Time is counted in turns. One with weight `w` of `W` in all has done its share when it had `turn * w / W` turns.
2. Its k-th turn (from 0) may come once its share exceeds k, and must come before its share exceeds k + 1. Of those
   whose turn may come, the one whose turn must come first has it; of equals, who has waited longer. With unit turns
   that keeps every deadline (earliest deadline first with release times; "proportionate fairness", Baruah, Cohen,
   Plaxton, Varvel 1996).
3. All in integers, so nothing drifts. The credit that one brings along counts in units of 1 / 2**20 turn.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

__all__ = ["TURN", "Schedule"]

TURN = 1 << 20  # credit of one turn


class Schedule:
    """Whose turn it is, among a fixed set with fixed weights. A turn costs O(log n) on average."""

    __slots__ = ("_all", "_credits", "_ready", "_served", "_turn", "_waiting", "_weights")

    def __init__(self, weights: Sequence[int], credits_: Sequence[int] = ()) -> None:
        """`weights` > 0. `credits_`: what each is owed (or owes, below 0) from before, in 1 / TURN of a turn."""
        self._weights = weights
        self._all = sum(weights)
        self._credits = _levelled(credits_, weights, self._all)
        self._served = [0] * len(weights)
        self._turn = 0
        self._ready: list[tuple[int, int, int]] = []  # (deadline, release, position): the turn may come
        self._waiting = [(self._release(position), position) for position in range(len(weights))]
        heapify(self._waiting)

    def peek(self) -> int:
        """The position whose turn it is."""
        ready, waiting = self._ready, self._waiting
        while waiting and (waiting[0][0] <= self._turn or not ready):
            release, position = heappop(waiting)
            heappush(ready, (self._deadline(position), release, position))
        return ready[0][2]

    def take(self) -> int:
        """The position whose turn it is; the next call gives the next one."""
        position = self.peek()
        heappop(self._ready)
        self._served[position] += 1
        self._turn += 1
        heappush(self._waiting, (self._release(position), position))
        return position

    def credit(self, position: int) -> int:
        """What this one is owed by now, in 1 / TURN of a turn; below 0: it is ahead."""
        share = self._turn * TURN * self._weights[position] // self._all
        return self._credits[position] + share - self._served[position] * TURN

    def _release(self, position: int) -> int:
        """The first turn that it may have next."""
        owed = self._served[position] * TURN - self._credits[position]
        return owed * self._all // (self._weights[position] * TURN)

    def _deadline(self, position: int) -> int:
        """The turn before which it must have had that."""
        owed = (self._served[position] + 1) * TURN - self._credits[position]
        return -(-owed * self._all // (self._weights[position] * TURN))


def _levelled(credits_: Sequence[int], weights: Sequence[int], all_: int) -> list[int]:
    """The credits with a sum of 0, each about within one turn; what went with those who left is shared by weight."""
    if not any(credits_):
        return [0] * len(weights)
    level = [max(-TURN, min(TURN, credit)) for credit in credits_]
    surplus = sum(level)
    level = [credit - surplus * weight // all_ for credit, weight in zip(level, weights, strict=True)]
    level[0] -= sum(level)  # what rounding left, less than one unit each
    return level
