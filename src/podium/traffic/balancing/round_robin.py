"""Round robin: each backend in turn, whatever its weight."""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members
from podium.traffic.balancing.ports import CallFacts, Choice, Why

__all__ = ["RoundRobin"]


class RoundRobin:
    """Each in turn. Second tries take turns of their own.

    If they shared the turns, a dead backend of two would be the first choice of every exchange: each one's second try
    would bring the turn back to it.
    """

    __slots__ = ("_first", "_members", "_second")

    def __init__(self) -> None:
        self._members = Members(())
        self._first = 0
        self._second = 0

    def choose(
        self,
        backends: Sequence[BackendLoad],
        excluded: Collection[int],
        call: CallFacts,  # noqa: ARG002 - turns do not depend on the call
    ) -> Choice | None:
        """The next one in turn that is not excluded."""
        if self._members.backends is not backends:
            self._follow(backends)
        indexes = self._members.indexes
        count = len(indexes)
        turn = self._second if excluded else self._first
        for position in range(turn, turn + count):
            index = indexes[position % count]
            if index in excluded or backends[index].weight <= 0:
                continue
            if excluded:
                self._second = (position + 1) % count
            else:
                self._first = (position + 1) % count
            return Choice(index, Why.TURN if count > 1 else Why.ONLY_ONE)
        return None

    def _follow(self, backends: Sequence[BackendLoad]) -> None:
        """Go on where the turns were, with other backends."""
        old, new = self._members, Members(backends)
        places = {backends[index].key: position for position, index in enumerate(new.indexes)}
        keys = [old.backends[index].key for index in old.indexes]
        self._first = _resume(keys, self._first, places)
        self._second = _resume(keys, self._second, places)
        self._members = new


def _resume(keys: list[str], turn: int, places: dict[str, int]) -> int:
    """The place after the one that had the last turn; if that is gone, after the one before it, and so on.

    So one that comes back right after it has its turn.
    """
    return next((places[key] + 1 for key in reversed(keys[turn:] + keys[:turn]) if key in places), 0)
