"""Budgets that gateways share: `podium.economics.budgets.store` where each call is one atomic script.

Beside what that face promises: a reservation that the server would make after nobody waits for it any more is not made;
reservations are known for a lease and ten minutes after their end, those whose lease has ended for a day; an account is
kept until its period is two days over. All keys share the prefix's hash tag, so a cluster decides about budgets on one
shard.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from podium.economics.budgets.refusals import refusal
from podium.economics.budgets.store import MARK_AHEAD_S
from podium.economics.budgets.values import (
    Charge,
    Correction,
    Cost,
    Crossing,
    Refusal,
    Reservation,
    Settlement,
    Standing,
)
from podium.store.redis.budget_words import (
    SliceCode,
    SliceTold,
    SliceWords,
    account_from,
    account_of,
    crossing_of,
    pack_charges,
    settlement,
    slice_told,
    words_of_charge,
)
from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.exchanges import Exchanges, finish_step, reserve_step
from podium.store.redis.scripts import Scripts, script

__all__ = ["RedisBudgetStore"]

_REMEMBERED = 100_000  # accounts
_PAGE = 1000  # leases that one `expire` script ends


class RedisBudgetStore:
    """Reservations and accounts of all gateways. `lease_s`: how long a reservation is held at most.

    `exchanges`: what a limiter has, too, so that what both ask for goes out together.
    """

    __slots__ = ("_client", "_exchanges", "_lease_us", "_prefix", "_scripts", "lease_s", "left", "skew_us")

    def __init__(
        self, client: RedisClient, scripts: Scripts, *, lease_s: float, exchanges: Exchanges | None = None
    ) -> None:
        self._client, self._scripts = client, scripts
        self._prefix = f"{client.settings.prefix}:budget2:"
        self._exchanges = exchanges or Exchanges(scripts, client.settings.prefix)
        self._lease_us = int(lease_s * 1_000_000)
        self.lease_s = lease_s
        self.left: OrderedDict[str, tuple[int, int]] = (
            OrderedDict()
        )  # by account: a number that grows, and what was left
        self.skew_us = 0  # added to the server's time, for tests

    async def reserve(
        self,
        reservation_id: bytes,
        charges: Sequence[Charge],
        estimate: Cost,
        unix_ns: int,
        *,
        deadline_s: float | None = None,
    ) -> Reservation | Refusal:
        """As BudgetStore. When it is not known whether it was made, its lease ends it.

        `deadline_s`: as in `RedisClient.send`.
        """
        latest_s = self._client.deadline_s() if deadline_s is None else deadline_s
        for _ in range(2):
            step = reserve_step(reservation_id, self._client.deadline_us(), charges, estimate, unix_ns)
            told = await self._exchanges.run(step, self.skew_us, self._lease_us, deadline_s=deadline_s)
            if told[0] != -1:
                return self.outcome_of(Reservation(reservation_id, tuple(charges), estimate, unix_ns), told)
            deadline_s = latest_s
            self._client.figures.late += 1
            self._client.learn_time(told[1])
        raise StoreUnavailable(StoreTrouble.REFUSED, "the server's clock jumps")

    def outcome_of(self, asked: Reservation, told: list[Any]) -> Reservation | Refusal:
        """What the script answered to who asked for this reservation. ValueError: it has ended."""
        code, *told = told
        charges = asked.charges
        if code == 1:
            self._note(charges, told)
            return asked
        if code == 0:
            accounts = [account_from(state, charge) for state, charge in zip(told, charges, strict=True)]
            self._note(charges, [account.standing().left for account in accounts])
            return refusal(accounts, asked.estimate, asked.made_unix_ns)
        raise ValueError("this reservation has ended")

    async def settle(self, reservation_id: bytes, fact: Cost) -> Settlement:
        """As BudgetStore."""
        return await self._end(reservation_id, fact)

    async def release(self, reservation_id: bytes) -> Settlement:
        """As BudgetStore."""
        return await self._end(reservation_id, None)

    def send_ends(self, ends: Sequence[tuple[bytes, Cost | None]]) -> "asyncio.Future[list[Any]]":
        """As `settle`, or as `release` without a fact, sent now: answers for `settlement` to come.

        It may also be that the server does not know the script yet.
        """
        return self._exchanges.send([finish_step(*end) for end in ends], self.skew_us, self._lease_us)

    async def count(self, reservation_id: bytes, charges: Sequence[Charge], fact: Cost, unix_ns: int) -> Settlement:
        """Count, once, what an exchange cost that was admitted at `unix_ns` without the store."""
        packed = pack_charges(charges, unix_ns)
        words = (reservation_id.hex(), self.skew_us, unix_ns // 1000, *fact, packed)
        return settlement(await self._run("count", *words))

    async def renew(self, reservation_ids: Sequence[bytes]) -> int:
        """Start the leases of those that are held anew; how many there are. Others stay as they are."""
        names = [one.hex() for one in reservation_ids]
        return int(await self._run("renew", self.skew_us, self._lease_us, *names))

    async def keep(self, charges: Sequence[Charge], slices: Sequence[SliceWords], share: int) -> list[SliceTold]:
        """Tell of slices, and hear how they stand; those that are new are of these charges.

        `share`: of what is left of a budget, the most that a slice may have ahead is so small a part.
        """
        for charge, one in zip(charges, slices, strict=True):
            if one.new and not one.last:
                one.charge = words_of_charge(charge, one.made * 1000)
        told = await self._run("keep", self.skew_us, self._lease_us, share, msgspec.msgpack.encode(slices))
        answers = [slice_told(one) for one in told]
        for charge, one, answer in zip(charges, slices, answers, strict=True):
            if answer.code is SliceCode.HELD and not one.last:
                self._note((charge,), (answer.left,))
        return answers

    async def expire(self) -> int:
        """As BudgetStore."""
        ended = done = await self._run("expire", self.skew_us)
        while done == _PAGE:
            done = await self._run("expire", self.skew_us)
            ended += done
        return int(ended)

    async def standing(self, charges: Sequence[Charge], unix_ns: int) -> tuple[Standing, ...]:
        """As BudgetStore."""
        packed = pack_charges(charges, unix_ns)
        told = await self._run("look", self.skew_us, packed)
        return tuple(account_of(raw, charge).standing() for raw, charge in zip(told, charges, strict=True))

    async def accounts(self, after: str, limit: int) -> tuple[Standing, ...]:
        """As BudgetStore."""
        return tuple(account_of(raw).standing() for raw in await self._run("page", self.skew_us, after, limit))

    async def mark(self) -> int:
        """As BudgetStore."""
        return int(await self._run("mark", self.skew_us, int(MARK_AHEAD_S * 1_000_000))) * 1000

    async def repair(
        self, corrections: Sequence[Correction], unix_ns: int
    ) -> tuple[tuple[bool, ...], tuple[Crossing, ...]]:
        """As BudgetStore."""
        packed = [
            {
                "charge": words_of_charge(one.charge, unix_ns),
                "mark": one.mark_ns // 1000,
                "bucket": one.start_ns // one.charge.bucket_ns if one.charge.bucket_ns else 0,
                "expected": one.expected,
                "actual": one.actual,
            }
            for one in corrections
        ]
        applied, *crossings = await self._run("repair", msgspec.msgpack.encode(packed))
        return tuple(one == 1 for one in applied), tuple(crossing_of(one) for one in crossings)

    def _note(self, charges: Sequence[Charge], left: Sequence[int]) -> None:
        for charge, amount in zip(charges, left, strict=False):  # nothing is told of what is held already
            number, _ = self.left.get(charge.key, (0, 0))
            self.left[charge.key] = (number + 1, amount)
            self.left.move_to_end(charge.key)
        while len(self.left) > _REMEMBERED:
            self.left.popitem(last=False)

    async def _end(self, reservation_id: bytes, fact: Cost | None) -> Settlement:
        step = finish_step(reservation_id, fact)
        return settlement(await self._exchanges.run(step, self.skew_us, self._lease_us))

    async def _run(self, name: str, *arguments: str | bytes | int, deadline_s: float | None = None) -> Any:
        return await self._scripts.run(script(f"budgets_{name}"), (self._prefix,), *arguments, deadline_s=deadline_s)
