"""Session affinity: a session stays with its backend, on every gateway, and comes back to it after a failure."""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.ring import Ring, ring_hash

__all__ = ["SessionAffinity"]

_SPARE = 16  # keys of a ring that may be gone before it is made anew, beside as many as are there


class SessionAffinity:
    """The first backend on the ring from the session's place that can take it. No session: the lighter one of two.

    A backend that is out for a while keeps its place on the ring and is passed over, so nothing is rebuilt when health
    changes, and only its own sessions move.
    """

    __slots__ = ("_members", "_places", "_ring")

    def __init__(self) -> None:
        self._members = Members(())
        self._ring = Ring({})
        self._places: list[int] = []  # index of each of the ring's keys; -1: not there now

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The session's own backend, or the next one on the ring."""
        if self._members.backends is not backends:
            self._follow(backends)
        pair = self._members.two(call.random, excluded)
        if not pair:
            return None
        if len(pair) == 1:
            return Choice(pair[0], Why.ONLY_ONE)
        if not call.session:
            return Choice(lighter(backends, pair), Why.FEWER_IN_FLIGHT)
        places = self._places
        moved = False
        for owner in self._ring.owners(ring_hash(f"{call.tenant}\0{call.session}")):
            index = places[owner]
            if index >= 0 and index not in excluded and backends[index].weight > 0:
                return Choice(index, Why.SESSION_MOVED if moved else Why.SESSION)
            moved = True
        return Choice(lighter(backends, pair), Why.SESSION_MOVED)

    def _follow(self, backends: Sequence[BackendLoad]) -> None:
        self._members = Members(backends)
        places = {backend.key: index for index, backend in enumerate(backends)}
        weights = {backend.key: backend.weight for backend in backends if backend.weight > 0}
        known = self._ring.weights
        changed = any(known.get(key) != weight for key, weight in weights.items())
        if changed or len(known) > 2 * len(places) + _SPARE:
            self._ring = Ring(weights)
        self._places = [places.get(key, -1) for key in self._ring.keys]
