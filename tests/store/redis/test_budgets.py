import asyncio

import pytest

from podium.economics.budgets.repair import LedgerReading, compare
from podium.economics.budgets.values import Cost, Refusal, Reservation, SettlementOutcome
from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.scripts import Scripts
from podium.testing.budget_conformance import make_charge
from podium.testing.waiting import eventually

NOW_NS = 1_760_000_000_000_000_000
BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}
CHARGE = make_charge()


def store_of(client, lease_s=600):
    return RedisBudgetStore(client, Scripts(client), lease_s=lease_s)


def reserve(store, number, usd=10):
    return store.reserve(number.to_bytes(16, "big"), (CHARGE,), Cost(usd, 0), NOW_NS)


async def test_many_gateways_never_spend_more_than_there_is(open_client, server):
    stores = [store_of(await open_client(server)) for _ in range(3)]

    answers = await asyncio.gather(*(reserve(stores[number % 3], number) for number in range(60)))

    assert sum(isinstance(answer, Reservation) for answer in answers) == 10
    assert sum(isinstance(answer, Refusal) for answer in answers) == 50


async def test_what_was_reserved_and_settled_survives_a_failover(own_server, open_client):
    store = store_of(await open_client(own_server))
    await reserve(store, 1)
    await reserve(store, 2)
    await store.settle((1).to_bytes(16, "big"), Cost(7, 0))
    own_server.restart()

    assert (await store.settle((2).to_bytes(16, "big"), Cost(8, 0))).outcome is SettlementOutcome.COUNTED
    (standing,) = await store.standing((CHARGE,), NOW_NS)
    assert (standing.settled, standing.reserved) == (15, 0)


async def test_an_end_of_what_the_store_has_lost_changes_nothing(own_server, open_client):
    store = store_of(await open_client(own_server))
    await reserve(store, 1)
    own_server.restart(keep_data=False)

    assert (await store.settle((1).to_bytes(16, "big"), Cost(7, 0))).outcome is SettlementOutcome.UNKNOWN
    (standing,) = await store.standing((CHARGE,), NOW_NS)
    assert (standing.settled, standing.reserved) == (0, 0)


async def test_a_reservation_that_the_server_reads_after_a_stall_is_not_made(own_server, open_client):
    client = await open_client(own_server, **BRISK)
    store = store_of(client)
    await reserve(store, 1)
    own_server.stall()

    with pytest.raises(StoreUnavailable) as timed_out:
        await reserve(store, 2, usd=90)
    await eventually(lambda: client.state == "down")
    await asyncio.sleep(0.15)  # the stall has to outlast the deadline
    own_server.resume()
    await eventually(lambda: client.state == "up")

    assert timed_out.value.trouble is StoreTrouble.TIMEOUT
    (standing,) = await store.standing((CHARGE,), NOW_NS)
    assert (standing.reserved, standing.running) == (10, 1)


async def test_every_key_but_the_index_and_the_mark_ends_by_itself(open_client, server):
    store = store_of(await open_client(server))
    await store.mark()
    await reserve(store, 1)

    lasting = {key.decode() for key in server.command("KEYS", "*") if server.command("PTTL", key) == -1}

    assert lasting == {"{podium}:budget2:mark", "{podium}:budget2:accounts", "{podium}:budget2:leases"}


async def test_accounts_that_are_gone_leave_the_pages(open_client, server):
    store = store_of(await open_client(server))
    await reserve(store, 1)
    server.command("DEL", f"{{podium}}:budget2:account:{CHARGE.key}")

    assert await store.accounts("", 10) == ()
    assert server.command("ZCARD", "{podium}:budget2:accounts") == 0


async def test_a_cost_that_was_admitted_without_the_store_counts_once(client):
    store = store_of(client)
    name = (1).to_bytes(16, "big")

    outcomes = [(await store.count(name, (CHARGE,), Cost(7, 0), NOW_NS)).outcome for _ in range(2)]

    assert outcomes == [SettlementOutcome.COUNTED_LATE, SettlementOutcome.ALREADY]
    assert (await store.settle(name, Cost(7, 0))).outcome is SettlementOutcome.ALREADY
    assert (await store.standing((CHARGE,), NOW_NS))[0].settled == 7


async def test_a_cost_that_the_ledger_has_had_the_last_word_on_is_not_counted_again(client):
    store = store_of(client)
    mark_ns = await store.mark()
    standings = await store.standing((CHARGE,), mark_ns)
    corrections = compare(standings, LedgerReading(mark_ns, {(CHARGE.key, 0): 7})).corrections
    await store.repair(corrections, mark_ns)

    told = await store.count((1).to_bytes(16, "big"), (CHARGE,), Cost(7, 0), mark_ns - 1)

    assert told.outcome is SettlementOutcome.MENDED
    assert (await store.standing((CHARGE,), mark_ns))[0].settled == 7


async def test_what_ends_in_an_account_that_was_lost_is_left_to_the_repair(client, server):
    store = store_of(client)
    for number in (1, 2):
        await reserve(store, number)
    server.command("DEL", f"{{podium}}:budget2:account:{CHARGE.key}")

    assert (await store.settle((1).to_bytes(16, "big"), Cost(7, 0))).outcome is SettlementOutcome.COUNTED
    store.skew_us += 601 * 10**6
    assert await store.expire() == 1
    assert (await store.settle((2).to_bytes(16, "big"), Cost(7, 0))).outcome is SettlementOutcome.MENDED
    (standing,) = await store.standing((CHARGE,), NOW_NS)
    assert (standing.settled, standing.reserved) == (0, 0)


async def test_what_has_ended_takes_little_room_and_not_for_long(client, server):
    store = store_of(client)
    await reserve(store, 1)
    await store.settle((1).to_bytes(16, "big"), Cost(7, 0))
    (key,) = [key for key in server.command("KEYS", "*") if b"reservation" in key]

    assert server.command("STRLEN", key) < 80
    assert 600_000 < server.command("PTTL", key) <= 2 * 600_000  # the lease, and ten minutes
