"""The budgets of a gateway that shares them with others: podium.gateway.ports.Budgets.

Rules
1. What the store has to be asked is an awaitable; it ends within the store's time limit, and never fails: when there is
   no answer, or the store is known to be away, the gateway decides by its local share.
2. The local share of an account is what was left when the store last told this gateway of it, without what was used
   here since, divided by the number of gateways and rounded up; of an account that it never told of, of all of it.
3. So an account is exceeded, beside what costs more than was estimated, by at most what other gateways had taken from
   it since this one was told of it, and by one unit (a nano-dollar, a token) a gateway; by its amount at the very most.
4. What an exchange cost that was admitted here is told to the store when it is back, once; marks are crossed then.
5. Ends are told without anybody waiting, before whatever is asked for later. One that cannot be told for `give_up_s` is
   given up and counted: the repair finds what it cost in the ledger.
6. What runs longer than a third of a lease is renewed.
7. With quota leases most of what the store would be asked is decided here at once; `budget_quotas` says the bounds.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog
from redis.exceptions import ResponseError

from podium.core.clock import Clock
from podium.economics.budgets.book import Book
from podium.economics.budgets.values import Charge, Cost, Crossing, Refusal, RefusalCause, Reservation, Settlement
from podium.store.redis.budget_quotas import KEEP_S, BudgetQuotas
from podium.store.redis.budget_words import settlement
from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.circuit import StoreState
from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.local_shares import share_of
from podium.store.redis.members import Members
from podium.store.redis.outbox import AT_ONCE, Outbox
from podium.store.redis.renewals import Renewals

__all__ = ["SharedBudgets"]

_log = structlog.get_logger(__name__)

_LOCAL_LEASE_S = 86_400.0  # a process always ends what it began itself
_REMEMBERED = 20_000  # shares
_RETRY_S = 1.0  # what the share has no room for, the whole may have, once the store is back


@dataclass(slots=True)
class _Running:
    """A reservation that has not ended."""

    reservation: Reservation
    here: bool  # admitted without the store
    in_doubt: bool = False  # the store may hold it, too


@dataclass(frozen=True, slots=True)
class _End:
    """What the store has to be told of a reservation."""

    id: bytes
    fact: Cost | None  # None: it cost nothing
    charges: tuple[Charge, ...] = ()  # of one that was admitted here
    made_unix_ns: int = 0


class SharedBudgets:
    """Open as an async context manager; at the end, ends that wait are told.

    `crossed` hears of soft marks that were reached; it is quick and does not raise.
    """

    def __init__(
        self,
        client: RedisClient,
        store: RedisBudgetStore,
        members: Members,
        clock: Clock,
        *,
        crossed: Callable[[Crossing], None] = lambda _: None,
        give_up_s: float | None = None,
        quota_leases: bool = False,
    ) -> None:
        self._client, self._store, self._members, self._clock = client, store, members, clock
        self._crossed = crossed
        self._book = Book(lease_s=_LOCAL_LEASE_S)
        self._running: dict[bytes, _Running] = {}
        self._shares: OrderedDict[str, tuple[Charge, tuple[int, int], Charge]] = OrderedDict()
        self._untold: Counter[str] = Counter()  # by account, what was used here and the store does not know
        self._leases: Renewals[bytes] = Renewals(store.lease_s, store.renew)
        self.outbox: Outbox[_End] = Outbox(
            self._send,
            self._tell,
            want=client.want_round_trip,
            batch=AT_ONCE,
            give_up_s=store.lease_s if give_up_s is None else give_up_s,
            told=self._told,
            lost=self._lost,
        )
        client.before_each_batch(self.outbox.flush)
        self.quotas: BudgetQuotas | None = None
        if quota_leases:
            self.quotas = BudgetQuotas(store, lambda: members.count, clock, crossed)
        self.granted_here = 0
        self.refused_here = 0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.outbox)
            await stack.enter_async_context(self._leases)
            if self.quotas is not None:
                keeper = asyncio.get_running_loop().create_task(self._keep(self.quotas), name="redis-budget-quotas")
                stack.push_async_callback(self._end_quotas, self.quotas, keeper)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def running(self) -> int:
        """Reservations that have not ended."""
        return len(self._running) + (0 if self.quotas is None else self.quotas.running)

    def reserve(
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int, now_ns: int
    ) -> Reservation | Refusal | Awaitable[Reservation | Refusal]:
        """Hold the estimate in every account, or nothing; a plain answer where the store need not be asked.

        Unavailable, ValueError: as `Book.reserve`.
        """
        if not charges:
            return Reservation(reservation_id, (), estimate, unix_ns)
        if self._client.state is not StoreState.UP:
            return self.decide(reservation_id, charges, estimate, unix_ns, now_ns)
        if self.quotas is not None and reservation_id not in self._running:
            made = self.quotas.reserve(reservation_id, charges, estimate, unix_ns, now_ns)
            if made is not None:
                return made
        return self._ask(reservation_id, charges, estimate, unix_ns)

    def settle(self, reservation_id: bytes, fact: Cost) -> None:
        """Give back what was held and count what it cost, once: here, and in the store as soon as it can be told."""
        running = self._running.pop(reservation_id, None)
        if running is None:
            if self.quotas is not None:
                self.quotas.settle(reservation_id, fact)
            return
        if not running.here:
            self._leases.end(reservation_id)
            self.outbox.put(_End(reservation_id, fact))
            return
        self._book.settle(reservation_id, fact)
        made = running.reservation
        for charge in made.charges:
            self._untold[charge.key] += _amount(charge, fact)
        self.outbox.put_late(_End(reservation_id, fact, made.charges, made.made_unix_ns))

    def release(self, reservation_id: bytes) -> None:
        """Give back what was held: it cost nothing."""
        running = self._running.pop(reservation_id, None)
        if running is None:
            if self.quotas is not None:
                self.quotas.settle(reservation_id)
            return
        if running.here:
            self._book.release(reservation_id)
        else:
            self._leases.end(reservation_id)
        if running.in_doubt or not running.here:
            self.outbox.put(_End(reservation_id, None))

    async def _ask(
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int
    ) -> Reservation | Refusal:
        running = self._running.get(reservation_id)
        if running is not None and running.here:
            return running.reservation
        try:
            if self.quotas is None:
                outcome = await self._store.reserve(reservation_id, charges, estimate, unix_ns)
            else:
                outcome = await self._reserve(self.quotas, reservation_id, charges, estimate, unix_ns)
        except StoreUnavailable as error:
            now_ns = self._clock.monotonic_ns()
            return self.decide(reservation_id, charges, estimate, unix_ns, now_ns, in_doubt=error.in_doubt)
        except ResponseError as error:
            _log.error("shared_budgets_wrong", error=str(error))
            return self.decide(reservation_id, charges, estimate, unix_ns, self._clock.monotonic_ns())
        except asyncio.CancelledError:
            self.end_later(reservation_id)  # it may have been sent
            raise
        self.hear(outcome)
        return outcome

    def hear(self, outcome: Reservation | Refusal) -> None:
        """Take note of what the store has answered."""
        if isinstance(outcome, Reservation):
            self._running[outcome.id] = _Running(outcome, here=False)
            self._leases.begin(outcome.id)

    def end_later(self, reservation_id: bytes) -> None:
        """Have it told that what the store may hold cost nothing."""
        self.outbox.put(_End(reservation_id, None))

    async def _reserve(
        self, quotas: BudgetQuotas, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int
    ) -> Reservation | Refusal:
        """As the store says; before it refuses, what slices of this gateway hold is given back."""
        latest_s, tells = self._client.deadline_s(), quotas.tells
        outcome = await self._store.reserve(reservation_id, charges, estimate, unix_ns)
        if isinstance(outcome, Reservation):
            return outcome
        try:
            async with asyncio.timeout_at(latest_s):
                given_back = await quotas.give_back(charges, estimate)
            if given_back or quotas.tells != tells:  # meanwhile, perhaps of these
                return await self._store.reserve(reservation_id, charges, estimate, unix_ns, deadline_s=latest_s)
        except TimeoutError:
            pass
        except StoreUnavailable as error:
            if error.in_doubt:
                self.outbox.put(_End(reservation_id, None))
        return outcome

    async def _keep(self, quotas: BudgetQuotas) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            if quotas.busy:
                quotas.keep(self._clock.monotonic_ns())

    async def _end_quotas(self, quotas: BudgetQuotas, keeper: asyncio.Task[None]) -> None:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await quotas.close()

    def decide(
        self,
        reservation_id: bytes,
        charges: Sequence[Charge],
        estimate: Cost,
        unix_ns: int,
        now_ns: int,
        *,
        in_doubt: bool = False,
    ) -> Reservation | Refusal:
        """Decide here, by the local shares. `in_doubt`: the store may hold it all the same."""
        known = self._running.get(reservation_id)
        if known is not None:
            return known.reservation
        shares = [self._share(charge, unix_ns) for charge in charges]
        outcome = self._book.reserve(reservation_id, shares, estimate, unix_ns, now_ns)
        if isinstance(outcome, Refusal):
            self.refused_here += 1
            if in_doubt:
                self.outbox.put(_End(reservation_id, None))
            return _of_the_whole(outcome, charges, estimate)
        self.granted_here += 1
        made = Reservation(reservation_id, tuple(charges), estimate, unix_ns)
        self._running[reservation_id] = _Running(made, here=True, in_doubt=in_doubt)
        return made

    def _share(self, charge: Charge, unix_ns: int) -> Charge:
        """A charge of as much as may be used here; it stays until the store tells of the account again."""
        seen = self._store.left.get(charge.key, (0, charge.rule.amount))
        known = self._shares.get(charge.key)
        if known is not None and known[0] == charge and known[1] == seen:
            return known[2]
        (here,) = self._book.standing((charge,), unix_ns)
        left = max(0, seen[1] - here.reserved - self._untold[charge.key])
        amount = here.settled + here.reserved + share_of(left, self._members.count)
        share = replace(charge, rule=replace(charge.rule, amount=amount, soft=()))
        self._shares[charge.key] = (charge, seen, share)
        self._shares.move_to_end(charge.key)
        if len(self._shares) > _REMEMBERED:
            self._shares.popitem(last=False)
        return share

    def _send(self, ends: Sequence[_End]) -> "asyncio.Future[Any]":
        return self._store.send_ends([(end.id, end.fact) for end in ends])

    async def _tell(self, ends: Sequence[_End]) -> Sequence[_End]:
        answers = await asyncio.gather(*map(self._tell_one, ends), return_exceptions=True)
        again = []
        for end, answer in zip(ends, answers, strict=True):
            if isinstance(answer, Settlement):
                self._hear(end, answer)
            elif isinstance(answer, StoreUnavailable):
                again.append(end)
            elif isinstance(answer, ResponseError):
                _log.error("shared_budgets_wrong", error=str(answer))
                self._lost((end,))
            else:
                raise answer
        return again

    async def _tell_one(self, end: _End) -> Settlement:
        if end.fact is None:
            return await self._store.release(end.id)
        if end.charges:
            return await self._store.count(end.id, end.charges, end.fact, end.made_unix_ns)
        return await self._store.settle(end.id, end.fact)

    def _told(self, ends: Sequence[_End], answer: Any) -> None:
        for end, one in zip(ends, answer, strict=True):
            self._hear(end, settlement(one))

    def _hear(self, end: _End, told: Settlement) -> None:
        self._lost((end,))
        for crossing in told.crossings:
            self._crossed(crossing)

    def _lost(self, ends: Sequence[_End]) -> None:
        """These are not told any more: they do not count as untold."""
        for end in ends:
            for charge in end.charges:
                self._untold[charge.key] -= _amount(charge, end.fact or Cost(0, 0))
                if self._untold[charge.key] <= 0:
                    del self._untold[charge.key]


def _amount(charge: Charge, cost: Cost) -> int:
    return cost.nanousd if charge.rule.unit == "usd" else cost.tokens


def _of_the_whole(refusal: Refusal, charges: Sequence[Charge], estimate: Cost) -> Refusal:
    """The refusal in words about the budget as it was declared."""
    charge = next(charge for charge in charges if charge.rule.budget == refusal.budget)
    standing = replace(refusal.standing, charge=charge)
    if refusal.cause is RefusalCause.TOO_LARGE and _amount(charge, estimate) > charge.rule.amount:
        return replace(refusal, standing=standing)
    return replace(
        refusal,
        cause=RefusalCause.SPENT if refusal.cause is RefusalCause.TOO_LARGE else refusal.cause,
        message=f"This gateway's share of what is left of the budget {refusal.budget!r} is used up,"
        " and the store that gateways share cannot be reached.",
        resets_unix_ns=None,
        retry_after_s=_RETRY_S,
        standing=standing,
    )
