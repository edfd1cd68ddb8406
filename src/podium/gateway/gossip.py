"""Breaker gossip: a gateway whose breaker opened tells the others, so that not each finds out with its own calls.

1. Told is what was found out at first hand: a closed breaker that opened on its own calls. What was heard is not
   told on, nor is a probe that failed: whoever heard has probes of its own by then.
2. Heard is an event of the breaker (rule 6 of podium.traffic.breaker): it opens, and probes before calls pass. So one
   that is wrong, because only its own way there is broken, costs the others one time open.
3. Nothing is believed where a pool has nobody else to call: then there is nothing to be gained from leaving it out.
4. Gossip is lost now and then, and nobody waits for it.
"""

from collections.abc import Iterable

import msgspec

from podium.gateway.fleet import BreakerOf, Fleet
from podium.gateway.pool import Backend, Pool
from podium.traffic.breaker import BreakerCause

__all__ = ["LONGEST_WORD", "Gossip", "Word"]

LONGEST_WORD = 1024  # bytes; a name that is longer is not told
_MOST_AT_ONCE = 32  # words that wait to be told: when more breaks at once, it is rather our own way out that is broken


class Word(msgspec.Struct, frozen=True):
    """What is told."""

    gateway: str
    kind: BreakerOf
    key: str  # the same on all gateways that have the same snapshot
    why: BreakerCause


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


class Gossip:
    """What one gateway tells and believes. `gateway`: a name that no other process has; `fleet`: its own."""

    def __init__(self, gateway: str, fleet: Fleet) -> None:
        self._gateway = gateway
        self._fleet = fleet
        self._news: list[bytes] = []
        self.heard = 0  # words of others
        self.believed = 0

    def opened(self, kind: BreakerOf, key: str, why: BreakerCause) -> None:
        """A breaker opened on our own calls: see `Fleet.opened`."""
        word = _encode(Word(self._gateway, kind, key, why))
        if len(self._news) < _MOST_AT_ONCE and len(word) <= LONGEST_WORD:
            self._news.append(word)

    def news(self) -> list[bytes]:
        """What is to be told since the last time."""
        news, self._news = self._news, []
        return news

    def hear(self, payload: bytes, pools: Iterable[Pool], now_ns: int) -> Word | None:
        """Take note of a word; it, when a breaker of ours opened on it. What cannot be read says nothing."""
        try:
            word = _decode(payload)
        except msgspec.DecodeError:
            return None
        if word.gateway == self._gateway:
            return None
        self.heard += 1
        breaker = self._fleet.breaker(word.kind, word.key)
        if breaker is None or not _can_do_without(word, pools, now_ns):
            return None
        change = breaker.hear(now_ns)
        if change is None:
            return None
        self._fleet.turned(word.kind, word.key, change)
        self.believed += 1
        return word


def _can_do_without(word: Word, pools: Iterable[Pool], now_ns: int) -> bool:
    """Each pool that has what the word is about has somebody else to call."""
    for pool in pools:
        others = [backend for backend in pool.backends if not _is_about(word, backend)]
        concerned = len(others) < len(pool.backends)
        if concerned and not any(pool.out(backend, now_ns) is None for backend in others):
            return False
    return True


def _is_about(word: Word, backend: Backend) -> bool:
    state = backend.state
    return word.key == (state.load.key if word.kind == "backend" else state.account.name)
