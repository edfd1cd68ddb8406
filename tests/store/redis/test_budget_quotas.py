import asyncio
import inspect
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.app.shared import open_shared
from podium.economics.budgets.repair import LedgerReading, compare
from podium.economics.budgets.values import Charge, Cost, Refusal, RefusalCause, Reservation
from podium.store.redis.budget_quotas import KEEP_S, USE_S
from podium.store.redis.budget_words import SliceCode
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.settings import RedisSettings
from podium.testing.budget_conformance import make_charge
from podium.testing.clock import TestClock
from podium.testing.waiting import eventually

SECOND = 10**9
MINUTE = 60 * SECOND
MONEY = make_charge(amount=160_000, soft=((0.1, 16_000), (0.5, 80_000)))
TOKENS = make_charge("tokens", 500_000, key="tokens|acme|m0", unit="tokens")
WATCHED = make_charge("watched", 1000, key="watched|acme|m0", hard=False, soft=((1.0, 1000),))


def name(number):
    return number.to_bytes(16, "big")


def rolling(unix_ns, amount=100_000, buckets=3):
    start_ns = unix_ns // MINUTE * MINUTE
    return make_charge(
        "rolling", amount, key="r|acme|r60x3", start_ns=start_ns, end_ns=start_ns + MINUTE, bucket_ns=MINUTE, buckets=buckets
    )  # fmt: skip


class House:
    """Some gateways with quota leases over one store, all by one clock that the test moves."""

    def __init__(self, gateways, clock, crossings):
        self.gateways, self.clock, self.crossings = gateways, clock, crossings
        self.numbers = iter(range(10**9))
        self.silenced = set()  # gateways that were killed
        for one in gateways:
            one.members.count = len(gateways)
            one.shared.store.skew_us = (clock.unix_ns() - time.time_ns()) // 1000

    def alive(self):
        return [one for who, one in enumerate(self.gateways) if who not in self.silenced]

    def quotas(self, who=0):
        return self.gateways[who].budgets.quotas

    async def reserve(self, who, estimate, charges=(MONEY,), number=None, unix_ns=None):
        """The number of what was reserved, or the refusal; and whether it came out of slices."""
        number = next(self.numbers) if number is None else number
        cost, clock = Cost(estimate, estimate), self.clock
        unix_ns = clock.unix_ns() if unix_ns is None else unix_ns
        outcome = self.gateways[who].budgets.reserve(name(number), charges, cost, unix_ns, clock.monotonic_ns())
        quick = isinstance(outcome, Reservation)
        outcome = await outcome if inspect.isawaitable(outcome) else outcome
        await self.rest()
        return (number if isinstance(outcome, Reservation) else outcome), quick

    def settle(self, who, number, cost):
        self.gateways[who].budgets.settle(name(number), Cost(cost, cost))

    def release(self, who, number):
        self.gateways[who].budgets.release(name(number))

    async def rest(self):
        """Until nothing is under way."""
        for one in self.alive():
            await one.budgets.quotas.told()

    async def pass_time(self, seconds):
        """Time passes; at its end each gateway keeps its slices, as often as it takes to hear of what the others do."""
        self.clock.advance(seconds)
        for one in self.gateways:
            one.shared.store.skew_us += round(seconds * 1e6)
        for one in self.alive():
            one.budgets.quotas.keep(self.clock.monotonic_ns())
        await self.rest()

    async def come_again(self):
        """The second that a refused caller waits."""
        for _ in range(round(1 / KEEP_S)):
            await self.pass_time(KEEP_S)

    async def warm_up(self, who=0, estimate=10, cost=10, asks=20, charges=(MONEY,)):
        """Use accounts often enough for slices to be worth while; what it cost in all."""
        for _ in range(2):
            for _ in range(asks):
                number, _ = await self.reserve(who, estimate, charges)
                self.settle(who, number, cost)
            await self.pass_time(USE_S)
        number, _ = await self.reserve(who, estimate, charges)
        self.settle(who, number, cost)
        await eventually(lambda: not self.gateways[who].budgets.outbox)
        return (2 * asks + 1) * cost

    async def told(self):
        """Until the store knows everything and no slice is left."""
        for _ in range(3):
            await self.pass_time(USE_S)
        for one in self.alive():
            await eventually(lambda one=one: not one.budgets.outbox and not one.budgets.quotas.busy)

    async def standing(self, charge=MONEY):
        (standing,) = await self.gateways[0].shared.store.standing((charge,), self.clock.unix_ns())
        return standing

    async def sums(self, charge=MONEY):
        standing = await self.standing(charge)
        return standing.settled, standing.reserved, standing.running


