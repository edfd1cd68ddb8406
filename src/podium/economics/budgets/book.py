"""Reservations and the accounts that they are held in: what budgets decide, in memory.

Rules
1. All or none: an exchange is reserved in every account, or nothing is.
2. A hard budget passes no reservation that would make settled + reserved + estimate more than its amount. What is
   settled may be more than was estimated, so the amount may be exceeded by what was in flight, by nothing else.
3. A reservation counts in the period in which it was made, however late it is settled.
4. What a reservation may do next is a row of `TRANSITIONS`. Its lease ends by itself: what was held is free again. A
   cost that comes later still counts, once.
5. An account is forgotten only when nothing is held in it, and of those the ended, else the least used one first.
   That loses what was settled there until the repair has read the ledger (`forgotten` counts such losses).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from heapq import nsmallest
from itertools import islice, takewhile

from podium.core.errors import Unavailable
from podium.economics.budgets.account import Account
from podium.economics.budgets.refusals import refusal
from podium.economics.budgets.values import (
    Charge,
    Correction,
    Cost,
    Crossing,
    Refusal,
    Reservation,
    Settlement,
    SettlementOutcome,
    Standing,
)

__all__ = ["TRANSITIONS", "Book", "ReservationEvent", "ReservationState"]

_LOOK_AT = 8  # accounts that one new account looks at to make room
_SECOND_NS = 1_000_000_000
_NEVER = 1 << 200
_MAX_READY = 16_384


class ReservationState(StrEnum):
    """What has become of a reservation."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class ReservationEvent(StrEnum):
    """What happens to a reservation."""

    SETTLE = "settle"  # the exchange has ended and cost this
    RELEASE = "release"  # it has ended and cost nothing
    EXPIRE = "expire"  # its lease has ended


_STATE, _EVENT, _OUTCOME = ReservationState, ReservationEvent, SettlementOutcome

TRANSITIONS: dict[tuple[ReservationState, ReservationEvent], tuple[ReservationState, SettlementOutcome]] = {
    (_STATE.OPEN, _EVENT.SETTLE): (_STATE.SETTLED, _OUTCOME.COUNTED),
    (_STATE.OPEN, _EVENT.RELEASE): (_STATE.RELEASED, _OUTCOME.RELEASED),
    (_STATE.OPEN, _EVENT.EXPIRE): (_STATE.EXPIRED, _OUTCOME.RELEASED),
    (_STATE.EXPIRED, _EVENT.SETTLE): (_STATE.SETTLED, _OUTCOME.COUNTED_LATE),
    (_STATE.EXPIRED, _EVENT.RELEASE): (_STATE.RELEASED, _OUTCOME.RELEASED),
    (_STATE.SETTLED, _EVENT.SETTLE): (_STATE.SETTLED, _OUTCOME.ALREADY),
    (_STATE.SETTLED, _EVENT.RELEASE): (_STATE.SETTLED, _OUTCOME.ALREADY),
    (_STATE.RELEASED, _EVENT.SETTLE): (_STATE.RELEASED, _OUTCOME.ALREADY),
    (_STATE.RELEASED, _EVENT.RELEASE): (_STATE.RELEASED, _OUTCOME.ALREADY),
}

_PLAIN = {outcome: Settlement(outcome) for outcome in SettlementOutcome}


# What becomes of most.
_SETTLED, _COUNTED = TRANSITIONS[_STATE.OPEN, _EVENT.SETTLE][0], _PLAIN[TRANSITIONS[_STATE.OPEN, _EVENT.SETTLE][1]]
_OPEN = ReservationState.OPEN


class _Held(Reservation, gc=False):
    """A reservation, and where it is held until when. In no cycle: the accounts do not know it."""

    accounts: tuple[Account, ...]
    expires_ns: int
    state: ReservationState = ReservationState.OPEN


class _Ready:
    """The accounts of charges that are asked for together, as long as nothing has to be looked up or moved."""

    __slots__ = ("accounts", "charges", "until_ns")

    def __init__(self, charges: Sequence[Charge], accounts: tuple[Account, ...]) -> None:
        self.charges = tuple(charges)  # kept, so that no other object has its identity
        self.accounts = accounts
        self.until_ns = min((account.moves_at_ns for account in accounts), default=_NEVER)


