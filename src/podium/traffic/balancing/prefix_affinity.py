"""Prefix affinity: a prompt goes where the KV cache is warm for its beginning, unless that place is too busy.

Rules
1. The longest known beginning wins; of several backends that hold it, the lightest.
2. It yields when the warm backend has more than `imbalance_abs` calls in flight more than the lighter one of two
   others, drawn by weight, and more than `imbalance_rel` times as many (SGLang's router asks the same of the most and
   the least busy of all; asking it of the warm one leaves the others' prompts where they are warm).
3. Who gets a prompt has seen it, so a hot prefix spreads over a few backends.
4. Who was tried for it in vain has not: else a dead backend, never busy, would stay everyone's first choice.
"""

from collections.abc import Collection, Sequence

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.prefix_index import PrefixIndex, marks_of

__all__ = ["PrefixAffinity"]


class PrefixAffinity:
    """Warm first. A prompt shorter than `chunk_bytes` goes to the lighter one of two; `max_prefix_bytes` are looked at.

    `max_entries` and `max_bytes` bound the memory of what was seen where.
    """

    __slots__ = ("_abs", "_chunk_bytes", "_index", "_max_prefix_bytes", "_members", "_places", "_rel")

    def __init__(
        self,
        *,
        chunk_bytes: int = 256,
        max_prefix_bytes: int = 4096,
        max_entries: int = 100_000,
        max_bytes: int = 32 * 1024 * 1024,
        imbalance_abs: int = 32,
        imbalance_rel: float = 1.5,
    ) -> None:
        self._members = Members(())
        self._places: dict[str, int] = {}
        self._index = PrefixIndex(max_entries=max_entries, max_bytes=max_bytes)
        self._chunk_bytes = chunk_bytes
        self._max_prefix_bytes = max_prefix_bytes
        self._abs = imbalance_abs
        self._rel = imbalance_rel

    @property
    def index(self) -> PrefixIndex:
        """What was seen where."""
        return self._index

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The warm one, or the lighter one of two."""
        if self._members.backends is not backends:
            self._members = Members(backends)
            self._places = {backend.key: index for index, backend in enumerate(backends)}
        marks = marks_of(
            call.tenant, call.prompt_prefix, chunk_bytes=self._chunk_bytes, max_bytes=self._max_prefix_bytes
        )
        warm = self._warmest(marks, backends, excluded)
        if warm >= 0 and backends[warm].in_flight <= self._abs:  # the usual case; who else there is does not matter
            choice = Choice(warm, Why.WARM_PREFIX)
        else:
            pair = self._members.two(call.random, excluded)
            if not pair:
                return None
            light = lighter(backends, pair)
            if not marks:
                return Choice(light, Why.FEWER_IN_FLIGHT if len(pair) > 1 else Why.ONLY_ONE)
            if warm < 0:
                choice = Choice(light, Why.COLD_PREFIX)
            elif self._too_busy(backends[warm], backends[light]):
                choice = Choice(light, Why.IMBALANCE)
            else:
                choice = Choice(warm, Why.WARM_PREFIX)
        lost = [backends[index].key for index in excluded] if excluded else ()
        self._index.learn(marks, backends[choice.index].key, lost)
        return choice

    def _warmest(self, marks: Sequence[int], backends: Sequence[BackendLoad], excluded: Collection[int]) -> int:
        """The index of the lightest holder of the longest known beginning; -1 when nobody can take it who knows any."""
        places, warmest = self._places, -1
        for holders in self._index.holders(marks):
            for key in holders:
                index = places.get(key, -1)
                if index >= 0 and index not in excluded and backends[index].weight > 0:
                    warmest = index if warmest < 0 else lighter(backends, (warmest, index))
            if warmest >= 0:
                break
        return warmest

    def _too_busy(self, warm: BackendLoad, light: BackendLoad) -> bool:
        fair = light.in_flight * warm.weight / light.weight
        return warm.in_flight - fair > self._abs and warm.in_flight > self._rel * fair
