"""Breaker gossip: a gateway whose breaker opened tells the others, so that not each finds out with its own calls.

1. Told is what was found out at first hand: a closed breaker that opened on its own calls. What was heard is not
   told on, nor is a probe that failed: whoever heard has probes of its own by then.
2. Heard counts as the failures of one window, no more: the breaker opens as if it had seen them, and probes before
   calls pass. So one that is wrong, because only its own way there is broken, costs the others one time open.
3. Own probes outweigh hearsay: for one window after they have passed, nothing is believed.
4. Nor is it believed where a pool has nobody else to call: then there is nothing to be gained from leaving it out.
5. Gossip is lost now and then, and nobody waits for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from podium.gateway.pool import Backend, Pool
from podium.traffic.breaker import Breaker, BreakerCause, BreakerChange, BreakerState, CallResult

__all__ = ["LONGEST_WORD", "Gossip", "Word"]

LONGEST_WORD = 1024  # bytes; a name that is longer is not told
_MOST_AT_ONCE = 32  # words of one look: when more breaks at once, it is rather our own way out that is broken
_SECOND_NS = 1_000_000_000


class Word(msgspec.Struct, frozen=True):
    """What is told."""

    gateway: str
    kind: Literal["backend", "account"]
    key: str  # the same on all gateways that have the same snapshot
    why: BreakerCause


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


class Gossip:
    """What one gateway tells and believes. `gateway`: a name that no other process has."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._told: dict[tuple[str, str], BreakerChange] = {}  # the openings that are known, of breakers still open
        self.heard = 0  # words of others
        self.believed = 0

    def news(self, pools: Mapping[str, Pool]) -> list[bytes]:
        """What is to be told since the last time."""
        known, self._told = self._told, {}
        words: list[bytes] = []
        for kind, key, breaker in _breakers(pools.values()):
            change = breaker.change
            if breaker.state is not BreakerState.OPEN or change is None or (kind, key) in self._told:
                continue
            self._told[kind, key] = change
            if change.before is BreakerState.CLOSED and known.get((kind, key)) is not change:
                word = _encode(Word(self._gateway, kind, key, change.why))
                if len(word) <= LONGEST_WORD:
                    words.append(word)
        return words[:_MOST_AT_ONCE]

    def hear(self, payload: bytes, pools: Mapping[str, Pool], now_ns: int) -> Word | None:
        """Take note of a word; it, when a breaker of ours opened on it. What cannot be read says nothing."""
        try:
            word = _decode(payload)
        except msgspec.DecodeError:
            return None
        if word.gateway == self._gateway:
            return None
        self.heard += 1
        breaker = next(
            (one for kind, key, one in _breakers(pools.values()) if (kind, key) == (word.kind, word.key)), None
        )
        if breaker is None or _knows_better(breaker, now_ns) or not _can_do_without(word, pools.values(), now_ns):
            return None
        if not _persuade(breaker, now_ns):
            return None
        assert breaker.change is not None
        self._told[word.kind, word.key] = breaker.change  # rule 1
        self.believed += 1
        return word


def _breakers(pools: Iterable[Pool]) -> Iterator[tuple[Literal["backend", "account"], str, Breaker]]:
    """Every breaker; an account's comes as often as it has backends."""
    for pool in pools:
        for backend in pool.backends:
            state = backend.state
            if state.breaker is not None:
                yield "backend", state.load.key, state.breaker
            if state.account.breaker is not None:
                yield "account", state.account.name, state.account.breaker


def _knows_better(breaker: Breaker, now_ns: int) -> bool:
    """It is not closed, or closed by its own probes a short while ago."""
    if breaker.state is not BreakerState.CLOSED:
        return True
    change = breaker.change
    return change is not None and now_ns - change.at_ns < breaker.policy.window_s * _SECOND_NS


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


def _persuade(breaker: Breaker, now_ns: int) -> bool:
    """Show it the failures of one window; whether it opened."""
    policy = breaker.policy
    for _ in range(max(policy.minimum_calls, policy.consecutive_failures or 0)):
        if breaker.record(CallResult.FAILED, 0.0, now_ns, probe=False) is not None:
            return True
    return False
