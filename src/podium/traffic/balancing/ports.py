"""The one question that every balancing strategy answers, and the words for why."""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from podium.traffic.balancing.load import BackendLoad

__all__ = ["Balancer", "CallFacts", "Choice", "Why"]


class Why(StrEnum):
    """Why a backend was chosen."""

    ONLY_ONE = "only_one"  # there was no choice
    TURN = "turn"
    WEIGHT = "weight"  # its turn, by weight
    SECOND_TRY = "second_try"  # outside of the turns, drawn by weight
    FEWER_IN_FLIGHT = "fewer_in_flight"
    FASTER = "faster"
    UNTRIED = "untried"  # nothing is known of its speed, and nobody is finding out
    CHEAPEST = "cheapest"
    CHEAPER_FULL = "cheaper_full"  # the cheaper ones have no room
    WARM_PREFIX = "warm_prefix"
    COLD_PREFIX = "cold_prefix"  # nobody has seen this prompt's beginning
    IMBALANCE = "imbalance"  # who has seen it is too busy
    SESSION = "session"
    SESSION_MOVED = "session_moved"  # the session's own backend cannot take it


class CallFacts(msgspec.Struct, frozen=True, gc=False):
    """What a strategy may know about a call.

    `session`: what the caller names as such, or empty. `prompt_prefix`: the first bytes of the prompt, or empty.
    `random`: one uniform value, 0 <= random < 1.
    """

    now_ns: int
    tenant: str = ""
    session: str = ""
    prompt_prefix: bytes = b""
    random: float = 0.0


class Choice(msgspec.Struct, frozen=True, gc=False):
    """The chosen backend's index, and why it."""

    index: int
    why: Why


class Balancer(Protocol):
    """Chooses among a pool's backends. One object a pool; for one event loop."""

    def choose(self, backends: Sequence[BackendLoad], excluded: Collection[int], call: CallFacts) -> Choice | None:
        """The backend for a call; None when none is left.

        `backends` stays the same object until membership, health, a weight or a price changes; a strategy keeps what
        it derives from it for as long. A weight that falls to 0 is noticed at once all the same. `excluded`: indexes
        that this exchange has tried; not empty means a second try.
        """
