"""Quota leases of budgets: slices that a gateway reserves ahead of need, so that most exchanges need no round trip.

Rules
1. A slice is a reservation of one account. The store has counted all of it before anything of it is used, so all
   gateways together never hold and spend more than there is. What an exchange cost less than was estimated stays in it.
2. What a slice holds for exchanges to come is what this gateway needed of the account in the last USE_S, and at most a
   sixteenth of what is left of the budget divided by the number of gateways. Where that is worth less than a few
   exchanges there is none: near its end a budget is asked for exactly, exchange by exchange.
3. Overshoot: none but what costs more than was estimated. A gateway that is lost (`kill -9`) takes with it what it has
   used and not told, of at most KEEP_S and one call: that stays held until the lease of its slices ends, and is missing
   then until the repair has read the ledger.
4. Undershoot: what other gateways hold for exchanges to come, so at most a sixteenth of what was left, is out of reach
   of who needs it, for twice USE_S after its last use. What this gateway holds itself is given back, and the store
   asked again, before anybody is refused. One who is refused for what lies in slices has all of them called in, which
   takes two KEEP_S: they are empty when it comes again after the second that it was told to wait.
5. An exchange is served here only when all its accounts have enough; otherwise the store is asked for all of it. So
   only the store refuses.
6. The store is told what a slice has come to every KEEP_S while it is used or anything is ahead in it: always the
   whole, with a number, so what is told twice, late or not at all does no harm. Soft marks are found by the store
   then, each once.
7. All exchanges of a slice are of one period (of one bucket, if it is rolling) and of one side of the repair's mark. A
   mark is heard of long before it comes: it lies MARK_AHEAD_S ahead, of which clocks may differ by all but USE_S. So
   the repair finds a slice that began before the mark running until the last exchange of before the mark has ended.
8. A slice is used for USE_S after it was last heard of; its lease is renewed as long as something runs in it. One that
   the store has lost is not used any more, and what was not told of it is the repair's, as all that the store lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex

import structlog
from redis.exceptions import ResponseError

from podium.core.clock import Clock
from podium.economics.budgets.values import Charge, Cost, Crossing, Reservation
from podium.store.redis.budget_slices import USE_NS, Held, Hot, Slice, words_of
from podium.store.redis.budget_words import SliceCode, SliceTold, SliceWords
from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.errors import StoreUnavailable

__all__ = ["KEEP_S", "USE_S", "BudgetQuotas"]

_log = structlog.get_logger(__name__)

USE_S = USE_NS / 1e9
KEEP_S = 0.1
_REST_NS = 1_000_000_000  # of an account whose slices were called in
_SHARES = 16  # of what is left, which all slices together are at most one of
_WORTH = 4  # exchanges that a slice must be good for, and be used for in USE_S
_MOST_HOT = 10_000  # accounts whose use is watched
_MOST_SLICES = 5_000
_LOOK_AT = 8  # accounts that a new one looks at to make room
_AT_ONCE = 32  # slices that one script tells
_LEASE_PARTS = 4
_CLOSE_S = 1.0
_COSTLESS = Cost(0, 0)


class BudgetQuotas:
    """What one gateway has reserved ahead. `keep` has to be called every KEEP_S as long as `busy`.

    `gateways`: how many there are. `crossed` hears of soft marks that were reached.
    """

    def __init__(
        self, store: RedisBudgetStore, gateways: Callable[[], int], clock: Clock, crossed: Callable[[Crossing], None]
    ) -> None:
        self._store, self._gateways, self._clock, self._crossed = store, gateways, clock, crossed
        self._lease_part_ns = int(store.lease_s * 1e9) // _LEASE_PARTS
        self._hots: dict[str, Hot] = {}
        self._held: dict[bytes, Held] = {}
        self._slices: dict[Slice, None] = {}  # those that have not ended
        self._due: dict[Slice, None] = {}  # those that are told in a moment
        self._tells: set[asyncio.Task[None]] = set()
        self.tells = 0  # that were answered
        self.granted = 0
        self.missed = 0

    @property
    def busy(self) -> bool:
        """True while there is something to keep."""
        return bool(self._slices)

    @property
    def running(self) -> int:
        """Reservations out of slices that have not ended."""
        return len(self._held)

    def reserve(
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int, now_ns: int
    ) -> Reservation | None:
        """Hold the estimate in slices of all accounts; None: the store has to be asked. It never refuses.

        The same id again: what it holds already, as long as it has not ended.
        """
        known = self._held.get(reservation_id)
        if known is not None:
            return known
        hots, slices, enough = self._hots, [], True
        for charge in charges:
            hot = hots.get(charge.key)
            if hot is None or hot.charge is not charge:
                hot = self._follow(charge, now_ns)
                if hot is None:
                    enough = False
                    continue
            amount = estimate[hot.unit]
            if now_ns - hot.since_ns >= USE_NS:
                self._turn(hot, now_ns)
            hot.use += amount
            hot.asks += 1
            one = hot.slice
            if (
                one is None
                or amount > one.ahead
                or now_ns >= one.usable_ns
                or not one.from_ns <= unix_ns < one.until_ns
            ):
                enough = False
                self._lacks(hot, unix_ns, now_ns)
            else:
                slices.append(one)
        if not enough:
            self.missed += 1
            return None
        for one in slices:
            amount = estimate[one.unit]
            one.ahead -= amount
            one.out += amount
            one.running += 1
            one.dirty = True
            if one.ahead * 2 < one.aim and one.telling is None and not one.rest:
                self._tell_soon(one)
        self.granted += 1
        held = self._held[reservation_id] = Held(reservation_id, tuple(charges), estimate, unix_ns, slices)
        return held

    def settle(self, reservation_id: bytes, fact: Cost = _COSTLESS) -> bool:
        """Give back what was held and count what it cost; False: it is not one of these, or has ended."""
        held = self._held.pop(reservation_id, None)
        if held is None:
            return False
        estimate = held.estimate
        for one in held.slices:
            amount, cost = estimate[one.unit], fact[one.unit]
            one.out -= amount
            one.running -= 1
            one.total += cost
            one.dirty = True
            ahead = one.ahead + amount - cost
            if cost > amount:
                one.ahead = max(0, ahead)
            elif one.ahead < one.aim:
                one.ahead = min(ahead, one.aim)
        return True

    async def give_back(self, charges: Sequence[Charge], estimate: Cost) -> bool:
        """Tell the store what these accounts do not need, where that may make room for what was refused.

        True: something was told. Nothing is taken ahead of them for a while then.
        """
        lacking = self._lacking(charges, estimate)
        told, rest_until_ns = False, self._clock.monotonic_ns() + _REST_NS
        for hot in lacking:
            hot.rest_until_ns = rest_until_ns
            for one in list(hot.parts):
                one.aim = 0
                if one.telling is not None:
                    await asyncio.shield(one.telling)
                    told = True
                if one.ahead or one.dirty:
                    self._tell_soon(one)
                    self._flush()
                    if one.telling is not None:
                        await asyncio.shield(one.telling)
                    told = True
        return told

    def _lacking(self, charges: Sequence[Charge], estimate: Cost) -> list[Hot]:
        """Accounts without room, by what the store has just told; none when one of them cannot have room anyhow."""
        lacking = []
        for charge in charges:
            hot = self._hots.get(charge.key)
            _, left = self._store.left.get(charge.key, (0, charge.rule.amount))
            amount = estimate[0 if charge.rule.unit == "usd" else 1]
            if not charge.rule.hard or left >= max(1, amount):
                continue
            if hot is None or left + sum([max(0, one.held - one.out) for one in hot.parts]) < amount:
                return []
            lacking.append(hot)
        return lacking

    def keep(self, now_ns: int) -> None:
        """Have the store told what slices have come to, and end those that are not used any more."""
        for one in list(self._slices):
            hot = one.hot
            if hot.slice is one:
                hot.turn(now_ns)
                one.aim = self._aim(hot, now_ns)
            if one.dirty or one.ahead or one.may_end() or now_ns - one.told_ns >= self._lease_part_ns:
                self._tell_soon(one)
        self._flush()

    async def told(self) -> None:
        """Return when nothing is being told."""
        self._flush()
        while self._tells:
            await asyncio.wait(self._tells)

    async def close(self) -> None:
        """Give back what is not in use, and tell what it came to, as far as that is possible in CLOSE_S."""
        for one in self._slices:
            one.retire()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while any(one.dirty or one.may_end() for one in self._slices):
                    self.keep(self._clock.monotonic_ns())
                    await self.told()
                    if self._slices:
                        await asyncio.sleep(KEEP_S / 4)
        for tell in self._tells:
            tell.cancel()
        await asyncio.gather(*self._tells, return_exceptions=True)

    def _follow(self, charge: Charge, now_ns: int) -> Hot | None:
        """The account under this charge; None: it has gone on to a later bucket."""
        hot = self._hots.get(charge.key)
        if hot is None:
            return self._watch(charge, now_ns)
        if hot.charge == charge:
            hot.charge = charge
        elif hot.slice is not None and charge.start_ns < hot.charge.start_ns:
            return None
        else:
            if hot.slice is not None:
                self._tell_soon(hot.slice)
                hot.slice.retire()
            hot.bind(charge)
        return hot

    def _watch(self, charge: Charge, now_ns: int) -> Hot:
        """Watch an account, and if need be another one no more: the oldest that nothing is held of."""
        for _ in range(_LOOK_AT if len(self._hots) >= _MOST_HOT else 0):
            key = next(iter(self._hots))
            old = self._hots.pop(key)
            if not old.parts:
                break
            self._hots[key] = old
        hot = self._hots[charge.key] = Hot(charge, now_ns)
        return hot

    def _turn(self, hot: Hot, now_ns: int) -> None:
        hot.turn(now_ns)
        if hot.slice is not None:
            hot.slice.aim = self._aim(hot, now_ns)

    def _aim(self, hot: Hot, now_ns: int) -> int:
        """How much should be ahead; 0: it is not worth while."""
        use, asks = max(hot.last_use, hot.use), max(hot.last_asks, hot.asks)
        if asks < _WORTH or now_ns < hot.rest_until_ns:
            return 0
        rule = hot.charge.rule
        if not rule.hard:
            return use
        ahead = 0 if hot.slice is None else hot.slice.ahead
        left = self._store.left.get(hot.charge.key, (0, rule.amount))[1] + ahead
        most = left // (_SHARES * self._gateways())
        return min(use, most) if most * asks >= _WORTH * use else 0

    def _lacks(self, hot: Hot, unix_ns: int, now_ns: int) -> None:
        """There was not enough for an exchange of this moment."""
        one = hot.slice
        if one is not None and unix_ns >= one.until_ns:
            one.retire()
            one = None
        if one is None:
            aim = self._aim(hot, now_ns) if hot.last_asks >= _WORTH and len(self._slices) < _MOST_SLICES else 0
            if aim and hot.charge.start_ns <= unix_ns < hot.charge.end_ns:
                one = hot.slice = Slice(token_hex(16), hot, unix_ns, aim)
                self._slices[one] = hot.parts[one] = None
                self._tell_soon(one)
        elif now_ns >= one.usable_ns or (one.ahead * 2 < one.aim and not one.rest):
            self._tell_soon(one)

    def _tell_soon(self, one: Slice) -> None:
        if one.telling is None and one not in self._due:
            if not self._due:
                asyncio.get_running_loop().call_soon(self._flush)
            self._due[one] = None

    def _flush(self) -> None:
        due = [one for one in self._due if one in self._slices]
        self._due.clear()
        for start in range(0, len(due), _AT_ONCE):
            batch = due[start : start + _AT_ONCE]
            tell = asyncio.get_running_loop().create_task(self._tell(batch, [words_of(one) for one in batch]))
            for one in batch:
                one.telling = tell
            self._tells.add(tell)
            tell.add_done_callback(self._tells.discard)

    async def _tell(self, batch: list[Slice], words: list[SliceWords]) -> None:
        sent_ns, answers = self._clock.monotonic_ns(), []
        try:
            charges = [one.charge for one in batch]
            answers = await self._store.keep(charges, words, _SHARES * self._gateways())
        except StoreUnavailable:
            for one, asked in zip(batch, words, strict=True):
                one.dirty = True
                one.held = max(one.held, asked.keep + asked.more)
        except ResponseError as error:
            _log.error("shared_budgets_wrong", error=str(error))
            for one in batch:
                one.hot.rest_until_ns = sent_ns + 10 * _REST_NS
                self._forget(one)
        finally:
            for one in batch:
                one.telling = None
        self.tells += len(answers)
        for one, asked, told in zip(batch, words, answers, strict=False):
            self._hear(one, asked, told, sent_ns)

    def _hear(self, one: Slice, asked: SliceWords, told: SliceTold, sent_ns: int) -> None:
        for crossing in told.crossings:
            self._crossed(crossing)
        if asked.last or told.code is SliceCode.UNKNOWN:
            self._forget(one)
            return
        one.told_ns = sent_ns
        if told.code is SliceCode.EXPIRED:
            one.retire()
        elif told.code is SliceCode.HELD:
            self._hear_of_held(one, asked, told, sent_ns)
        else:
            one.dirty = True

    def _hear_of_held(self, one: Slice, asked: SliceWords, told: SliceTold, sent_ns: int) -> None:
        one.heard, one.usable_ns = True, sent_ns + USE_NS
        one.ahead += told.more
        one.held = asked.keep + told.more
        one.rest = told.more < asked.more
        if told.mark_ns > one.made_ns:
            one.until_ns = min(one.until_ns, told.mark_ns)
        else:
            one.from_ns = max(one.from_ns, told.mark_ns)
        if told.recalled:
            one.hot.rest_until_ns = sent_ns + _REST_NS
            one.aim = 0
        if one.ahead > one.aim:
            one.dirty = True

    def _forget(self, one: Slice) -> None:
        one.ahead = 0
        one.retire()
        self._slices.pop(one, None)
        one.hot.parts.pop(one, None)
