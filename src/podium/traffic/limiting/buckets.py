"""The words of limiting, which every limiter speaks: what is counted, what is asked for, what is answered.

A limiter keeps three promises
1. All or nothing: an exchange takes from each of its buckets, or from none.
2. Estimates are corrected once, to facts: less is given back as if it had been less from the start, except what the
   bucket would have drained idly meanwhile; more is owed from now on.
3. A grant that nobody settles ends by itself: its places are free after a lease, its estimate stays charged.
"""

from dataclasses import dataclass

import msgspec

from podium.core.limits import Algorithm, Dimension, Measure
from podium.core.reasons import Reason

__all__ = ["MEASURES", "NOTHING", "SLOTS", "Bucket", "Charge", "Refusal", "Standing", "charge_of"]

SLOTS = 16  # parts of a sliding window; room comes back up to one part late


# How much of each of MEASURES an exchange takes, in their order. A plain tuple is the quickest to ask.
Charge = tuple[int, int, int, int, int]

MEASURES: tuple[Measure, ...] = ("requests", "input_tokens", "output_tokens", "tokens", "concurrency")
NOTHING: Charge = (0, 0, 0, 0, 0)


def charge_of(input_tokens: int, output_tokens: int, requests: int = 1) -> Charge:
    """What one exchange takes; each >= 0."""
    return requests, input_tokens, output_tokens, input_tokens + output_tokens, 1


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit of one subject.

    `key` says policy, measure, window, algorithm and subject: buckets with the same key have the same `what`,
    `window_ns` and `algorithm`, while `amount`, `burst` and `priority` may change from one request to the next.
    """

    key: str  # at most MAX_KEY_CHARACTERS of `policies`; no secret in it
    what: Measure
    amount: int
    window_ns: int = 0  # 0 for concurrency
    algorithm: Algorithm = "gcra"
    burst: int = 0  # for gcra: what may come at once; 0: as much as `amount`
    priority: int = 0  # of several without room, the caller is told the highest
    policy: str = ""
    per: tuple[Dimension, ...] = ()
    shared_key: str = ""  # of the bucket for subjects that found no place in memory; empty: as `key` without subject

    @property
    def at_once(self) -> int:
        """The most that one charge may be."""
        return self.burst or self.amount


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How one bucket stands."""

    bucket: Bucket
    left: int  # what could be taken now; never below 0
    reset_ns: int  # until it is as if never used, if nothing more is taken; 0 for concurrency


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an exchange was not admitted. It has taken nothing."""

    bucket: Bucket  # of all without room, that of the highest priority, then of the longest wait
    reason: Reason
    message: str  # a sentence for the caller
    retry_after_s: float | None  # the longest wait of all without room; None: waiting does not help
    standings: tuple[Standing, ...]  # of all buckets