class Book:
    """All reservations and accounts of one process. For one event loop: not thread-safe, and nothing in it waits.

    `lease_s`: how long a reservation is held at most; longer than any exchange may take.
    `max_accounts`: kept in memory; more only while something is held in them or they are used up.
    `max_running`: reservations held at once. `max_ended`: ended ones that are remembered, to know a repetition; for a
    while twice as many.
    Moments: `unix_ns` decides about periods; `now_ns` is monotonic and decides about leases.
    """

    __slots__ = (
        "_accounts",
        "_ended",
        "_ended_before",
        "_expired",
        "_held",
        "_lease_ns",
        "_mark_ns",
        "_max_accounts",
        "_max_ended",
        "_max_running",
        "_next_expiry_ns",
        "_ready",
        "forgotten",
    )

    def __init__(
        self, *, lease_s: float, max_accounts: int = 100_000, max_running: int = 100_000, max_ended: int = 50_000
    ) -> None:
        self._lease_ns = int(lease_s * _SECOND_NS)
        self._max_accounts = max_accounts
        self._max_running = max_running
        self._max_ended = max_ended
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._held: dict[bytes, _Held] = {}  # in the order in which leases end
        # What became of those that have ended: two dicts of which the older is dropped whole. To keep each of them,
        # or to drop one for each new one, would touch memory that no cache of a processor has any more.
        self._ended: dict[bytes, ReservationState] = {}
        self._ended_before: dict[bytes, ReservationState] = {}
        self._expired: OrderedDict[bytes, _Held] = OrderedDict()  # their cost may still come
        self._mark_ns = 0
        self._next_expiry_ns = _NEVER  # nothing expires before
        self._ready: dict[int, _Ready] = {}  # by the identity of the charges
        self.forgotten = 0  # accounts that were forgotten although their period ran and something was settled

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def running(self) -> int:
        """Reservations that are held."""
        return len(self._held)

    def reserve(  # noqa: C901 - the hot path in one place: three of its steps as calls take a quarter longer
        self, reservation_id: bytes, charges: Sequence[Charge], estimate: Cost, unix_ns: int, now_ns: int
    ) -> Reservation | Refusal:
        """Hold the estimate in every account, or nothing at all. The same id again: what it holds already.

        `charges`: of different budgets, made for `unix_ns`; quickest when the same tuple comes again. Unavailable: too
        many reservations are held. ValueError: the id is that of a reservation that has ended.
        """
        held = self._held
        if now_ns >= self._next_expiry_ns:
            self.expire(now_ns)
        if reservation_id in held:
            return held[reservation_id]
        if reservation_id in self._ended or reservation_id in self._ended_before or reservation_id in self._expired:
            raise ValueError("this reservation has ended")
        ready = self._ready.get(id(charges))
        if ready is None or ready.charges is not charges or not self._mark_ns <= unix_ns < ready.until_ns:
            ready = self._make_ready(charges, unix_ns)
        if len(held) >= self._max_running:
            raise Unavailable("Too many exchanges with budgets are running.", retry_after_s=1.0)
        accounts = ready.accounts
        for account in accounts:
            reserved = account.reserved + estimate[account.unit]
            if account.settled + reserved > account.limit:
                _undo(accounts, account, estimate)
                return refusal(accounts, estimate, unix_ns)
            account.reserved = reserved
            account.running += 1
        if unix_ns < self._mark_ns:
            for account in accounts:
                account.running_before += 1
        expires_ns = now_ns + self._lease_ns
        held[reservation_id] = mine = _Held(reservation_id, ready.charges, estimate, unix_ns, accounts, expires_ns)
        if expires_ns < self._next_expiry_ns:  # noqa: PLR1730 - a call of `min` takes four times as long
            self._next_expiry_ns = expires_ns
        return mine

    def settle(self, reservation_id: bytes, fact: Cost) -> Settlement:
        """End a reservation whose exchange cost this, whoever has to pay for it. Once: again it does nothing."""
        held = self._held.get(reservation_id)
        if held is None or held.made_unix_ns < self._mark_ns:
            return self._end(reservation_id, ReservationEvent.SETTLE, fact)
        del self._held[reservation_id]  # and then as `_close`, without the calls
        estimate = held.estimate
        crossings: tuple[Crossing, ...] = ()
        for account in held.accounts:
            unit = account.unit
            account.reserved -= estimate[unit]
            account.running -= 1
            if account.rolls:
                crossings += account.count(fact[unit], held.made_unix_ns)
            else:
                account.settled = settled = account.settled + fact[unit]
                if settled >= account.alert_at:
                    crossings += account.crossings()
        ended = self._ended
        ended[reservation_id] = _SETTLED
        if len(ended) >= self._max_ended:
            self._forget_ended()
        return Settlement(SettlementOutcome.COUNTED, crossings) if crossings else _COUNTED

    def release(self, reservation_id: bytes) -> Settlement:
        """End a reservation whose exchange cost nothing."""
        return self._end(reservation_id, ReservationEvent.RELEASE, None)

    def expire(self, now_ns: int) -> int:
        """Free what is held by reservations whose lease has ended; how many there were."""
        expired = list(takewhile(lambda held: held.expires_ns <= now_ns, self._held.values()))
        for held in expired:
            self._end(held.id, ReservationEvent.EXPIRE, None)
        self._next_expiry_ns = next((held.expires_ns for held in self._held.values()), _NEVER)
        return len(expired)

    def standing(self, charges: Iterable[Charge], unix_ns: int) -> tuple[Standing, ...]:
        """How these accounts stand at that moment; makes none."""
        return tuple(
            self._account(charge, unix_ns).standing()
            if charge.key in self._accounts
            else _fresh(charge, self._mark_ns, unix_ns).standing()
            for charge in charges
        )

    def accounts(self, after: str, limit: int) -> tuple[Standing, ...]:
        """A page of all accounts, in the order of their keys, from the first one behind `after`."""
        keys = nsmallest(limit, (key for key in self._accounts if key > after))
        return tuple(self._marked(self._accounts[key]).standing() for key in keys)

    def set_mark(self, unix_ns: int) -> None:
        """Cut for the repair, at a moment later than that of any reservation so far."""
        self._mark_ns = unix_ns
        self._ready.clear()  # their accounts have to be cut

    def correct(self, corrections: Iterable[Correction], unix_ns: int) -> tuple[tuple[bool, ...], tuple[Crossing, ...]]:
        """Apply corrections: which took effect, and the soft marks that they reached."""
        applied: list[bool] = []
        crossings: list[Crossing] = []
        for correction in corrections:
            reached = self._account(correction.charge, unix_ns, rebind=False).correct(correction)
            applied.append(reached is not None)
            crossings += reached or ()
        return tuple(applied), tuple(crossings)

    def learn(self, charge: Charge, start_ns: int, amount: int, unix_ns: int) -> tuple[Crossing, ...]:
        """Hear that at least this much was settled in an account, in the part of it that begins at `start_ns`."""
        if charge.key not in self._accounts and len(self._accounts) > self._max_accounts:
            self._make_room(unix_ns)
        return self._account(charge, unix_ns, rebind=False).learn(start_ns, amount)

    def _end(self, reservation_id: bytes, event: ReservationEvent, fact: Cost | None) -> Settlement:
        held = self._held.get(reservation_id) or self._expired.get(reservation_id)
        if held is None:
            state = self._ended.get(reservation_id) or self._ended_before.get(reservation_id)
            return _PLAIN[SettlementOutcome.UNKNOWN if state is None else TRANSITIONS[state, event][1]]
        before = held.state
        held.state, outcome = TRANSITIONS[before, event]
        crossings: tuple[Crossing, ...] | None = ()
        if before is _OPEN:
            del self._held[reservation_id]
            crossings = self._close(held, fact)
        else:
            del self._expired[reservation_id]
            self._remember(held)
            if fact is not None:
                crossings = self._count_late(held, fact)
                if crossings is None:
                    outcome = SettlementOutcome.MENDED
        return Settlement(outcome, crossings) if crossings else _PLAIN[outcome]

    def _close(self, held: _Held, fact: Cost | None) -> tuple[Crossing, ...]:
        """Give back what was held, count what it cost, and remember that it has ended."""
        estimate, made_ns, mark_ns = held.estimate, held.made_unix_ns, self._mark_ns
        crossings: tuple[Crossing, ...] = ()
        for account in held.accounts:
            if account.mark_ns != mark_ns:
                account.set_mark(mark_ns)
            unit = account.unit
            account.reserved -= estimate[unit]
            account.running -= 1
            if made_ns < mark_ns and account.running_before:
                account.running_before -= 1
            if fact is not None and (reached := account.count(fact[unit], made_ns)):
                crossings += reached
        held.accounts = ()
        self._remember(held)
        return crossings

    def _remember(self, held: _Held) -> None:
        """Know what became of it, should its end be told again; of the expired ones also what they are charged to."""
        if held.state is ReservationState.EXPIRED:
            self._expired[held.id] = held
            if len(self._expired) > self._max_ended:
                self._expired.popitem(last=False)
            return
        self._ended[held.id] = held.state
        if len(self._ended) >= self._max_ended:
            self._forget_ended()

    def _forget_ended(self) -> None:
        self._ended, self._ended_before = {}, self._ended

    def _make_ready(self, charges: Sequence[Charge], unix_ns: int) -> _Ready:
        """Their accounts, opened and moved to this moment; remembered, if they are sure to stay what they are."""
        if len(self._accounts) > self._max_accounts:
            self._make_room(unix_ns)
        ready = _Ready(charges, tuple([self._account(charge, unix_ns) for charge in charges]))
        if type(charges) is tuple:
            if len(self._ready) >= _MAX_READY:
                self._ready.clear()
            self._ready[id(charges)] = ready
        return ready

    def _count_late(self, reservation: Reservation, fact: Cost) -> tuple[Crossing, ...] | None:
        """Count a cost after the lease's end; None when the ledger has had the last word in every account."""
        counted = False
        crossings: tuple[Crossing, ...] = ()
        made_ns = reservation.made_unix_ns
        for charge in reservation.charges:
            account = self._account(charge, made_ns, rebind=False)
            if made_ns >= account.mended_ns:
                counted = True
                crossings += account.count(fact[0 if charge.rule.unit == "usd" else 1], made_ns)
        return crossings if counted or not reservation.charges else None

    def _account(self, charge: Charge, unix_ns: int, *, rebind: bool = True) -> Account:
        """The account of a charge, moved to this moment; a new one when it is not known."""
        account = self._accounts.get(charge.key)
        if account is None:
            account = self._accounts[charge.key] = _fresh(charge, self._mark_ns, unix_ns)
            return account
        if rebind and account.charge is not charge:
            account.bind(charge)
            self._ready.clear()  # who comes with the old charge has to bind it again
        self._marked(account)
        if charge.bucket_ns:
            account.advance(unix_ns)
        return account

    def _marked(self, account: Account) -> Account:
        if account.mark_ns != self._mark_ns:
            account.set_mark(self._mark_ns)
        return account

    def _make_room(self, unix_ns: int) -> None:
        """Rule 5, of the few accounts that were opened or looked at longest ago."""
        oldest = [(key, account) for key, account in islice(self._accounts.items(), _LOOK_AT) if not account.running]
        for key, _ in list(islice(self._accounts.items(), _LOOK_AT)):
            self._accounts.move_to_end(key)
        ended = [key for key, account in oldest if _has_ended(account, unix_ns)]
        roomy = [(account.settled / account.charge.rule.amount, key) for key, account in oldest if account.has_room(1)]
        for key in ended or [key for _, key in sorted(roomy)[:1]]:
            account = self._accounts.pop(key)
            self._ready.clear()  # one of them may be of this account
            self.forgotten += bool(account.settled) and not ended


def _undo(accounts: tuple[Account, ...], last: Account, estimate: Cost) -> None:
    """Give back what was held in the accounts before the last one."""
    for account in accounts:
        if account is last:
            return
        account.reserved -= estimate[account.unit]
        account.running -= 1


def _fresh(charge: Charge, mark_ns: int, unix_ns: int) -> Account:
    account = Account(charge)
    account.set_mark(mark_ns)
    account.advance(unix_ns)
    return account


def _has_ended(account: Account, unix_ns: int) -> bool:
    charge = account.charge
    end_ns = (account.latest + charge.buckets + 1) * charge.bucket_ns if charge.bucket_ns else charge.end_ns
    return end_ns <= unix_ns