class _Gateway:
    def __init__(self, shared):
        self.shared, self.budgets, self.client, self.members = shared, shared.budgets, shared.client, shared.members


async def opened(stack, url, count, prefix="{podium}", **changes):
    clock, gateways, crossings = TestClock(), [], []
    options = {"timeout_ms": 2000, "connect_timeout_ms": 2000, "probe_interval_ms": 50} | changes
    for number in range(count):
        given_settings = RedisSettings(url=url, prefix=prefix, quota_leases=True, member_ttl_s=600.0, **options)
        shared = open_shared(given_settings, str(number), clock, crossed=crossings.append)
        gateways.append(_Gateway(await stack.enter_async_context(shared)))
        keeper = next(task for task in asyncio.all_tasks() if task.get_name() == "redis-budget-quotas")
        keeper.cancel()  # time passes when the test says so
        keeper.set_name("")
    return House(gateways, clock, crossings)


@pytest.fixture
async def open_house():
    async with AsyncExitStack() as stack:

        async def open_it(server, count=1, **changes):
            return await opened(stack, server.url, count, **changes)

        yield open_it


async def test_what_is_used_much_is_decided_without_a_round_trip(open_house, server):
    house = await open_house(server)
    charges = (MONEY, TOKENS, WATCHED)
    cost = await house.warm_up(charges=charges)
    calls = house.gateways[0].client.figures.calls

    for _ in range(3):
        number, quick = await house.reserve(0, 10, charges)
        assert quick
        house.settle(0, number, 4)
    assert house.gateways[0].client.figures.calls - calls <= 2  # for more; and perhaps a heartbeat
    await house.told()

    assert [await house.sums(charge) for charge in charges] == [(cost + 12, 0, 0)] * 3


async def test_what_is_used_seldom_is_asked_for(open_house, server):
    house = await open_house(server)
    for _ in range(20):
        number, quick = await house.reserve(0, 10)
        assert not quick
        house.settle(0, number, 10)
        await house.pass_time(0.3)
    assert not house.quotas().busy


async def test_near_its_end_a_budget_is_asked_for_exactly(open_house, server):
    house = await open_house(server, 2)
    small = make_charge(amount=1000)
    outcomes = []
    for _ in range(30):
        outcomes += [await house.reserve(who, 10, (small,)) for who in (0, 1) for _ in range(4)]
        await house.pass_time(USE_S)

    assert sum(isinstance(outcome, int) for outcome, _ in outcomes) == 100
    assert not any(quick for _, quick in outcomes)
    assert await house.sums(small) == (0, 1000, 100)


async def test_slices_hold_no_more_than_a_sixteenth_of_what_is_left(open_house, server):
    house = await open_house(server, 2)
    small = make_charge(amount=16_000)
    for _ in range(3):
        for number in range(400):
            outcome, _ = await house.reserve(number % 2, 10, (small,))
            house.release(number % 2, outcome)
        await house.pass_time(USE_S)

    _, reserved, running = await house.sums(small)
    assert (900 < reserved <= 1000, running) == (True, 2)


