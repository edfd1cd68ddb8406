"""Response time: of two drawn at random, the one that is likely done sooner.

The estimate is (TTFT + expected output tokens x time per token) x (calls in flight + 1) / weight, after Finagle's
Peak EWMA. What only one of the two knows is not compared: a time per token is known a whole answer later than a TTFT,
and a backend must not look fast in the meantime.
"""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter
from podium.traffic.balancing.ports import CallFacts, Choice, Why

__all__ = ["ResponseTime"]

# Which of two goes first, before any time is looked at. A backend that nothing is known of is tried at once, but with
# one call at a time until an answer shows how fast it is.
_UNTRIED, _KNOWN, _ON_TRIAL = range(3)


class ResponseTime:
    """Of two, drawn by weight, the one that answers faster. `expected_output_tokens`: of a usual answer."""

    __slots__ = ("_members", "_output_tokens")

    def __init__(self, *, expected_output_tokens: int = 256) -> None:
        self._members = Members(())
        self._output_tokens = expected_output_tokens

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The faster one of two."""
        if self._members.backends is not backends:
            self._members = Members(backends)
        pair = self._members.two(call.random, excluded)
        if len(pair) < 2:  # noqa: PLR2004 - a pair
            return Choice(pair[0], Why.ONLY_ONE) if pair else None
        first, second = pair
        one, other, now_ns = backends[first], backends[second], call.now_ns
        one_ms, other_ms = one.ttft_ms(now_ns), other.ttft_ms(now_ns)
        one_rank, other_rank = _rank(one, one_ms), _rank(other, other_ms)
        if one_rank != other_rank:
            rank = min(one_rank, other_rank)
            return Choice(first if one_rank == rank else second, Why.UNTRIED if rank == _UNTRIED else Why.FASTER)
        if one_ms is None or other_ms is None:
            return Choice(lighter(backends, pair), Why.FEWER_IN_FLIGHT)
        one_token_ms, other_token_ms = one.time_per_output_token_ms(now_ns), other.time_per_output_token_ms(now_ns)
        if one_token_ms is not None and other_token_ms is not None:
            one_ms += self._output_tokens * one_token_ms
            other_ms += self._output_tokens * other_token_ms
        slower = one_ms * (one.in_flight + 1) * other.weight > other_ms * (other.in_flight + 1) * one.weight
        return Choice(second if slower else first, Why.FASTER)


def _rank(backend: BackendLoad, ttft_ms: float | None) -> int:
    if ttft_ms is not None:
        return _KNOWN
    return _ON_TRIAL if backend.unproven else _UNTRIED
