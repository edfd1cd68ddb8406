# ruff: noqa: D102, PLR2004 - the names of tests are their sentences, and numbers are their subject
"""What every store of budgets must do: podium.economics.budgets.store, as tests.

Subclass the suite in a test module and give it two fixtures: `budget_stores`, two empty stores over the same data, such
as two gateways would have (one store twice, when it lives in memory), and `let_leases_end`, which comes back when every
lease that was begun before has ended::

    class TestRedisBudgetStore(BudgetStoreConformance):
        @pytest.fixture
        async def budget_stores(self, redis, second_redis): ...

        @pytest.fixture
        def let_leases_end(self): ...
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from podium.core.reasons import Reason
from podium.economics.budgets.repair import LedgerReading, compare
from podium.economics.budgets.store import BudgetStore
from podium.economics.budgets.values import (
    Charge,
    Cost,
    Refusal,
    RefusalCause,
    Reservation,
    Rule,
    SettlementOutcome,
    Standing,
)

__all__ = ["BudgetStoreConformance", "make_charge"]

_NOW_NS = 1_760_000_000_000_000_000
_MINUTE_NS = 60 * 10**9
_USD, _TOKENS = "usd", "tokens"

Stores = tuple[BudgetStore, BudgetStore]
Wait = Callable[[], Awaitable[None]]


def make_charge(budget: str = "b", amount: int = 100, **changes: Any) -> Charge:
    """A charge of a calendar period that never ends; `changes` replace fields of it and of its rule."""
    rule = Rule(budget, "usd", amount, hard=True, soft=(), whom="", how_often="a month", zone="UTC")
    rule = replace(rule, **{name: changes.pop(name) for name in ("unit", "hard", "soft") if name in changes})
    charge = Charge(f"{budget}|acme|m0", rule, (("tenant", "acme"),), "2025-10", 0, 1 << 62)
    return replace(charge, **changes)


def _rolling(moment_ns: int, buckets: int = 3, **changes: Any) -> Charge:
    start_ns = moment_ns // _MINUTE_NS * _MINUTE_NS
    return make_charge(
        key="r|acme|r60x3", start_ns=start_ns, end_ns=start_ns + _MINUTE_NS, bucket_ns=_MINUTE_NS, buckets=buckets
    , **changes)  # fmt: skip


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _usd(nanousd: int) -> Cost:
    return Cost(nanousd, 0)


async def _held(store: BudgetStore, number: int, *charges: Charge, usd: int = 10, at_ns: int = _NOW_NS) -> None:
    answer = await store.reserve(_id(number), charges, Cost(usd, usd), at_ns)
    assert isinstance(answer, Reservation), answer
    assert (answer.id, answer.charges, answer.estimate, answer.made_unix_ns) == (
        _id(number), charges, Cost(usd, usd), at_ns
    )  # fmt: skip


async def _refused(store: BudgetStore, number: int, *charges: Charge, usd: int = 10, at_ns: int = _NOW_NS) -> Refusal:
    answer = await store.reserve(_id(number), charges, Cost(usd, usd), at_ns)
    assert isinstance(answer, Refusal), answer
    return answer


async def _of(store: BudgetStore, charge: Charge, at_ns: int = _NOW_NS) -> Standing:
    (standing,) = await store.standing((charge,), at_ns)
    return standing


async def _sums(store: BudgetStore, charge: Charge, at_ns: int = _NOW_NS) -> tuple[int, int, int]:
    standing = await _of(store, charge, at_ns)
    return standing.settled, standing.reserved, standing.running


class BudgetStoreConformance:
    """Of BudgetStore. Fixtures: `budget_stores`, `let_leases_end`."""

    async def test_an_unknown_account_stands_at_nothing(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        standing = await _of(store, make_charge())
        assert (standing.settled, standing.reserved, standing.running, standing.left) == (0, 0, 0, 100)
        assert await store.accounts("", 10) == ()

    async def test_reserved_and_settled_are_kept_apart(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge()
        await _held(store, 1, charge, usd=30)
        assert await _sums(other, charge) == (0, 30, 1)
        assert (await other.settle(_id(1), _usd(12))).outcome is SettlementOutcome.COUNTED
        assert await _sums(store, charge) == (12, 0, 0)

    async def test_a_release_gives_everything_back(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        await _held(store, 1, make_charge(), usd=30)
        assert (await other.release(_id(1))).outcome is SettlementOutcome.RELEASED
        assert await _sums(store, make_charge()) == (0, 0, 0)

    async def test_of_several_ends_the_first_counts(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge()
        for number, first in ((1, "settle"), (2, "release")):
            await _held(store, number, charge)
            await (store.settle(_id(number), _usd(7)) if first == "settle" else store.release(_id(number)))
            assert (await other.settle(_id(number), _usd(9))).outcome is SettlementOutcome.ALREADY
            assert (await other.release(_id(number))).outcome is SettlementOutcome.ALREADY
        assert await _sums(store, charge) == (7, 0, 0)

    async def test_an_end_without_a_reservation_does_nothing(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        assert (await store.settle(_id(1), _usd(7))).outcome is SettlementOutcome.UNKNOWN
        assert (await store.release(_id(1))).outcome is SettlementOutcome.UNKNOWN

    async def test_the_same_reservation_again_holds_nothing_more(self, budget_stores: Stores) -> None:
        for store in budget_stores:
            await _held(store, 1, make_charge(), usd=60)
        assert await _sums(budget_stores[0], make_charge()) == (0, 60, 1)

    async def test_an_ended_reservation_is_not_begun_again(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        await _held(store, 1, make_charge())
        await store.release(_id(1))
        try:
            await other.reserve(_id(1), (make_charge(),), _usd(1), _NOW_NS)
        except ValueError:
            assert await _sums(store, make_charge()) == (0, 0, 0)
        else:
            raise AssertionError("it was begun again")

    async def test_the_last_bit_fits_and_no_more(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge()
        await _held(store, 1, charge, usd=60)
        await store.settle(_id(1), _usd(60))
        await _held(store, 2, charge, usd=30)
        refusal = await _refused(other, 3, charge, usd=11)
        assert (refusal.reason, refusal.cause) == (Reason.BUDGET_EXHAUSTED, RefusalCause.IN_FLIGHT)
        assert (refusal.budget, refusal.resets_unix_ns, refusal.retry_after_s) == ("b", None, 1.0)
        assert (refusal.standing.settled, refusal.standing.reserved) == (60, 30)
        await _held(other, 4, charge, usd=10)

    async def test_refusals_say_what_is_missing_and_until_when(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        charge = make_charge(amount=10**9, end_ns=_NOW_NS + 5_000_000_000)
        large = await _refused(store, 1, charge, usd=2 * 10**9)
        assert (large.cause, large.resets_unix_ns, large.retry_after_s) == (RefusalCause.TOO_LARGE, None, None)
        assert large.message == "This request may cost up to $2.00, more than the whole budget 'b' of $1.00 a month."
        await _held(store, 2, charge, usd=10**9)
        await store.settle(_id(2), _usd(10**9))
        spent = await _refused(store, 3, charge, usd=1)
        assert (spent.cause, spent.resets_unix_ns, spent.retry_after_s) == (RefusalCause.SPENT, charge.end_ns, 5.0)
        assert spent.message == (
            "The budget 'b' of $1.00 a month is used up; there is room again from 2025-10-09 08:53:25 UTC."
        )

    async def test_all_or_none_is_reserved(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        wide, narrow = make_charge("wide", 1000), make_charge("narrow", 20, unit=_TOKENS)
        refusal = await _refused(store, 1, wide, narrow, usd=21)
        assert refusal.budget == "narrow"
        assert await _sums(store, wide) == await _sums(store, narrow) == (0, 0, 0)

    async def test_each_budget_counts_its_own_unit(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        money, tokens = make_charge("m"), make_charge("t", unit=_TOKENS)
        assert isinstance(await store.reserve(_id(1), (money, tokens), Cost(5, 50), _NOW_NS), Reservation)
        assert [(await _sums(store, one))[1] for one in (money, tokens)] == [5, 50]
        await store.settle(_id(1), Cost(3, 40))
        assert [await _sums(store, one) for one in (money, tokens)] == [(3, 0, 0), (40, 0, 0)]

    async def test_who_has_no_budget_may_always_reserve_and_settle(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        await _held(store, 1, usd=10**15)
        assert (await store.settle(_id(1), _usd(10**15))).outcome is SettlementOutcome.COUNTED

    async def test_large_amounts_stay_exact(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        charge = make_charge(amount=8_999_999_999_999_999)
        await _held(store, 1, charge, usd=8_999_999_999_999_998)
        await store.settle(_id(1), _usd(8_999_999_999_999_998))
        await _refused(store, 2, charge, usd=2)
        await _held(store, 3, charge, usd=1)
        assert await _sums(store, charge) == (8_999_999_999_999_998, 1, 1)

    async def test_a_fact_above_the_estimate_is_counted_in_full(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        charge = make_charge()
        await _held(store, 1, charge, usd=100)
        await store.settle(_id(1), _usd(130))
        assert await _sums(store, charge) == (130, 0, 0)
        assert (await _refused(store, 2, charge, usd=0)).cause is RefusalCause.SPENT

    async def test_a_budget_that_is_not_hard_counts_and_refuses_nothing(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        charge = make_charge(hard=False)
        await _held(store, 1, charge, usd=500)
        await store.settle(_id(1), _usd(500))
        await _held(store, 2, charge, usd=500)
        assert await _sums(store, charge) == (500, 500, 1)

    async def test_what_a_budget_allows_may_change_and_what_was_used_stays(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        await _held(store, 1, make_charge(), usd=90)
        await _refused(other, 2, make_charge(amount=80), usd=1)
        await _held(other, 3, make_charge(amount=200), usd=110)
        assert (await _of(store, make_charge(amount=200))).left == 0

    async def test_of_many_at_once_no_more_pass_than_there_is_room(self, budget_stores: Stores) -> None:
        charge = make_charge()
        answers = await asyncio.gather(
            *(budget_stores[n % 2].reserve(_id(n), (charge,), _usd(7), _NOW_NS) for n in range(40))
        )
        assert sum(isinstance(answer, Reservation) for answer in answers) == 14
        assert await _sums(budget_stores[0], charge) == (0, 98, 14)

    async def test_of_many_ends_at_once_one_counts(self, budget_stores: Stores) -> None:
        await _held(budget_stores[0], 1, make_charge())
        done = await asyncio.gather(*(budget_stores[n % 2].settle(_id(1), _usd(n + 1)) for n in range(10)))
        counted = [n + 1 for n, one in enumerate(done) if one.outcome is SettlementOutcome.COUNTED]
        assert len(counted) == 1
        assert await _sums(budget_stores[0], make_charge()) == (counted[0], 0, 0)

    async def test_soft_marks_are_told_once_each(self, budget_stores: Stores) -> None:
        told = []
        charge = make_charge(soft=((0.5, 50), (0.8, 80), (1.0, 100)))
        for number, cost in enumerate((40, 10, 10, 40, 5)):
            store = budget_stores[number % 2]
            await _held(store, number, charge, usd=0)
            told.append(tuple(c.share for c in (await store.settle(_id(number), _usd(cost))).crossings))
        assert told == [(), (0.5,), (), (0.8, 1.0), ()]
        assert (await _of(budget_stores[0], charge)).told == (0.5, 0.8, 1.0)

    async def test_a_crossing_says_whose_it_is(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        charge = make_charge(soft=((0.5, 50),))
        await _held(store, 1, charge)
        (crossing,) = (await store.settle(_id(1), _usd(55))).crossings
        assert (crossing.budget, crossing.key, crossing.subject) == ("b", charge.key, (("tenant", "acme"),))
        assert (crossing.settled, crossing.amount, crossing.unit) == (55, 100, _USD)

    async def test_a_lease_that_ends_gives_back_what_was_held(
        self, budget_stores: Stores, let_leases_end: Wait
    ) -> None:
        store, other = budget_stores
        await _held(store, 1, make_charge(), usd=60)
        await _held(store, 2, make_charge(), usd=40)
        await let_leases_end()
        await _held(other, 3, make_charge(), usd=100)
        assert await _sums(store, make_charge()) == (0, 100, 1)

    async def test_expire_says_how_many_leases_have_ended(self, budget_stores: Stores, let_leases_end: Wait) -> None:
        store, other = budget_stores
        for number in range(3):
            await _held(store, number, make_charge())
        assert await other.expire() == 0
        await let_leases_end()
        assert await other.expire() == 3
        assert await store.expire() == 0

    async def test_a_settle_after_the_lease_counts_once(self, budget_stores: Stores, let_leases_end: Wait) -> None:
        store, other = budget_stores
        await _held(store, 1, make_charge(), usd=60)
        await let_leases_end()
        await store.expire()
        assert (await store.settle(_id(1), _usd(55))).outcome is SettlementOutcome.COUNTED_LATE
        assert (await other.settle(_id(1), _usd(55))).outcome is SettlementOutcome.ALREADY
        assert await _sums(store, make_charge()) == (55, 0, 0)

    async def test_a_release_after_the_lease_gives_back_nothing_twice(
        self, budget_stores: Stores, let_leases_end: Wait
    ) -> None:
        store, _ = budget_stores
        await _held(store, 1, make_charge(), usd=60)
        await let_leases_end()
        await store.expire()
        assert (await store.release(_id(1))).outcome is SettlementOutcome.RELEASED
        assert (await store.settle(_id(1), _usd(5))).outcome is SettlementOutcome.ALREADY
        assert await _sums(store, make_charge()) == (0, 0, 0)

    async def test_a_cost_counts_in_the_period_of_its_reservation(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        old, new = make_charge(key="b|acme|m1", end_ns=_NOW_NS), make_charge(key="b|acme|m2", start_ns=_NOW_NS)
        await _held(store, 1, old, usd=100, at_ns=_NOW_NS - 1)
        await _held(other, 2, new, usd=100, at_ns=_NOW_NS)
        await store.settle(_id(1), _usd(70))
        assert await _sums(other, old) == (70, 0, 0)
        assert await _sums(other, new) == (0, 100, 1)

    async def test_a_rolling_window_forgets_bucket_by_bucket(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        start_ns = _rolling(_NOW_NS).start_ns
        for minute in range(3):
            at_ns = start_ns + minute * _MINUTE_NS
            await _held(store, minute, _rolling(at_ns), usd=30, at_ns=at_ns)
            await other.settle(_id(minute), _usd(30))
        seen = []
        for minute in range(3, 7):
            at_ns = start_ns + minute * _MINUTE_NS
            seen.append((await _sums(other, _rolling(at_ns), at_ns))[0])
        assert seen == [90, 60, 30, 0]

    async def test_a_rolling_window_says_when_there_is_room(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        start_ns = _rolling(_NOW_NS).start_ns
        for minute, cost in ((0, 40), (1, 60)):
            at_ns = start_ns + minute * _MINUTE_NS
            await _held(store, minute, _rolling(at_ns), usd=cost, at_ns=at_ns)
            await store.settle(_id(minute), _usd(cost))
        at_ns = start_ns + _MINUTE_NS
        assert (await _refused(store, 7, _rolling(at_ns), usd=40, at_ns=at_ns)).resets_unix_ns == (
            start_ns + 4 * _MINUTE_NS
        )
        assert (await _refused(store, 8, _rolling(at_ns), usd=41, at_ns=at_ns)).resets_unix_ns == (
            start_ns + 5 * _MINUTE_NS
        )

    async def test_a_cost_whose_bucket_has_left_the_window_counts_no_more(self, budget_stores: Stores) -> None:
        store, _ = budget_stores
        await _held(store, 1, _rolling(_NOW_NS), usd=60)
        later_ns = _NOW_NS + 4 * _MINUTE_NS
        assert await _sums(store, _rolling(later_ns), later_ns) == (0, 60, 1)
        await store.settle(_id(1), _usd(60))
        assert await _sums(store, _rolling(later_ns), later_ns) == (0, 0, 0)

    async def test_a_clock_that_steps_back_finds_the_window_as_it_was(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        await _held(store, 1, _rolling(_NOW_NS), usd=60)
        await store.settle(_id(1), _usd(60))
        earlier_ns = _NOW_NS - 2 * _MINUTE_NS
        await _refused(other, 2, _rolling(earlier_ns), usd=41, at_ns=earlier_ns)
        await _held(other, 3, _rolling(earlier_ns), usd=40, at_ns=earlier_ns)

    async def test_accounts_come_in_pages_by_key(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charges = [make_charge(key=f"b|t{n}|m0") for n in range(5)]
        for number, charge in enumerate(charges):
            await _held(store, number, charge, usd=number)
        first = await other.accounts("", 2)
        second = await other.accounts(first[-1].charge.key, 10)
        assert [standing.charge for standing in (*first, *second)] == charges
        assert [standing.reserved for standing in (*first, *second)] == [0, 1, 2, 3, 4]

    async def test_a_repair_adds_what_was_lost_and_takes_off_what_was_too_much(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        lost, much, whole = (make_charge(budget, 1000) for budget in ("lost", "much", "whole"))
        mark_ns = await store.mark()
        for number, charge in enumerate((lost, much, whole)):
            await _held(store, number, charge, at_ns=mark_ns - 1)
            await store.settle(_id(number), _usd(50))
            await _held(store, number + 10, charge, at_ns=mark_ns)
            await store.settle(_id(number + 10), _usd(7))
        standings = await other.standing((lost, much, whole), mark_ns)
        sums = {(lost.key, 0): 80, (much.key, 0): 20, (whole.key, 0): 50}
        corrections = compare(standings, LedgerReading(mark_ns, sums)).corrections
        assert len(corrections) == 2
        assert (await other.repair(corrections, mark_ns))[0] == (True, True)
        assert [(await _sums(store, one, mark_ns))[0] for one in (lost, much, whole)] == [87, 27, 57]
        assert (await store.repair(corrections, mark_ns))[0] == (False, False)
        assert [(await _sums(other, one, mark_ns))[0] for one in (lost, much, whole)] == [87, 27, 57]

    async def test_a_repair_brings_back_an_account_that_the_store_has_lost(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge(soft=((0.8, 80),))
        mark_ns = await store.mark()
        comparison = compare(await other.standing((charge,), mark_ns), LedgerReading(mark_ns, {(charge.key, 0): 95}))
        applied, crossings = await other.repair(comparison.corrections, mark_ns)
        assert (applied, [crossing.share for crossing in crossings]) == ((True,), [0.8])
        await _refused(store, 1, charge, usd=6)

    async def test_a_repair_mends_the_buckets_before_the_mark(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        mark_ns = await store.mark()
        at_ns = mark_ns - 2 * _MINUTE_NS
        charge = _rolling(mark_ns)
        await _held(store, 1, _rolling(at_ns), at_ns=at_ns)
        await store.settle(_id(1), _usd(10))
        standing = await _of(other, charge, mark_ns)
        wrong = {(charge.key, part.start_ns): part.settled + 5 for part in standing.parts}
        assert len(wrong) == 3
        corrections = compare((standing,), LedgerReading(mark_ns, wrong)).corrections
        assert (await other.repair(corrections, mark_ns))[0] == (True,) * 3
        assert (await _sums(store, charge, mark_ns))[0] == 25

    async def test_what_runs_is_not_touched_by_a_repair(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge()
        mark_ns = await store.mark()
        await _held(store, 1, charge, at_ns=mark_ns - 1)
        ledger = LedgerReading(mark_ns, {(charge.key, 0): 50})
        standing = await _of(other, charge, mark_ns)
        comparison = compare((standing,), ledger)
        assert (comparison.busy, comparison.corrections) == ((standing,), ())
        forced = compare((replace(standing, running_before_mark=0),), ledger).corrections
        assert (await other.repair(forced, mark_ns))[0] == (False,)
        assert await _sums(store, charge, mark_ns) == (0, 10, 1)

    async def test_a_correction_of_an_older_mark_or_of_another_figure_is_void(self, budget_stores: Stores) -> None:
        store, other = budget_stores
        charge = make_charge()
        mark_ns = await store.mark()
        standing = await _of(store, charge, mark_ns)
        corrections = compare((standing,), LedgerReading(mark_ns, {(charge.key, 0): 50})).corrections
        await _held(store, 1, charge, at_ns=mark_ns - 1)
        await store.settle(_id(1), _usd(3))
        assert (await other.repair(corrections, mark_ns))[0] == (False,)
        older = tuple(replace(one, mark_ns=mark_ns - 1, expected=3) for one in corrections)
        assert (await other.repair(older, mark_ns))[0] == (False,)
        assert await _sums(store, charge, mark_ns) == (3, 0, 0)

    async def test_a_settle_after_lease_and_repair_is_not_counted_twice(
        self, budget_stores: Stores, let_leases_end: Wait
    ) -> None:
        store, other = budget_stores
        charge = make_charge()
        mark_ns = await store.mark()
        await _held(store, 1, charge, usd=60, at_ns=mark_ns - 1)
        await let_leases_end()
        await store.expire()
        standing = await _of(store, charge, mark_ns)
        corrections = compare((standing,), LedgerReading(mark_ns, {(charge.key, 0): 55})).corrections
        assert (await store.repair(corrections, mark_ns))[0] == (True,)
        assert (await other.settle(_id(1), _usd(55))).outcome is SettlementOutcome.MENDED
        assert await _sums(store, charge, mark_ns) == (55, 0, 0)