async def test_what_exchanges_did_not_use_is_used_by_others(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up(estimate=100, cost=1)
    calls = house.gateways[0].client.figures.calls
    for _ in range(200):
        number, quick = await house.reserve(0, 100)
        assert quick
        house.settle(0, number, 1)

    assert house.gateways[0].client.figures.calls - calls <= 2
    await house.told()
    assert await house.sums() == (spent + 200, 0, 0)


async def test_a_slice_that_is_not_used_is_given_back(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up()
    assert (await house.sums())[1:] == (200, 1)
    for _ in range(3):
        await house.pass_time(USE_S)

    assert await house.sums() == (spent, 0, 0)
    assert not house.quotas().busy
    ahead = "return (select(9, cmsgpack.unpack(redis.call('GET', KEYS[1]))))"  # of the values of an account
    assert server.command("EVAL", ahead, 1, f"{{podium}}:budget2:account:{MONEY.key}") == 0


async def test_a_slice_is_not_used_long_after_it_was_heard_of(open_house, server):
    house = await open_house(server)
    await house.warm_up()
    for _ in range(20):
        house.release(0, (await house.reserve(0, 10))[0])
    house.clock.advance(USE_S)

    assert [(await house.reserve(0, 10))[1] for _ in range(2)] == [False, True]


async def test_what_becomes_free_is_not_kept_beyond_what_is_wanted(open_house, server):
    house = await open_house(server)
    await house.warm_up()
    numbers = []
    while len(numbers) < 100:
        number, quick = await house.reserve(0, 10)
        if quick:
            numbers.append(number)
        else:
            house.release(0, number)
        await house.pass_time(0.02)
    for number in numbers:
        house.release(0, number)

    (one,) = house.quotas()._slices
    assert (one.out, one.ahead <= one.aim < 1000) == (0, True)


async def test_an_end_counts_once_however_often_and_late_it_comes(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up()
    numbers = [(await house.reserve(0, 10))[0] for _ in range(4)]
    assert house.quotas().running == 4
    house.settle(0, numbers[0], 4)
    house.settle(0, numbers[0], 4)
    house.release(0, numbers[0])
    house.release(0, numbers[1])
    house.settle(0, numbers[1], 10)
    for _ in range(4):
        await house.pass_time(USE_S)
    assert await house.sums() == (spent + 4, 20, 1)

    house.settle(0, numbers[2], 7)
    for _ in range(5):
        await house.pass_time(40)  # in all, longer than a lease
    assert await house.sums() == (spent + 11, 10, 1)
    house.settle(0, numbers[3], 90)
    await house.told()
    assert await house.sums() == (spent + 101, 0, 0)


async def test_the_same_reservation_again_is_what_is_held_already(open_house, server):
    house = await open_house(server)
    await house.warm_up()
    number, quick = await house.reserve(0, 10)
    assert (await house.reserve(0, 99, number=number)) == (number, True)
    assert quick
    seldom, quick = await house.reserve(0, 1000)
    assert (await house.reserve(0, 10, number=seldom)) == (seldom, False)
    house.release(0, seldom)
    await eventually(lambda: not house.gateways[0].budgets.outbox)

    assert (house.quotas().running, (await house.sums())[1]) == (1, 200)


async def test_who_is_refused_is_not_refused_for_what_this_gateway_holds_itself(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up()
    assert (await house.sums())[1] == 200
    refused, _ = await house.reserve(0, MONEY.rule.amount - spent + 1)
    number, _ = await house.reserve(0, MONEY.rule.amount - spent)

    assert refused.cause is RefusalCause.SPENT
    assert await house.sums() == (spent, MONEY.rule.amount - spent, 1)
    house.release(0, number)
    assert not any([(await house.reserve(0, 10))[1] for _ in range(9)]), "taken ahead again at once"


async def test_one_who_is_refused_does_not_take_slices_from_others(open_house, server):
    house = await open_house(server)
    await house.warm_up()
    used_up = make_charge("mine", 5, key="mine|me|m0")
    calls = house.gateways[0].client.figures.calls
    refusals = [
        await house.reserve(0, estimate, charges)
        for _ in range(10)
        for estimate, charges in ((10, (MONEY, used_up)), (MONEY.rule.amount, (MONEY,)))
    ]

    assert all(isinstance(refusal, Refusal) for refusal, _ in refusals)
    assert house.gateways[0].client.figures.calls - calls <= 22  # one each; and perhaps a heartbeat
    assert (await house.reserve(0, 10))[1]


async def test_who_is_refused_for_what_another_gateway_holds_has_it_when_he_comes_again(open_house, server):
    house = await open_house(server, 2)
    spent = await house.warm_up(0)
    assert (await house.sums())[1] == 200

    refused, _ = await house.reserve(1, MONEY.rule.amount - spent)
    assert (refused.cause, refused.retry_after_s) == (RefusalCause.IN_FLIGHT, 1.0)
    for _ in range(round(1 / KEEP_S)):  # the other one goes on
        for _ in range(4):
            number, _ = await house.reserve(0, 10)
            house.release(0, number)
        await house.pass_time(KEEP_S)
    await eventually(lambda: not house.gateways[0].budgets.outbox)
    assert (await house.sums())[1] == 0
    number, _ = await house.reserve(1, MONEY.rule.amount - spent)

    assert isinstance(number, int)


async def test_soft_marks_are_told_once(open_house, server):
    house = await open_house(server, 2)
    for _ in range(90):
        for who in (0, 1):
            for _ in range(10):
                number, _ = await house.reserve(who, 100)
                if isinstance(number, int):
                    house.settle(who, number, 90)
        await house.pass_time(KEEP_S * 2)
    await house.told()

    assert [one.share for one in house.crossings] == [0.1, 0.5]
    assert (await house.standing()).told == (0.1, 0.5)


async def test_a_changed_budget_holds_at_once(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up()
    lower = replace(MONEY, rule=replace(MONEY.rule, amount=spent + 25))
    outcomes = [await house.reserve(0, 10, (lower,)) for _ in range(4)]

    assert [quick for _, quick in outcomes] == [False] * 4
    assert [isinstance(outcome, Refusal) for outcome, _ in outcomes] == [False, False, True, True]


async def test_a_bucket_that_ends_takes_no_more(open_house, server):
    house = await open_house(server)
    house.clock.advance(60 - house.clock.unix_ns() % MINUTE / SECOND - 2)
    old = rolling(house.clock.unix_ns())
    spent = await house.warm_up(charges=(old,))
    late, quick = await house.reserve(0, 10, (old,))
    assert quick
    await house.pass_time(2)
    new = rolling(house.clock.unix_ns())
    assert new != old
    number, quick = await house.reserve(0, 10, (new,))
    assert not quick
    house.settle(0, number, 5)
    again, quick = await house.reserve(0, 10, (old,), unix_ns=old.end_ns - 1)  # began before, and took long to send
    assert not quick
    house.settle(0, again, 1)
    house.settle(0, late, 3)
    more = await house.warm_up(charges=(new,))
    await house.told()

    seen = []
    for _ in range(5):
        seen.append((await house.sums(rolling(house.clock.unix_ns())))[0])
        await house.pass_time(60)
    first, second = spent + 4, more + 5
    assert seen == [first + second] * 3 + [second, 0]


async def test_a_lost_answer_changes_nothing(open_house, server, monkeypatch):
    house = await open_house(server)
    spent = await house.warm_up()
    store = house.gateways[0].shared.store
    keep = store.keep

    async def deaf(*words):
        await keep(*words)
        raise StoreUnavailable(StoreTrouble.TIMEOUT, "no answer in time")

    monkeypatch.setattr(type(store), "keep", lambda _, *words: deaf(*words))
    for _ in range(10):
        number, _ = await house.reserve(0, 10)
        house.settle(0, number, 5)
        await house.pass_time(KEEP_S)
    monkeypatch.setattr(type(store), "keep", lambda _, *words: keep(*words))
    await house.told()

    assert await house.sums() == (spent + 50, 0, 0)


async def test_what_a_server_reads_after_a_slice_has_ended_holds_nothing(open_house, server, monkeypatch):
    house = await open_house(server)
    store = house.gateways[0].shared.store
    keep, held_up = store.keep, []

    async def stalled(charges, words, share):
        held_up.append((charges, words, share))
        raise StoreUnavailable(StoreTrouble.TIMEOUT, "no answer in time")

    monkeypatch.setattr(type(store), "keep", lambda _, *words: stalled(*words))
    spent = await house.warm_up()
    monkeypatch.setattr(type(store), "keep", lambda _, *words: keep(*words))
    await house.told()
    assert any(words[0].new for _, words, _ in held_up)
    for late in held_up:
        await keep(*late)

    assert await house.sums() == (spent, 0, 0)


async def test_what_a_server_reads_late_is_older_than_what_it_knows(open_house, server, monkeypatch):
    house = await open_house(server)
    store = house.gateways[0].shared.store
    keep, sent = store.keep, []

    def overheard(_, *words):
        sent.append(words)
        return keep(*words)

    monkeypatch.setattr(type(store), "keep", overheard)
    spent = await house.warm_up()
    number, _ = await house.reserve(0, 10)
    await house.pass_time(KEEP_S)
    before = await house.sums()
    late = [await keep(*words) for words in sent[:-1]]

    assert {one.code for (one,) in late} == {SliceCode.OLD}
    assert await house.sums() == before
    house.settle(0, number, 10)
    await house.told()
    assert await house.sums() == (spent + 10, 0, 0)


async def test_what_could_not_be_told_is_told_soon(open_house, server):
    house = await open_house(server)
    spent = await house.warm_up()
    numbers = [(await house.reserve(0, 10))[0] for _ in range(2)]
    for _ in range(4):
        await house.pass_time(USE_S)
    quotas = house.quotas()
    quotas._store = Flaky(quotas._store)
    quotas._store.trouble = "mute"
    house.settle(0, numbers[0], 4)
    await house.pass_time(KEEP_S)
    assert await house.sums() == (spent, 20, 1)
    await house.pass_time(KEEP_S)

    assert await house.sums() == (spent + 4, 10, 1)


async def test_without_the_store_slices_are_not_used_and_their_ends_are_told_when_it_is_back(own_server, open_house):
    house = await open_house(own_server, timeout_ms=100, connect_timeout_ms=200)
    gateway = house.gateways[0]
    spent = await house.warm_up()
    number, quick = await house.reserve(0, 10)
    assert quick
    own_server.kill()
    await eventually(lambda: gateway.client.state != "up")
    local, _ = await house.reserve(0, 10)
    assert gateway.budgets.granted_here == 1
    house.settle(0, number, 6)
    house.settle(0, local, 7)
    await house.pass_time(2)
    own_server.start()
    await eventually(lambda: gateway.client.state == "up")
    await house.told()

    assert await house.sums() == (spent + 13, 0, 0)


async def test_a_store_that_lost_its_data_is_told_nothing_wrong(own_server, open_house):
    house = await open_house(own_server)
    await house.warm_up()
    number, _ = await house.reserve(0, 10)
    own_server.command("FLUSHALL")
    house.settle(0, number, 10)
    await house.told()

    assert await house.sums() == (0, 0, 0)  # the repair finds it in the ledger
    assert await house.warm_up() == (await house.sums())[0] + 10


async def test_an_older_replica_takes_over(own_server, open_house):
    house = await open_house(own_server)
    spent = await house.warm_up()
    numbers = [(await house.reserve(0, 10))[0] for _ in range(6)]
    await house.pass_time(KEEP_S)
    store = house.gateways[0].client
    before = {key: await store.send("DUMP", key) for key in await store.send("KEYS", "*")}
    for number in numbers[:4]:
        house.settle(0, number, 9)
    await house.pass_time(KEEP_S)
    own_server.command("FLUSHALL")
    for key, value in before.items():
        await store.send("RESTORE", key, 0, value)
    for number in numbers[4:]:
        house.settle(0, number, 9)
    await house.told()

    assert await house.sums() == (spent + 54, 0, 0)


async def test_a_lost_gateway_holds_what_it_had_until_its_lease_ends(open_house, server):
    house = await open_house(server, 2)
    spent = await house.warm_up(0)
    for number in [(await house.reserve(0, 10))[0] for _ in range(3)]:
        house.settle(0, number, 10)  # and nothing of it is told
    lost = house.gateways.pop(0)
    assert await house.sums() == (spent - 10, 200, 1)
    await house.pass_time(119)
    assert (await house.sums())[1] == 200
    await house.pass_time(2)

    assert await lost.shared.store.expire() in {0, 1}
    assert await house.sums() == (spent - 10, 0, 0)


async def test_a_slice_whose_lease_has_ended_is_counted_late_and_not_used(open_house, server):
    house = await open_house(server)
    store = house.gateways[0].shared.store
    spent = await house.warm_up()
    running, _ = await house.reserve(0, 10)
    house.clock.advance(0.1)
    store.skew_us += 121 * 10**6  # paused, or cut off
    assert await store.expire() == 1
    await house.pass_time(KEEP_S)
    _, quick = await house.reserve(0, 10)
    assert not quick
    house.settle(0, running, 8)
    await house.told()

    assert await house.sums() == (spent + 8, 10, 1)


async def mark(house):
    """A cut for the repair, a second and a bit before it comes."""
    mark_ns = await house.gateways[0].shared.store.mark()
    house.clock.advance((mark_ns - house.clock.unix_ns()) / 1e9 - 1.2)
    return mark_ns


async def mend(house, mark_ns, ledger, charge=MONEY):
    """What took effect when the account is compared; None: something from before the mark still runs."""
    store = house.gateways[0].shared.store
    comparison = compare(
        await store.standing((charge,), mark_ns), LedgerReading(mark_ns, {(charge.key, charge.start_ns): ledger})
    )
    if comparison.busy:
        return None
    return (await store.repair(comparison.corrections, mark_ns))[0]


async def test_a_mark_parts_what_slices_came_to(open_house, server):
    house = await open_house(server)
    mark_ns = await mark(house)
    before = await house.warm_up()  # until just before it
    early, quick = await house.reserve(0, 10, unix_ns=mark_ns - 1)
    assert quick
    house.clock.advance(0.3)
    number, quick = await house.reserve(0, 10)
    assert (house.clock.unix_ns() >= mark_ns, quick) == (True, False)
    house.settle(0, number, 10)
    after = 10 + await house.warm_up()
    late, quick = await house.reserve(0, 10, unix_ns=mark_ns - 1)  # began before, and took long to send
    assert not quick
    house.settle(0, late, 1)

    assert await mend(house, mark_ns, 0) is None
    house.settle(0, early, 3)
    for _ in range(3):
        await house.pass_time(KEEP_S)
    await eventually(lambda: not house.gateways[0].budgets.outbox)
    assert house.quotas().busy
    assert await mend(house, mark_ns, before + 3 + 1) == ()
    assert await mend(house, mark_ns, before + 50) == (True,)
    await house.told()
    assert await house.sums() == (before + 50 + after, 0, 0)


async def test_what_a_lost_gateway_did_not_tell_is_mended(open_house, server):
    house = await open_house(server, 2)
    spent = await house.warm_up(0)
    for number in [(await house.reserve(0, 10))[0] for _ in range(3)]:
        house.settle(0, number, 10)
    house.gateways.pop(0)
    mark_ns = await mark(house)
    await house.pass_time(2)
    spent += await house.warm_up(0)
    assert await mend(house, mark_ns, 0) is None
    await house.pass_time(121)
    await house.gateways[0].shared.store.expire()

    assert await mend(house, mark_ns, 41 * 10 + 30) == (True,)
    await house.told()
    assert await house.sums() == (spent + 30, 0, 0)


async def test_what_the_ledger_has_had_the_last_word_on_is_not_counted_again(open_house, server):
    house = await open_house(server)
    store = house.gateways[0].shared.store
    spent = await house.warm_up()
    number, _ = await house.reserve(0, 10)
    mark_ns = await mark(house)
    await house.pass_time(2)
    store.skew_us += 121 * 10**6  # paused, or cut off
    await store.expire()
    assert await mend(house, mark_ns, spent + 8) == (True,)
    house.settle(0, number, 8)
    await house.told()

    assert await house.sums() == (spent + 8, 0, 0)


async def test_at_the_end_everything_is_given_back(open_house, server):
    house, other = await open_house(server), await open_house(server)
    spent = await house.warm_up()
    await house.gateways[0].budgets.__aexit__(None, None, None)

    assert await other.sums() == (spent, 0, 0)
    await house.gateways[0].budgets.__aenter__()


async def test_many_accounts_are_watched_within_a_bound(open_house, server, monkeypatch):
    monkeypatch.setattr("podium.store.redis.budget_quotas._MOST_HOT", 20)
    house = await open_house(server)
    await house.warm_up()
    quotas, now = house.quotas(), house.clock
    for number in range(200):
        charge = make_charge(key=f"b|user{number}|m0")
        quotas.reserve(name(10**6 + number), (charge,), Cost(1, 1), now.unix_ns(), now.monotonic_ns())

    assert len(quotas._hots) == 20
    assert (await house.reserve(0, 10))[1]


class Flaky:
    """A store as slices ask for it; a call may not arrive, or its answer get lost."""

    def __init__(self, store):
        self.store, self.lease_s, self.left, self.trouble = store, store.lease_s, store.left, ""

    async def keep(self, *words):
        trouble, self.trouble = self.trouble, ""
        answer = [] if trouble == "mute" else await self.store.keep(*words)
        if trouble:
            raise StoreUnavailable(StoreTrouble.TIMEOUT, "no answer in time")
        return answer


@dataclass
class Known:
    """An exchange as the model remembers it."""

    who: int
    charges: tuple[Charge, ...]
    estimate: int
    unix_ns: int
    cost: int = 0
    state: str = "running"


class Model:
    """What was admitted and what it cost: everything from the list of exchanges, nothing carried on."""

    def __init__(self):
        self.known = {}
        self.lost = 0  # that a killed gateway had not told

    def counts(self, charge, unix_ns):
        for known in self.known.values():
            mine = next((one for one in known.charges if one.key == charge.key), None)
            oldest_ns = (unix_ns // MINUTE - charge.buckets) * MINUTE if charge.bucket_ns else 0
            if mine is not None:
                yield known, known.unix_ns >= oldest_ns

    def used(self, charge, unix_ns):
        """Settled, and the estimates of what runs."""
        settled = running = 0
        for known, inside in self.counts(charge, unix_ns):
            settled += known.cost if inside else 0
            running += known.estimate if known.state == "running" else 0
        return settled, running

    def has_room(self, charges, estimate, unix_ns):
        return all(
            sum(self.used(charge, unix_ns)) + estimate <= charge.rule.amount for charge in charges if charge.rule.hard
        )

    def check(self, charges, unix_ns):
        """Budgets are exceeded by what cost more than was estimated, by nothing else."""
        unheld = sum(max(0, known.cost - known.estimate) for known in self.known.values())
        for charge in charges:
            if charge.rule.hard:
                assert sum(self.used(charge, unix_ns)) <= charge.rule.amount + unheld + self.lost

    def ledger(self, charge, mark_ns):
        """What the ledger says of an account, of what began before the mark."""
        sums = {}
        for known, _ in self.counts(charge, mark_ns):
            if known.unix_ns < mark_ns and known.cost:
                start_ns = known.unix_ns // MINUTE * MINUTE if charge.bucket_ns else charge.start_ns
                sums[charge.key, start_ns] = sums.get((charge.key, start_ns), 0) + known.cost
        return LedgerReading(mark_ns, sums)


class Walk:
    def __init__(self, house):
        self.house, self.model, self.clock = house, Model(), house.clock
        self.amount, self.quick, self.mark_ns, self.killed, self.trouble = 6000, 0, 0, False, False
        self.alive = list(range(len(house.gateways)))
        for who in self.alive:
            house.quotas(who)._store = Flaky(house.gateways[who].shared.store)

    def charges(self, unix_ns):
        money = make_charge(amount=self.amount, soft=((0.2, self.amount // 5), (0.9, self.amount * 9 // 10)))
        return money, rolling(unix_ns, 9000), WATCHED

    async def exchange(self, number, estimate, percent, lag_s):
        """One begins `lag_s` before it is admitted; with `percent` it ends at once."""
        who, unix_ns = self.alive[number % len(self.alive)], self.clock.unix_ns() - round(lag_s * SECOND)
        charges = self.charges(unix_ns)
        outcome, quick = await self.house.reserve(who, estimate, charges, unix_ns=unix_ns)
        if isinstance(outcome, Refusal):
            if self.model.has_room(charges, estimate, unix_ns) and not self.killed and not self.trouble:
                assert len(self.alive) > 1, "refused for what this gateway holds itself"
                await self.house.come_again()
                outcome, quick = await self.house.reserve(who, estimate, charges, unix_ns=unix_ns)
                assert isinstance(outcome, int), "refused for what is in slices"
            else:
                return
        self.quick += quick
        self.model.known[outcome] = Known(who, charges, estimate, unix_ns)
        self.model.check(charges, unix_ns)
        if percent is not None:
            self.settle(outcome, percent)

    def settle(self, number, percent):
        known = self.model.known[number]
        known.cost, known.state = known.estimate * percent // 100, "ended"
        for _ in range(2):
            self.house.settle(known.who, number, known.cost)

    def running(self):
        return [number for number, known in self.model.known.items() if known.state == "running"]

    async def step(self, kind, number, times, size):
        await getattr(self, kind)(number, times, size)

    async def burst(self, number, times, size):
        for _ in range(times):
            await self.exchange(number, size, None, 0)

    async def flow(self, number, times, size):
        for _ in range(times):
            await self.exchange(number, size, 50, 0)

    async def late(self, number, times, size):
        for _ in range(times):
            await self.exchange(number, 5, None, size / 4)

    async def settled(self, number, times, size):
        for _ in range(times):
            if running := self.running():
                self.settle(running[number % len(running)], size * 4)

    async def release(self, _number, times, _size):
        for one in self.running()[:times]:
            self.house.release(self.model.known[one].who, one)
            self.model.known[one].state = "ended"

    async def advance(self, number, _times, _size):
        await self.house.pass_time([0.1, 0.3, 0.5, 0.5, 0.5, 1.0, 20.0][number % 7])
        self.trouble = self.trouble and any(self.house.quotas(who)._store.trouble for who in self.alive)

    async def fault(self, number, _times, size):
        self.house.quotas(self.alive[number % len(self.alive)])._store.trouble = "deaf" if size % 2 else "mute"
        self.trouble = True

    async def change(self, _number, _times, size):
        self.amount = 6000 + size * 20 - 400

    async def mark(self, _number, _times, _size):
        self.mark_ns = await self.house.gateways[0].shared.store.mark()

    async def lose(self, number, _times, _size):
        if len(self.alive) > 1:
            self.kill(self.alive.pop(number % len(self.alive)))

    def kill(self, who):
        """Nothing is heard of it any more; what it had not told is missing until the repair."""
        self.killed = True
        gone = self.house.gateways[who]
        gone.budgets.quotas._store.trouble = "killed"
        self.house.silenced.add(who)
        for known in self.model.known.values():
            if known.who == who:
                self.model.lost += known.cost or known.estimate
                if known.state == "running":
                    known.cost, known.state = known.estimate, "ended"  # the ledger may know that it cost something

    async def end(self):
        """All ends, and is told: the store stands as the model does, whatever happened on the way."""
        house, model = self.house, self.model
        for number in self.running():
            self.settle(number, 80)
        await house.told()
        store = house.gateways[self.alive[0]].shared.store
        if self.killed:
            for _ in range(4):
                await house.pass_time(40)
            await store.expire()
        now_ns = self.clock.unix_ns()
        for charge in self.charges(now_ns):
            (standing,) = await store.standing((charge,), now_ns)
            settled, _ = model.used(charge, now_ns)
            assert (standing.reserved, standing.running) == (0, 0)
            assert standing.settled == settled or (self.killed and settled - model.lost <= standing.settled <= settled)
        if self.mark_ns:
            for charge in self.charges(self.mark_ns):
                (standing,) = await store.standing((charge,), now_ns)
                comparison = compare((standing,), model.ledger(charge, self.mark_ns))
                assert comparison.busy == ()
                assert comparison.corrections == () or self.killed
        shares = [(one.budget, one.share) for one in house.crossings if one.budget != "rolling"]
        assert len(set(shares)) == len(shares)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("burst"), st.integers(0, 2), st.integers(4, 30), st.integers(1, 30)),
        st.tuples(st.just("flow"), st.integers(0, 2), st.integers(4, 60), st.integers(1, 30)),
        st.tuples(st.just("late"), st.integers(0, 2), st.integers(1, 6), st.integers(1, 30)),
        st.tuples(st.just("settled"), st.integers(0, 50), st.integers(1, 30), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.integers(0, 6), st.just(0), st.just(0)),
        st.tuples(st.just("advance"), st.integers(0, 6), st.just(0), st.just(0)),
        st.tuples(
            st.sampled_from(["release", "fault", "change", "mark", "lose"]),
            st.integers(0, 2),
            st.integers(1, 6),
            st.integers(0, 40),
        ),
    ),
    min_size=6,
    max_size=24,
)
_NAMES = iter(range(10**9))


async def _walk(url, count, steps, warm=True):
    async with AsyncExitStack() as stack:
        walk = Walk(await opened(stack, url, count, prefix=f"{{q{next(_NAMES)}}}"))
        for step in [("flow", who, 20, 5) for who in range(count)] if warm else []:
            await walk.step(*step)
        for step in [("advance", 2, 0, 0), *steps]:
            await walk.step(*step)
        await walk.end()
        return walk.quick


@given(count=st.integers(1, 3), steps=STEPS)
@settings(max_examples=40, deadline=None, database=None)
def test_gateways_with_slices_never_spend_more_than_is_said_and_lose_nothing(shared_server, count, steps):
    asyncio.run(_walk(shared_server.url, count, steps))


def test_the_walk_uses_slices(shared_server):
    turn = [("flow", 0, 20, 3), ("flow", 1, 20, 3), ("burst", 0, 10, 3), ("settled", 0, 8, 20), ("advance", 2, 0, 0)]

    assert asyncio.run(_walk(shared_server.url, 2, turn * 6)) > 150
