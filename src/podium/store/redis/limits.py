"""The limiter that gateways share: each decision is one atomic script with the server's time.

What `podium.traffic.limiting` promises in memory holds here for all gateways together. Beside that:

1. A decision that the server executes after nobody waits for it any more takes nothing.
2. When an answer did not come, whether something was taken is not known. Such a grant is released, and an end that
   could not be told is told again, together with a later decision: `unended` of them are remembered.
3. Keys end by themselves: a bucket's when it would be as new, a grant's some time after its lease.
4. All keys share the prefix's hash tag, so on a cluster all decisions are made on one shard: correct, but one shard's
   worth of decisions is the most.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import uuid4

from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.scripts import Scripts, script
from podium.traffic.limiting.buckets import MEASURES, NOTHING, Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.wording import REASONS, refusal_message

__all__ = ["RedisGrant", "RedisLimiter"]

_SECOND_NS = 1_000_000_000
_UNENDED = 10_000
_MADE_UP_AT_ONCE = 16


@dataclass(slots=True, eq=False)
class RedisGrant:
    """An admitted exchange. Settle or release it when it ends; a second time does nothing."""

    id: str
    buckets: tuple[Bucket, ...]
    charge: Charge  # what was taken from each, by its measure
    standings: tuple[Standing, ...] = ()  # right after it was admitted
    ended: bool = field(default=False)


class RedisLimiter:
    """Admits exchanges for all gateways. `lease_ns`: how long a grant lives that is neither renewed nor ended."""

    __slots__ = ("_client", "_lease_us", "_prefix", "_scripts", "_unended", "lease_ns", "skew_us")

    def __init__(self, client: RedisClient, scripts: Scripts, *, lease_ns: int = 1000 * _SECOND_NS) -> None:
        self._client, self._scripts = client, scripts
        self._prefix = f"{client.settings.prefix}:limit1:"
        self._lease_us = lease_ns // 1000
        self._unended: deque[tuple[RedisGrant, Charge]] = deque(maxlen=_UNENDED)
        self.lease_ns = lease_ns
        self.skew_us = 0  # added to the server's time, for tests

    @property
    def unended(self) -> int:
        """Grants whose end could not be told yet."""
        return len(self._unended)

    async def acquire(self, buckets: Sequence[Bucket], charge: Charge) -> RedisGrant | Refusal:
        """Take `charge` from every bucket, or nothing at all. StoreUnavailable: it could not be decided in time."""
        grant = RedisGrant(uuid4().hex, tuple(buckets), charge)
        if not buckets:
            return grant
        try:
            code, *told = await (self._take_and_make_up(grant) if self._unended else self._take(grant))
        except StoreUnavailable as error:
            if error.in_doubt:
                self._unended.append((grant, NOTHING))
            raise
        except asyncio.CancelledError:
            self._unended.append((grant, NOTHING))  # it may have been sent
            raise
        grant.standings = _standings(grant.buckets, told)
        return grant if code == 1 else _refusal(grant, told)

    async def settle(self, grant: RedisGrant, facts: Charge) -> None:
        """End an exchange that took `facts` in truth. Never fails: what cannot be told now is told later."""
        if grant.ended:
            return
        grant.ended = True
        if not grant.buckets:
            return
        try:
            await self._end(grant, facts)
        except StoreUnavailable:
            self._unended.append((grant, facts))
        except asyncio.CancelledError:
            self._unended.append((grant, facts))
            raise

    async def release(self, grant: RedisGrant) -> None:
        """End an exchange that failed before it cost anything: all that it took is given back."""
        await self.settle(grant, NOTHING)

    async def renew(self, grant: RedisGrant) -> bool:
        """Start the grant's lease anew; False: it has ended, or lost a place because its lease ran out.

        StoreUnavailable: it could not be told in time; the lease goes on as it was.
        """
        if grant.ended:
            return False
        words = (grant.id, self.skew_us, self._lease_us, *_words(grant.buckets, grant.charge))
        return not grant.buckets or await self._scripts.run(script("limits_renew"), self._keys(grant), *words) == 1

    async def standings(self, grant: RedisGrant) -> tuple[Standing, ...]:
        """How the buckets of a grant stand now."""
        if not grant.buckets:
            return ()
        words = (self.skew_us, self._lease_us, *_words(grant.buckets, NOTHING))
        _, *told = await self._scripts.run(script("limits_look"), self._keys(grant), *words)
        return _standings(grant.buckets, told)

    async def _take(self, grant: RedisGrant) -> list[Any]:
        words = (self.skew_us, self._lease_us, *_words(grant.buckets, grant.charge))
        for _ in range(2):
            deadline_us = self._client.deadline_us()
            answer: list[Any] = await self._scripts.run(
                script("limits_take"), self._keys(grant), grant.id, deadline_us, *words
            )
            if answer[0] != -1:
                return answer
            self._client.figures.late += 1
            self._client.learn_time(answer[1])
        raise StoreUnavailable(StoreTrouble.REFUSED, "the server's clock jumps")

    async def _end(self, grant: RedisGrant, facts: Charge) -> None:
        words = (grant.id, self.skew_us, self._lease_us, *_words(grant.buckets, grant.charge, facts))
        await self._scripts.run(script("limits_end"), self._keys(grant), *words)

    async def _take_and_make_up(self, grant: RedisGrant) -> list[Any]:
        """Take, and tell some of the ends that could not be told, in one round trip."""
        some = [self._unended.popleft() for _ in range(min(len(self._unended), _MADE_UP_AT_ONCE))]
        try:
            taken, *ends = await asyncio.gather(
                self._take(grant), *[self._end(old, facts) for old, facts in some], return_exceptions=True
            )
        except asyncio.CancelledError:
            self._unended.extend(some)  # an end may be told twice
            raise
        self._unended.extend(one for one, end in zip(some, ends, strict=True) if isinstance(end, StoreUnavailable))
        if isinstance(taken, BaseException):
            raise taken
        answer: list[Any] = taken
        return answer

    def _keys(self, grant: RedisGrant) -> tuple[str, ...]:
        prefix = self._prefix
        return (f"{prefix}grant:{grant.id}", *[f"{prefix}bucket:{bucket.key}" for bucket in grant.buckets])


def _words(buckets: tuple[Bucket, ...], charge: Charge, facts: Charge | None = None) -> list[str | int]:
    """The buckets as the scripts read them: kind, charge (or how far facts differ), amount, burst, window_us."""
    words: list[str | int] = []
    for bucket in buckets:
        what = MEASURES.index(bucket.what)
        amount = charge[what] if facts is None else facts[what] - charge[what]
        if bucket.what == "concurrency":
            words += ("c", amount, bucket.amount, bucket.amount, 0)
        else:
            kind, burst = ("g", bucket.at_once) if bucket.algorithm == "gcra" else ("s", bucket.amount)
            words += (kind, amount, bucket.amount, burst, bucket.window_ns // 1000)
    return words


def _standings(buckets: tuple[Bucket, ...], told: list[int]) -> tuple[Standing, ...]:
    return tuple(
        [Standing(bucket, told[3 * number + 1], told[3 * number + 2] * 1000) for number, bucket in enumerate(buckets)]
    )


def _refusal(grant: RedisGrant, told: list[int]) -> Refusal:
    """Of those without room, the one of the highest priority, then of the longest wait; the wait is the longest."""
    waits = [inf if wait == -1 else wait for wait in told[::3]]
    without_room = [
        (bucket.priority, wait, number)
        for number, (bucket, wait) in enumerate(zip(grant.buckets, waits, strict=True))
        if wait
    ]
    bucket = grant.buckets[max(without_room, key=lambda one: one[:2])[2]]
    longest = max(waits)
    return Refusal(
        bucket,
        REASONS[bucket.what],
        refusal_message(bucket, grant.charge[MEASURES.index(bucket.what)]),
        None if longest == inf else longest / 1_000_000,
        grant.standings,
    )
