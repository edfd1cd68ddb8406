"""Limits and budgets that gateways share, asked for in one step: podium.gateway.ports.Admission.

Rules
1. An exchange has its share of every limit and every budget, or of none: one atomic script decides about both.
2. When there is no answer within the store's time limit, this gateway decides about both by its local shares; what the
   store may have given all the same is given back.
3. What was admitted is ended with `SharedLimits` and `SharedBudgets`, as if they had been asked one after the other.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import structlog
from redis.exceptions import ResponseError

from podium.core.clock import Clock
from podium.core.errors import Unavailable
from podium.economics.budgets import values as budgeting
from podium.economics.budgets.values import Reservation
from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.circuit import StoreState
from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.exchanges import Exchanges, admit_step
from podium.store.redis.limits import RedisGrant, RedisLimiter, outcome_of
from podium.store.redis.shared_budgets import SharedBudgets
from podium.store.redis.shared_limits import SharedLimits
from podium.traffic.limiting.buckets import Bucket, Charge, Refusal
from podium.traffic.limiting.limiter import Grant

__all__ = ["SharedAdmission"]

_log = structlog.get_logger(__name__)

Admitted = tuple[Grant | Refusal, Reservation | budgeting.Refusal | None]


class SharedAdmission:
    """Asks for limits and budgets together."""

    __slots__ = ("_budgets", "_client", "_clock", "_exchanges", "_limiter", "_limits", "_store")

    def __init__(
        self,
        client: RedisClient,
        exchanges: Exchanges,
        limiter: RedisLimiter,
        store: RedisBudgetStore,
        limits: SharedLimits,
        budgets: SharedBudgets,
        clock: Clock,
    ) -> None:
        self._client, self._exchanges, self._clock = client, exchanges, clock
        self._limiter, self._limits = limiter, limits
        self._store, self._budgets = store, budgets

    def admit(
        self, buckets: Sequence[Bucket], charge: Charge, asked: Reservation, now_ns: int
    ) -> Awaitable[Admitted] | None:
        """Take `charge` from every bucket and hold what is asked for in every account, or nothing at all.

        None: each of the two decides alone.
        """
        if self._client.state is not StoreState.UP:
            return None
        return self._ask(buckets, charge, asked, now_ns)

    async def _ask(self, buckets: Sequence[Bucket], charge: Charge, asked: Reservation, now_ns: int) -> Admitted:
        grant = self._limiter.grant(buckets, charge, now_ns)
        try:
            told, *reserved = await self._told(grant, asked)
        except (StoreUnavailable, ResponseError) as error:
            if isinstance(error, ResponseError):
                _log.error("shared_admission_wrong", error=str(error))
            return self._decide(grant, asked, in_doubt=isinstance(error, StoreUnavailable) and error.in_doubt)
        except asyncio.CancelledError:  # it may have been sent
            self._limiter.end_later(grant)
            self._budgets.end_later(asked.id)
            raise
        taken, held = outcome_of(grant, told), None
        if reserved:
            held = self._store.outcome_of(asked, reserved[0])
            grant.ended = not isinstance(held, Reservation)  # then nothing was taken, either
            self._budgets.hear(held)
        self._limits.hear(taken, charge, now_ns)
        return taken, held

    async def _told(self, grant: RedisGrant, asked: Reservation) -> list[Any]:
        latest_s, deadline_s = self._client.deadline_s(), None
        skew_us, lease_us = self._limiter.skew_us, self._limiter.lease_ns // 1000
        for _ in range(2):
            step = admit_step(grant.id, self._client.deadline_us(), grant.asked, grant.charge, asked)
            answer: list[Any] = await self._exchanges.run(step, skew_us, lease_us, deadline_s=deadline_s)
            if answer[0][0] != -1:
                return answer
            deadline_s = latest_s
            self._client.figures.late += 1
            self._client.learn_time(answer[0][1])
        raise StoreUnavailable(StoreTrouble.REFUSED, "the server's clock jumps")

    def _decide(self, grant: RedisGrant, asked: Reservation, *, in_doubt: bool) -> Admitted:
        """Decide about both here."""
        if in_doubt:
            self._limiter.end_later(grant)
        now_ns = self._clock.monotonic_ns()
        taken = self._limits.local.acquire(grant.asked, grant.charge, now_ns)
        if isinstance(taken, Refusal):
            if in_doubt:
                self._budgets.end_later(asked.id)
            return taken, None
        try:
            held = self._budgets.decide(
                asked.id, asked.charges, asked.estimate, asked.made_unix_ns, now_ns, in_doubt=in_doubt
            )
        except Unavailable:
            self._limits.release(taken, now_ns)
            raise
        return taken, held
