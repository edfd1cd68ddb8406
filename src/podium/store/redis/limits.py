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
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from secrets import token_hex
from typing import Any

from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.exchanges import Exchanges, Step, end_step, take_step
from podium.store.redis.scripts import Scripts, script
from podium.traffic.limiting.buckets import MEASURES, NOTHING, Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.limiter import Grant
from podium.traffic.limiting.wording import REASONS, refusal_message

__all__ = ["ENDS_AT_ONCE", "RedisGrant", "RedisLimiter", "outcome_of"]

_SECOND_NS = 1_000_000_000
_UNENDED = 10_000
ENDS_AT_ONCE = 32  # that one script tells: it takes a server less than 3 ms; as many as an outbox tells at once


class RedisGrant(Grant, eq=False, kw_only=True):
    """A grant that the store knows. Settle or release it when it ends; a second time does nothing."""

    id: str
    asked: tuple[Bucket, ...]
    told: tuple[Standing, ...] = ()  # how they stood right after it was admitted

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """What it has taken from."""
        return self.asked


class RedisLimiter:
    """Admits exchanges for all gateways. `lease_ns`: how long a grant lives that is neither renewed nor ended.

    `exchanges`: what a store of budgets has, too, so that what both ask for goes out together.
    """

    __slots__ = (
        "_client",
        "_end_later",
        "_exchanges",
        "_lease_us",
        "_name",
        "_numbers",
        "_prefix",
        "_scripts",
        "_unended",
        "lease_ns",
        "skew_us",
    )

    def __init__(
        self,
        client: RedisClient,
        scripts: Scripts,
        *,
        lease_ns: int = 1000 * _SECOND_NS,
        exchanges: Exchanges | None = None,
    ) -> None:
        self._client, self._scripts = client, scripts
        self._exchanges = exchanges or Exchanges(scripts, client.settings.prefix)
        self._prefix = f"{client.settings.prefix}:limit2:"
        self._lease_us = lease_ns // 1000
        self._unended: deque[tuple[RedisGrant, Charge]] = deque(maxlen=_UNENDED)
        self._end_later: Callable[[tuple[RedisGrant, Charge]], None] = self._unended.append
        self._name, self._numbers = token_hex(10), count()  # of grants
        self.lease_ns = lease_ns
        self.skew_us = 0  # added to the server's time, for tests

    @property
    def unended(self) -> int:
        """Grants whose end could not be told yet."""
        return len(self._unended)

    def hand_over_ends(self, end_later: Callable[[tuple[RedisGrant, Charge]], None]) -> None:
        """Have somebody else tell the ends that could not be told."""
        self._end_later = end_later

    async def acquire(self, buckets: Sequence[Bucket], charge: Charge, at_ns: int = 0) -> RedisGrant | Refusal:
        """Take `charge` from every bucket, or nothing at all. StoreUnavailable: it could not be decided in time.

        `at_ns`: the caller's own time, for the grant.
        """
        grant = self.grant(buckets, charge, at_ns)
        if not buckets:
            return grant
        try:
            told = await (self._take_and_make_up(grant) if self._unended else self._take(grant))
        except StoreUnavailable as error:
            if error.in_doubt:
                self.end_later(grant)
            raise
        except asyncio.CancelledError:
            self.end_later(grant)  # it may have been sent
            raise
        return outcome_of(grant, told)

    def grant(self, buckets: Sequence[Bucket], charge: Charge, at_ns: int = 0) -> RedisGrant:
        """A grant with a name of its own, which nobody has admitted yet."""
        name = f"{self._name}{next(self._numbers):x}"
        return RedisGrant([], charge, 0, at_ns, id=name, asked=tuple(buckets))

    def end_later(self, grant: RedisGrant) -> None:
        """Have it told that a grant, which the store may know, took nothing."""
        self._end_later((grant, NOTHING))

    async def settle(self, grant: RedisGrant, facts: Charge) -> None:
        """End an exchange that took `facts` in truth. Never fails: what cannot be told now is told later."""
        if grant.ended:
            return
        grant.ended = True
        if not grant.asked:
            return
        try:
            await self.end(((grant, facts),))
        except StoreUnavailable:
            self._end_later((grant, facts))
        except asyncio.CancelledError:
            self._end_later((grant, facts))
            raise

    async def release(self, grant: RedisGrant) -> None:
        """End an exchange that failed before it cost anything: all that it took is given back."""
        await self.settle(grant, NOTHING)

    async def end(self, ends: Sequence[tuple[RedisGrant, Charge]]) -> None:
        """Tell the ends of at most ENDS_AT_ONCE grants; StoreUnavailable. To tell one again does nothing."""
        await self._exchanges.run_all(_end_steps(ends), self.skew_us, self._lease_us)

    def send_end(self, ends: Sequence[tuple[RedisGrant, Charge]]) -> "asyncio.Future[Any]":
        """As `end`, sent now: the answer to come, which may also be that the server does not know the script yet."""
        return self._exchanges.send(_end_steps(ends), self.skew_us, self._lease_us)

    async def make_up(self) -> None:
        """Tell some of the ends that could not be told; StoreUnavailable."""
        some = [self._unended.popleft() for _ in range(min(len(self._unended), ENDS_AT_ONCE))]
        try:
            if some:
                await self.end(some)
        except BaseException:
            self._unended.extend(some)  # an end may be told twice
            raise

    async def correct(self, grant: RedisGrant, fact: int, version: int, *, last: bool) -> None:
        """Say what a grant with one bucket has taken up to now; StoreUnavailable: a higher `version` says it again.

        `last`: it ends with this.
        """
        (bucket,) = grant.asked
        what = MEASURES.index(bucket.what)
        kind, _, *rest = _words(grant.asked, NOTHING)
        words = (self.skew_us, self._lease_us, version, int(last), grant.charge[what], kind, fact, *rest)
        await self._scripts.run(script("limits_correct"), self._keys(grant), *words)

    async def look(self, bucket: Bucket) -> Standing:
        """How a bucket stands now; StoreUnavailable."""
        return (await self.standings(self.grant((bucket,), NOTHING)))[0]

    async def renew(self, grant: RedisGrant) -> bool:
        """Start the grant's lease anew; False: it has ended, or lost a place because its lease ran out.

        StoreUnavailable: it could not be told in time; the lease goes on as it was.
        """
        if grant.ended:
            return False
        words = (grant.id, self.skew_us, self._lease_us, *_words(grant.asked, grant.charge))
        return not grant.asked or await self._scripts.run(script("limits_renew"), self._keys(grant), *words) == 1

    async def standings(self, grant: RedisGrant) -> tuple[Standing, ...]:
        """How the buckets of a grant stand now."""
        if not grant.asked:
            return ()
        words = (self.skew_us, self._lease_us, *_words(grant.asked, NOTHING))
        _, *told = await self._scripts.run(script("limits_look"), self._keys(grant), *words)
        return _standings(grant.asked, told)

    async def _take(self, grant: RedisGrant) -> list[Any]:
        latest_s, deadline_s = self._client.deadline_s(), None
        for _ in range(2):
            step = take_step(grant.id, self._client.deadline_us(), grant.asked, grant.charge)
            answer: list[Any] = await self._exchanges.run(step, self.skew_us, self._lease_us, deadline_s=deadline_s)
            if answer[0] != -1:
                return answer
            deadline_s = latest_s
            self._client.figures.late += 1
            self._client.learn_time(answer[1])
        raise StoreUnavailable(StoreTrouble.REFUSED, "the server's clock jumps")

    async def _take_and_make_up(self, grant: RedisGrant) -> list[Any]:
        """Take, and tell some of the ends that could not be told, in one round trip."""
        _, taken = await asyncio.gather(self.make_up(), self._take(grant), return_exceptions=True)
        if isinstance(taken, BaseException):
            raise taken
        answer: list[Any] = taken
        return answer

    def _keys(self, grant: RedisGrant) -> tuple[str, ...]:
        prefix = self._prefix
        return (f"{prefix}grant:{grant.id}", *[f"{prefix}bucket:{bucket.key}" for bucket in grant.asked])


def outcome_of(grant: RedisGrant, told: list[int]) -> RedisGrant | Refusal:
    """What the script answered to who asked for this grant."""
    code, *numbers = told
    grant.told = _standings(grant.asked, numbers)
    return grant if code == 1 else _refusal(grant, numbers)


def _end_steps(ends: Sequence[tuple[RedisGrant, Charge]]) -> list[Step]:
    return [end_step(grant.id, grant.asked, grant.charge, facts) for grant, facts in ends]


def _words(buckets: tuple[Bucket, ...], charge: Charge) -> list[str | int]:
    """The buckets as the scripts read them: kind, charge, amount, burst, window_us."""
    words: list[str | int] = []
    for bucket in buckets:
        amount = charge[MEASURES.index(bucket.what)]
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
        for number, (bucket, wait) in enumerate(zip(grant.asked, waits, strict=True))
        if wait
    ]
    bucket = grant.asked[max(without_room, key=lambda one: one[:2])[2]]
    longest = max(waits)
    return Refusal(
        bucket,
        REASONS[bucket.what],
        refusal_message(bucket, grant.charge[MEASURES.index(bucket.what)]),
        None if longest == inf else longest / 1_000_000,
        grant.told,
    )
