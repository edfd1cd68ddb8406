"""Reservations against a reference that keeps every one there ever was and adds up."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podium.core.budgets import Budget
from podium.core.errors import Unavailable
from podium.economics.budgets.book import TRANSITIONS, Book, ReservationEvent, ReservationState
from podium.economics.budgets.repair import LedgerReading, compare
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.values import Cost, Refusal, Reservation, SettlementOutcome
from podium.testing.budget_conformance import make_charge

SECOND = 10**9
START = 1_760_054_400 * SECOND - 40 * SECOND  # shortly before midnight
LEASE_S = 30
NOTHING = Cost(0, 0)
BUDGETS = {
    "house": Budget(unit="usd", amount="0.000000300", period="day", per=(), soft=(0.5, 1.0)),
    "tokens": Budget(unit="tokens", amount=200, period="rolling", rolling_s=60, per=("tenant", "user"), soft=(0.5,)),
    "watch": Budget(unit="usd", amount="0.0000001", period="month", per=("tenant",), hard=False),
}


@dataclass
class Known:
    """A reservation as the reference remembers it."""

    payer: Payer
    estimate: Cost
    made: int
    expires: int
    state: str = "open"
    settled: Cost = NOTHING
    unheld: Cost = NOTHING  # what it cost that was not held for it


class BudgetMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.book = Book(lease_s=LEASE_S)
        self.table = BudgetTable(BUDGETS)
        self.now, self.wall, self.newest = 0, START, START
        self.known: dict[bytes, Known] = {}
        self.told: set[tuple[str, float]] = set()

    @initialize(hour=st.integers(0, 3))
    def begin(self, hour):
        self.wall = self.newest = START + hour * 7 * SECOND

    # The reference: everything from the list of reservations, nothing carried on.

    def counts_in(self, known, charge, at):
        """Whether what a reservation costs counts in this account at this moment."""
        mine = next((c for c in self.table.charges(known.payer, known.made) if c.key == charge.key), None)
        if mine is None:
            return False
        return not charge.bucket_ns or known.made // charge.bucket_ns >= at // charge.bucket_ns - charge.buckets

    def of(self, charge, at):
        unit = 0 if charge.rule.unit == "usd" else 1
        mine = [k for k in self.known.values() if any(c.key == charge.key for c in self.table.charges(k.payer, k.made))]
        settled = sum(k.settled[unit] for k in mine if self.counts_in(k, charge, at))
        reserved = sum(k.estimate[unit] for k in mine if k.state == "open")
        return settled, reserved, sum(k.state == "open" for k in mine)

    def lapse(self):
        for known in self.known.values():
            if known.state == "open" and known.expires <= self.now:
                known.state = "expired"

    @rule(
        tenant=st.sampled_from("ab"),
        user=st.sampled_from(["", "u", "v"]),
        money=st.integers(0, 120),
        tokens=st.integers(0, 120),
    )
    def reserve(self, tenant, user, money, tokens):
        self.lapse()
        payer, estimate = Payer(tenant=tenant, user=user), Cost(money, tokens)
        self.newest = max(self.newest, self.wall)
        charges = self.table.charges(payer, self.wall)
        missing = set()
        for charge in charges:
            settled, reserved, _ = self.of(charge, self.newest)
            amount = estimate[0] if charge.rule.unit == "usd" else estimate[1]
            if charge.rule.hard and settled + reserved + amount > charge.rule.amount:
                missing.add(charge.rule.budget)
        number = len(self.known).to_bytes(16, "big")
        answer = self.book.reserve(number, charges, estimate, self.wall, self.now)
        if missing:
            assert isinstance(answer, Refusal)
            assert answer.budget in missing
        else:
            assert isinstance(answer, Reservation), answer  # no refusal without a cause
            self.known[number] = Known(payer, estimate, self.wall, self.now + LEASE_S * SECOND)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), money=st.integers(0, 150), tokens=st.integers(0, 150))
    def settle(self, data, money, tokens):
        number = data.draw(st.sampled_from(sorted(self.known)))
        known, fact = self.known[number], Cost(money, tokens)
        done = self.book.settle(number, fact)
        if known.state in ("settled", "released"):
            assert done.outcome is SettlementOutcome.ALREADY
            return
        # After each step (see `adds_up`) ended leases are looked for, so the two agree about them.
        late = known.state == "expired"
        assert done.outcome is (SettlementOutcome.COUNTED_LATE if late else SettlementOutcome.COUNTED)
        held = Cost(0, 0) if late else known.estimate
        known.state, known.settled = "settled", fact
        known.unheld = Cost(max(0, fact[0] - held[0]), max(0, fact[1] - held[1]))
        for crossing in done.crossings:
            assert crossing.settled >= crossing.share * crossing.amount
            if not crossing.key.startswith("tokens"):
                assert (crossing.key, crossing.share) not in self.told
                self.told.add((crossing.key, crossing.share))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def release(self, data):
        number = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[number]
        done = self.book.release(number)
        if known.state in ("settled", "released"):
            assert done.outcome is SettlementOutcome.ALREADY
        else:
            assert done.outcome is SettlementOutcome.RELEASED
            known.state = "released"

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def reserve_again(self, data):
        number = data.draw(st.sampled_from(sorted(self.known)))
        self.lapse()
        self.book.expire(self.now)
        known = self.known[number]
        charges = self.table.charges(known.payer, self.wall)
        if known.state == "open":
            assert self.book.reserve(number, charges, Cost(9, 9), self.wall, self.now).estimate == known.estimate
        else:
            with pytest.raises(ValueError, match="has ended"):
                self.book.reserve(number, charges, Cost(9, 9), self.wall, self.now)

    @rule()
    def expire(self):
        self.lapse()
        self.book.expire(self.now)

    @rule(seconds=st.sampled_from([1, 7, 29, 31, 61]))
    def wait(self, seconds):
        self.now += seconds * SECOND
        self.wall += seconds * SECOND

    @rule(seconds=st.sampled_from([-40, -3, 2, 50]))
    def clock_steps(self, seconds):
        self.wall += seconds * SECOND

    @invariant()
    def adds_up(self):
        self.lapse()
        self.book.expire(self.now)
        self.newest = max(self.newest, self.wall)
        for tenant in "ab":
            for user in ("", "u", "v"):  # all, so that every window has moved to the newest moment
                charges = self.table.charges(Payer(tenant=tenant, user=user), self.wall)
                for charge, standing in zip(charges, self.book.standing(charges, self.newest), strict=True):
                    assert (standing.settled, standing.reserved, standing.running) == self.of(charge, self.newest)

    @invariant()
    def exceeds_by_no_more_than_was_in_flight(self):
        for standing in self.book.accounts("", 1000):
            charge, unit = standing.charge, 0 if standing.charge.rule.unit == "usd" else 1
            if not charge.rule.hard:
                continue
            unheld = sum(known.unheld[unit] for known in self.known.values())
            assert standing.settled + standing.reserved <= charge.rule.amount + unheld

    def teardown(self):
        """Once all have ended, only what was settled stands in the way."""
        self.now += LEASE_S * SECOND
        self.book.expire(self.now)
        self.lapse()
        assert self.book.running == 0
        self.newest = max(self.newest, self.wall)
        for tenant in "ab":
            payer = Payer(tenant=tenant, user="u")
            charges = self.table.charges(payer, self.newest)
            lefts = [max(0, c.rule.amount - self.of(c, self.newest)[0]) for c in charges]
            estimate = Cost(lefts[0], lefts[1])
            over = any(c.rule.hard and self.of(c, self.newest)[0] > c.rule.amount for c in charges)
            answer = self.book.reserve(f"end {tenant}".encode(), charges, estimate, self.newest, self.now)
            assert isinstance(answer, Refusal) == over
            self.book.release(f"end {tenant}".encode())


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def book(**options):
    return Book(**({"lease_s": LEASE_S} | options))


def number(value):
    return value.to_bytes(16, "big")


def test_every_state_knows_what_every_end_does_to_it():
    ends = (ReservationEvent.SETTLE, ReservationEvent.RELEASE)

    assert {(state, event) for state in ReservationState for event in ends} <= TRANSITIONS.keys()
    assert TRANSITIONS.keys() - {(state, event) for state in ReservationState for event in ends} == {
        (ReservationState.OPEN, ReservationEvent.EXPIRE)
    }


def test_too_many_running_reservations_are_a_503():
    full = book(max_running=2)
    for n in range(2):
        full.reserve(number(n), (), Cost(0, 0), START, 0)

    with pytest.raises(Unavailable):
        full.reserve(number(2), (), Cost(0, 0), START, 0)
    assert isinstance(full.reserve(number(2), (), Cost(0, 0), START, LEASE_S * SECOND), Reservation)


def test_ended_reservations_are_forgotten_in_the_end_and_do_nothing_then():
    small = book(max_ended=3)
    charge = make_charge()
    for n in range(10):
        small.reserve(number(n), (charge,), Cost(1, 0), START, 0)
        small.settle(number(n), Cost(1, 0))

    assert small.settle(number(1), Cost(1, 0)).outcome is SettlementOutcome.UNKNOWN
    assert small.settle(number(7), Cost(1, 0)).outcome is SettlementOutcome.ALREADY
    assert small.standing((charge,), START)[0].settled == 10


def account(n, **changes):
    return make_charge(key=f"b|user{n}|m0", **changes)


def used(made, charge, cost, serial):
    made.reserve(number(serial), (charge,), Cost(0, 0), START, 0)
    made.settle(number(serial), Cost(cost, 0))


def test_a_flood_of_subjects_stays_within_the_bound_and_forgets_nobody_who_matters():
    made = book(max_accounts=50, max_ended=10)
    used(made, account("spent"), 100, 1)
    made.reserve(number(2), (account("held"),), Cost(5, 0), START, 0)
    for n in range(2000):
        used(made, account(n), 1, 10 + n)

    assert len(made) <= 60
    spent, held = made.standing((account("spent"), account("held")), START)
    assert (spent.settled, held.reserved) == (100, 5)
    assert made.forgotten > 1900


def test_accounts_of_ended_periods_go_first_and_are_no_loss():
    made = book(max_accounts=50, max_ended=10)
    for n in range(50):
        used(made, account(n, end_ns=START + 1), 1, n)
    for n in range(50):
        charge = account(f"new{n}")
        made.reserve(number(100 + n), (charge,), Cost(1, 0), START + 1, 0)

    assert made.forgotten == 0
    assert len(made) <= 60


def test_a_rolling_soft_mark_is_told_again_when_its_window_has_passed():
    table = BudgetTable(
        {"r": Budget(unit="usd", amount="0.0000001", period="rolling", rolling_s=60, per=(), hard=False)}
    )
    made, told = book(), []
    for second in (0, 5, 30, 59, 61, 62, 125):
        at = START + second * SECOND
        made.reserve(number(second), table.charges(Payer(), at), Cost(0, 0), at, 0)
        told.append(len(made.settle(number(second), Cost(80, 0)).crossings))

    assert told == [1, 0, 0, 0, 1, 0, 1]


def test_a_mark_finds_what_runs_and_a_later_one_starts_afresh():
    made, charge = book(), make_charge()
    made.reserve(number(1), (charge,), Cost(5, 0), START, 0)
    made.set_mark(START + SECOND)
    assert made.standing((charge,), START)[0].running_before_mark == 1
    made.settle(number(1), Cost(4, 0))
    standing = made.standing((charge,), START)[0]
    assert (standing.running_before_mark, standing.parts[0].settled) == (0, 4)
    used(made, charge, 7, 2)  # made before the mark, though it came after
    made.reserve(number(3), (charge,), Cost(0, 0), START + SECOND, 0)
    made.settle(number(3), Cost(9, 0))
    assert made.standing((charge,), START)[0].parts[0].settled == 11
    made.set_mark(START + 9 * SECOND)
    assert made.standing((charge,), START)[0].parts[0].settled == 20


class RepairMachine(RuleBasedStateMachine):
    """Settles are lost, the store loses accounts; two repairs later it is as the ledger has it."""

    def __init__(self):
        super().__init__()
        self.book, self.charge = book(), make_charge(amount=10**6)
        self.now = self.wall = START
        self.open: set[bytes] = set()
        self.ledger: dict[bytes, tuple[int, int]] = {}
        self.made: dict[bytes, int] = {}

    @rule(cost=st.integers(0, 50), fate=st.sampled_from(["settled", "lost", "late", "unrecorded"]))
    def exchange(self, cost, fate):
        name = number(len(self.made))
        self.made[name] = self.wall
        self.book.reserve(name, (self.charge,), Cost(50, 0), self.wall, self.now)
        if fate != "unrecorded":
            self.ledger[name] = (self.wall, cost)
        if fate in ("settled", "unrecorded"):
            self.book.settle(name, Cost(cost, 0))
        elif fate == "late":
            self.open.add(name)

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds):
        self.now += seconds * SECOND
        self.wall += seconds * SECOND

    @precondition(lambda self: self.open)
    @rule()
    def settle_late(self):
        name = min(self.open)
        self.open.discard(name)
        self.book.settle(name, Cost(self.ledger[name][1], 0))

    @rule()
    def lose_everything(self):
        self.book = book()
        self.open.clear()

    @rule()
    def repair(self):
        self.wait(1)
        mark = self.wall
        self.book.set_mark(mark)
        self.exchange(3, "settled")
        self.wait(LEASE_S)
        self.exchange(4, "settled")
        self.book.expire(self.now)
        before = {name for name, made in self.made.items() if made < mark}
        standing = self.book.standing((self.charge,), self.wall)
        sums = {(self.charge.key, 0): sum(cost for made, cost in self.ledger.values() if made < mark)}
        applied, _ = self.book.correct(compare(standing, LedgerReading(mark, sums)).corrections, self.wall)
        assert all(applied)
        truth = sum(cost for _, cost in self.ledger.values())
        lost_since = [name for name in self.ledger.keys() - before if self.ledger[name][1] not in (3, 4)]
        assert not lost_since
        assert self.book.standing((self.charge,), self.wall)[0].settled == truth
        for name in tuple(self.open & before):
            if self.book.settle(name, Cost(self.ledger[name][1], 0)).outcome is SettlementOutcome.COUNTED_LATE:
                # Nothing was wrong, so nothing was mended: then it cost nothing, or its cost made up for another's.
                assert not compare(standing, LedgerReading(mark, sums)).corrections
            self.open.discard(name)


TestRepairMachine = RepairMachine.TestCase
TestRepairMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
