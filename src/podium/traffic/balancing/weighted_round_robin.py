"""Weighted round robin: turns by weight, interleaved."""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.schedule import Schedule

__all__ = ["WeightedRoundRobin"]

_MAX_AWAY = 1024  # backends that are out for now and whose credit is remembered


class WeightedRoundRobin:
    """Each has its share of first tries, give or take less than one turn; when members change, what it is owed stays.

    Second tries are drawn by weight and do not count: else the turns that a dead backend loses would come back to it.
    """

    __slots__ = ("_away", "_indexes", "_members", "_schedule")

    def __init__(self) -> None:
        self._members = Members(())
        self._indexes: list[int] = []  # of the schedule's positions
        self._schedule = Schedule(())
        self._away: dict[str, int] = {}  # credits; else one that comes and goes would never have its turn

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """Whose turn it is by weight."""
        if self._members.backends is not backends:
            self._follow(backends)
        if excluded:
            index = self._members.one(call.random, excluded)
            return None if index is None else Choice(index, Why.SECOND_TRY)
        while self._indexes:
            index = self._indexes[self._schedule.peek()]
            if backends[index].weight > 0:
                self._schedule.take()
                return Choice(index, Why.WEIGHT if len(self._indexes) > 1 else Why.ONLY_ONE)
            self._follow(backends)  # it began to drain under the same `backends`
        return None

    def _follow(self, backends: Sequence[BackendLoad]) -> None:
        old = self._members.backends
        for position, index in enumerate(self._indexes):
            self._away[old[index].key] = self._schedule.credit(position)
        self._members = Members(backends)
        self._indexes = self._members.indexes
        self._schedule = Schedule(
            [backends[index].weight for index in self._indexes],
            [self._away.pop(backends[index].key, 0) for index in self._indexes],
        )
        while len(self._away) > _MAX_AWAY:
            del self._away[next(iter(self._away))]
