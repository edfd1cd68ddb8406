"""The limits of a gateway that shares them with others: podium.gateway.ports.Limits.

Rules
1. What the store has to be asked is an awaitable; it ends within the store's time limit, and never fails: when there is
   no answer, or the store is known to be away, the gateway decides by its local share (`local_shares` says the bound).
2. What was granted by the store is ended there, if need be when it is back; what was granted locally, locally.
3. Ends are told without anybody waiting, before whatever is asked for later. One that cannot be told for a lease is
   given up: by then places are free and estimates stay charged anyhow.
4. What runs longer is renewed every third of a lease.
5. With quota leases most of what the store would be asked is decided here at once; `quotas` says the bounds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Self

import structlog
from redis.exceptions import ResponseError

from podium.core.clock import Clock
from podium.store.redis.circuit import StoreState
from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.limits import ENDS_AT_ONCE, RedisGrant, RedisLimiter
from podium.store.redis.local_shares import LocalShares
from podium.store.redis.members import Members
from podium.store.redis.outbox import Outbox
from podium.store.redis.quotas import KEEP_S, QuotaGrant, Quotas
from podium.store.redis.renewals import Renewals
from podium.traffic.limiting.buckets import MEASURES, NOTHING, Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.limiter import Grant, LastRefusal, Limiter

__all__ = ["SharedLimits"]

_log = structlog.get_logger(__name__)

_SECOND_NS = 1_000_000_000
_REMEMBERED = 20_000  # standings and refusals, for `look`
_End = tuple[RedisGrant, Charge]


class SharedLimits:
    """Open as an async context manager; at the end, ends that wait are told.

    `limiter` decides in the store. `local` keeps the local shares.
    """

    def __init__(
        self,
        client: RedisClient,
        limiter: RedisLimiter,
        members: Members,
        clock: Clock,
        *,
        local: Limiter | None = None,
        quota_leases: bool = False,
    ) -> None:
        self._client, self._limiter, self._clock = client, limiter, clock
        lease_s = limiter.lease_ns / _SECOND_NS
        self.local = LocalShares(local or Limiter(lease_ns=limiter.lease_ns), lambda: members.count)
        self.outbox: Outbox[_End] = Outbox(
            limiter.send_end, self._end, want=client.want_round_trip, batch=ENDS_AT_ONCE, give_up_s=lease_s
        )
        limiter.hand_over_ends(self.outbox.put)
        client.before_each_batch(self.outbox.flush)
        self._running: Renewals[RedisGrant] = Renewals(lease_s, self._renew)
        self.quotas: Quotas | None = None
        if quota_leases:
            self.quotas = Quotas(
                limiter,
                lambda: members.count,
                begin=self._running.begin,
                end=self._running.end,
                put_end=self.outbox.put,
                told=self._note,
            )
        self._seen: OrderedDict[str, tuple[Standing, int]] = OrderedDict()  # as last told, and when
        self._refused: OrderedDict[str, tuple[int, int, int | None]] = OrderedDict()  # when, how much, what wait

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.outbox)
            await stack.enter_async_context(self._running)
            if self.quotas is not None:
                keeper = asyncio.get_running_loop().create_task(self._keep(self.quotas), name="redis-quotas")
                stack.push_async_callback(self._end_quotas, self.quotas, keeper)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def running(self) -> int:
        """Grants of the store that have not ended."""
        return len(self._running)

    def acquire(
        self, buckets: Sequence[Bucket], charge: Charge, now_ns: int
    ) -> Grant | Refusal | Awaitable[Grant | Refusal]:
        """Take `charge` from every bucket, or nothing at all; a plain answer where the store need not be asked."""
        if not buckets:
            return Grant([], charge, 0, now_ns)
        if self._client.state is not StoreState.UP:
            return self.local.acquire(buckets, charge, now_ns)
        if self.quotas is not None:
            grant = self.quotas.acquire(buckets, charge, now_ns)
            if grant is not None:
                return grant
        return self._ask(buckets, charge, now_ns)

    def settle(self, grant: Grant, facts: Charge, now_ns: int) -> None:
        """End an exchange that took `facts` in truth: here, or in the store as soon as it can be told."""
        if isinstance(grant, RedisGrant):
            if not grant.ended:
                grant.ended = True
                self._running.end(grant)
                self.outbox.put((grant, facts))
        elif isinstance(grant, QuotaGrant):
            assert self.quotas is not None
            self.quotas.settle(grant, facts, now_ns)
        else:
            self.local.settle(grant, facts, now_ns)

    def release(self, grant: Grant, now_ns: int) -> None:
        """End an exchange that cost nothing: all that it took is given back."""
        self.settle(grant, NOTHING, now_ns)

    def standings(self, grant: Grant, now_ns: int) -> tuple[Standing, ...]:
        """How the buckets of a grant stand; of one of the store, as it said when it admitted it."""
        if isinstance(grant, QuotaGrant):
            return self._seen_standings(grant.asked, now_ns)
        if not isinstance(grant, RedisGrant):
            return self.local.standings(grant, now_ns)
        return _aged(grant.told, now_ns - grant.at_ns)

    def look(self, bucket: Bucket, now_ns: int) -> tuple[Standing, LastRefusal | None]:
        """How a bucket stood when the store last told this gateway, and when it last refused a caller of this gateway.

        While the store is away: as the local share stands.
        """
        if self._client.state is not StoreState.UP:
            return self.local.look(bucket, now_ns)
        refused = self._refused.get(bucket.key)
        (standing,) = self._seen_standings((bucket,), now_ns)
        return standing, refused and LastRefusal(now_ns - refused[0], refused[1], refused[2])

    async def look_now(self, bucket: Bucket) -> Standing:
        """How a bucket stands in the store; StoreUnavailable."""
        return await self._limiter.look(bucket)

    async def _ask(self, buckets: Sequence[Bucket], charge: Charge, now_ns: int) -> Grant | Refusal:
        try:
            outcome = await self._limiter.acquire(buckets, charge, now_ns)
        except (StoreUnavailable, ResponseError) as error:
            if isinstance(error, ResponseError):
                _log.error("shared_limits_wrong", error=str(error))
            return self.local.acquire(buckets, charge, self._clock.monotonic_ns())
        self.hear(outcome, charge, now_ns)
        return outcome

    def hear(self, outcome: RedisGrant | Refusal, charge: Charge, now_ns: int) -> None:
        """Take note of what the store has answered to who asked for `charge` at `now_ns`."""
        if isinstance(outcome, RedisGrant):
            if not outcome.ended:
                self._running.begin(outcome)
            self._note(outcome.told, now_ns)
        else:
            self._note(outcome.standings, now_ns)
            self._note_refusal(outcome, charge, now_ns)

    def _seen_standings(self, buckets: Sequence[Bucket], now_ns: int) -> tuple[Standing, ...]:
        seen, found = self._seen, []
        for bucket in buckets:
            known = seen.get(bucket.key)
            if known is None:
                found.append(Standing(bucket, bucket.at_once, 0))
                continue
            standing, at_ns = known
            reset_ns = standing.reset_ns - now_ns + at_ns
            found.append(Standing(standing.bucket, standing.left, reset_ns if reset_ns > 0 else 0))  # noqa: FURB136
        return tuple(found)

    async def _keep(self, quotas: Quotas) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            if quotas.busy:
                await quotas.keep(self._clock.monotonic_ns())

    async def _end_quotas(self, quotas: Quotas, keeper: asyncio.Task[None]) -> None:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await quotas.close(self._clock.monotonic_ns())

    def _note(self, standings: tuple[Standing, ...], now_ns: int) -> None:
        seen = self._seen
        for standing in standings:
            seen[standing.bucket.key] = (standing, now_ns)
        while len(seen) > _REMEMBERED:
            seen.popitem(last=False)

    def _note_refusal(self, refusal: Refusal, charge: Charge, now_ns: int) -> None:
        wait_s, bucket = refusal.retry_after_s, refusal.bucket
        wait_ns = None if wait_s is None else int(wait_s * _SECOND_NS)
        self._refused[bucket.key] = (now_ns, charge[MEASURES.index(bucket.what)], wait_ns)
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)

    async def _end(self, ends: Sequence[_End]) -> Sequence[_End]:
        await self._limiter.end(ends)
        return ()

    async def _renew(self, grants: Sequence[RedisGrant]) -> None:
        results = await asyncio.gather(*map(self._limiter.renew, grants), return_exceptions=True)
        for grant, known in zip(grants, results, strict=True):
            if isinstance(known, BaseException):
                raise known
            if not known and self.quotas is not None:
                self.quotas.lost(grant)


def _aged(standings: tuple[Standing, ...], age_ns: int) -> tuple[Standing, ...]:
    """As told so long ago: what was left then is still said to be, and time has passed."""
    return tuple([Standing(one.bucket, one.left, max(0, one.reset_ns - age_ns)) for one in standings])
