"""Least in flight, by the power of two choices.

Of two drawn at random the one with fewer calls takes it: nearly as even as looking at all of them (Mitzenmacher, "The
Power of Two Choices in Randomized Load Balancing", 2001), and several gateways do not all run to the same one.
"""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter
from podium.traffic.balancing.ports import CallFacts, Choice, Why

__all__ = ["LeastInFlight"]


class LeastInFlight:
    """Of two, drawn by weight, the one with fewer calls in flight for its weight; exact when only two are left."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members = Members(())

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The lighter one of two."""
        if self._members.backends is not backends:
            self._members = Members(backends)
        pair = self._members.two(call.random, excluded)
        if not pair:
            return None
        return Choice(lighter(backends, pair), Why.FEWER_IN_FLIGHT if len(pair) > 1 else Why.ONLY_ONE)
