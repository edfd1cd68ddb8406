import asyncio
import inspect
import time

import pytest

from podium.economics.budgets.values import Cost, Refusal, RefusalCause, Reservation
from podium.testing.budget_conformance import make_charge
from podium.testing.waiting import eventually

BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}
CHARGE = make_charge()  # 100 nano-dollars
TOKENS = make_charge("tokens", 1000, key="tokens|acme|m0", unit="tokens")


async def sums(gateway, charge=CHARGE):
    (standing,) = await gateway.shared.store.standing((charge,), gateway.clock.unix_ns())
    return standing.settled, standing.reserved


async def away(*gateways):
    await eventually(lambda: all(gateway.client.state != "up" for gateway in gateways))


async def back(*gateways):
    await eventually(lambda: all(gateway.client.state == "up" and not gateway.untold for gateway in gateways))


async def test_only_what_the_store_has_to_decide_is_waited_for(open_gateway, server):
    gateway = await open_gateway(server)

    asked = gateway.budgets.reserve(bytes(16), (CHARGE,), Cost(1, 1), 0, 0)

    assert inspect.isawaitable(asked)
    assert isinstance(await asked, Reservation)
    assert gateway.budgets.reserve(bytes(15), (), Cost(1, 1), 7, 0) == Reservation(bytes(15), (), Cost(1, 1), 7)
    gateway.budgets.settle(bytes(15), Cost(5, 5))
    assert gateway.untold == 0


async def test_gateways_together_never_spend_more_than_there_is(open_gateway, server):
    gateways = [await open_gateway(server, name) for name in ("one", "two")]

    answers = await asyncio.gather(*(gateways[n % 2].reserve(n, (CHARGE,)) for n in range(40)))

    assert sum(isinstance(answer, Reservation) for answer in answers) == 10


async def test_ends_are_told_once_and_free_the_room_for_what_is_asked_next(open_gateway, server):
    gateway = await open_gateway(server)
    for number in range(12):
        assert isinstance(await gateway.reserve(number, (CHARGE,), usd=50), Reservation)
        for _ in range(2):
            gateway.spend(number, 4)
    await gateway.reserve(99, (CHARGE,), usd=50)
    gateway.budgets.release((99).to_bytes(16, "big"))
    gateway.spend(99, 4)
    await eventually(lambda: not gateway.untold)

    assert await sums(gateway) == (48, 0)
    assert gateway.budgets.running == 0


async def test_soft_marks_go_to_the_listener(open_gateway, server):
    crossings = []
    gateway = await open_gateway(server, crossed=crossings.append)
    charge = make_charge(soft=((0.5, 50), (0.8, 80)))

    for number, cost in enumerate((49, 1, 40)):
        await gateway.reserve(number, (charge,))
        gateway.spend(number, cost)
        await eventually(lambda: not gateway.untold)

    assert [(one.share, one.settled) for one in crossings] == [(0.5, 50), (0.8, 90)]


async def test_without_the_store_each_gateway_spends_its_share_of_what_was_left(own_server, open_gateway):
    gateways = [await open_gateway(own_server, name, **BRISK) for name in ("one", "two")]
    await eventually(lambda: all(gateway.members.count == 2 for gateway in gateways))
    await gateways[0].reserve(1, (CHARGE,), usd=40)
    gateways[0].spend(1, 40)
    for number, gateway in enumerate(gateways, 2):
        await gateway.reserve(number, (CHARGE,), usd=1)
        gateway.spend(number, 1)
    await eventually(lambda: not any(gateway.untold for gateway in gateways))
    own_server.kill()
    await away(*gateways)

    # 59 were left when the first was last told, 58 when the second was.
    answers = [
        await gateway.reserve(n + 100 * i, (CHARGE,), usd=5) for i, gateway in enumerate(gateways, 1) for n in range(9)
    ]
    assert sum(isinstance(answer, Reservation) for answer in answers) == 11
    assert [gateway.budgets.granted_here for gateway in gateways] == [6, 5]  # of 30 and of 29
    for i, gateway in enumerate(gateways, 1):
        for n in range(9):
            gateway.spend(n + 100 * i, 5)

    own_server.start()
    await back(*gateways)
    assert await sums(gateways[0]) == (97, 0)


async def test_of_an_account_that_was_never_seen_a_gateway_spends_its_share_of_all(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    await open_gateway(own_server, "two", **BRISK)
    await eventually(lambda: gateway.members.count == 2)
    own_server.kill()
    await away(gateway)

    answers = [await gateway.reserve(n, (CHARGE, TOKENS), usd=20) for n in range(4)]

    assert [type(answer) for answer in answers] == [Reservation] * 2 + [Refusal] * 2
    refusal = answers[-1]
    assert (refusal.budget, refusal.retry_after_s, refusal.resets_unix_ns) == ("b", 1.0, None)
    assert "share" in refusal.message
    assert refusal.standing.charge == CHARGE
    assert (await gateway.reserve(7, (CHARGE,), usd=70)).cause is RefusalCause.SPENT
    assert (await gateway.reserve(8, (CHARGE,), usd=101)).cause is RefusalCause.TOO_LARGE


async def test_what_was_admitted_here_is_counted_once_when_the_store_is_back(own_server, open_gateway):
    crossings = []
    gateway = await open_gateway(own_server, crossed=crossings.append, **BRISK)
    charge = make_charge(soft=((0.5, 50),))
    await gateway.reserve(1, (charge,), usd=30)
    own_server.kill()
    await away(gateway)
    for number in (2, 3, 4):
        assert isinstance(await gateway.reserve(number, (charge,), usd=20), Reservation)
    gateway.spend(1, 25)
    gateway.spend(2, 15)
    gateway.spend(2, 15)
    gateway.budgets.release((3).to_bytes(16, "big"))

    own_server.start()
    await back(gateway)
    assert await sums(gateway, charge) == (40, 0)
    gateway.spend(4, 20)
    await eventually(lambda: not gateway.untold)

    assert await sums(gateway, charge) == (60, 0)
    assert [one.share for one in crossings] == [0.5]


async def test_losing_the_store_again_and_again_opens_no_new_room(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    spent = 0
    for turn in range(3):
        await gateway.reserve(turn, (CHARGE,), usd=1)
        gateway.spend(turn, 1)
        spent += 1
        await eventually(lambda: not gateway.untold)
        own_server.kill()
        await away(gateway)
        for number in range(100 * (turn + 1), 100 * (turn + 1) + 4):
            if isinstance(await gateway.reserve(number, (CHARGE,), usd=20), Reservation):
                gateway.spend(number, 20)
                spent += 20
        own_server.start()
        await back(gateway)

    assert spent <= 100
    assert await sums(gateway) == (spent, 0)


@pytest.mark.parametrize("ended", [False, True])
async def test_what_the_store_does_not_know_yet_is_no_room(ended, own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    own_server.kill()
    await away(gateway)
    assert isinstance(await gateway.reserve(1, (CHARGE,), usd=60), Reservation)
    if ended:
        gateway.spend(1, 60)
    gateway.shared.store.left[CHARGE.key] = (9, 90)  # as it was told in between, without those 60

    assert isinstance(await gateway.reserve(2, (CHARGE,), usd=31), Refusal)
    assert isinstance(await gateway.reserve(3, (CHARGE,), usd=30), Reservation)


async def test_a_reservation_that_was_in_doubt_is_counted_once(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    await gateway.reserve(1, (CHARGE,), usd=10)
    number = (2).to_bytes(16, "big")
    await gateway.shared.store.reserve(
        number, (CHARGE,), Cost(30, 0), gateway.clock.unix_ns()
    )  # done, but not heard of
    made = gateway.budgets.decide(number, (CHARGE,), Cost(30, 0), gateway.clock.unix_ns(), 0, in_doubt=True)

    assert await sums(gateway) == (0, 40)
    gateway.budgets.settle(made.id, Cost(25, 0))
    await eventually(lambda: not gateway.untold)
    assert await sums(gateway) == (25, 10)


@pytest.mark.parametrize("ended", ["released", "refused"])
async def test_a_reservation_that_was_in_doubt_is_given_back(ended, open_gateway, server):
    gateway = await open_gateway(server)
    number, now_ns = (2).to_bytes(16, "big"), gateway.clock.unix_ns()
    await gateway.shared.store.reserve(number, (CHARGE,), Cost(40, 0), now_ns)  # done, but not heard of

    gateway.budgets.decide(number, (CHARGE,), Cost(40 if ended == "released" else 61, 0), now_ns, 0, in_doubt=True)
    gateway.budgets.release(number)
    await eventually(lambda: not gateway.untold)

    assert await sums(gateway) == (0, 0)


async def test_a_stalled_store_costs_no_more_than_its_time_limit_and_holds_nothing_afterwards(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    await gateway.reserve(0, (CHARGE,), usd=10)
    own_server.stall()
    began = time.monotonic()
    answers = [await gateway.reserve(n, (CHARGE,), usd=30) for n in range(1, 8)]
    assert time.monotonic() - began < 2.0
    assert [type(answer) for answer in answers] == [Reservation] * 3 + [Refusal] * 4
    for number in range(8):
        gateway.spend(number, 10)
    await away(gateway)
    await asyncio.sleep(0.15)  # the stall has to outlast the deadlines
    own_server.resume()
    await back(gateway)

    assert await sums(gateway) == (40, 0)


async def test_a_store_that_lost_its_data_is_told_nothing_wrong(own_server, open_gateway):
    gateway = await open_gateway(own_server)
    await gateway.reserve(1, (CHARGE,), usd=30)
    own_server.restart(keep_data=False)
    gateway.spend(1, 30)
    await back(gateway)

    assert await sums(gateway) == (0, 0)  # the repair finds it in the ledger
    assert isinstance(await gateway.reserve(2, (CHARGE,), usd=30), Reservation)


async def test_what_was_reserved_survives_a_restart(own_server, open_gateway):
    gateway = await open_gateway(own_server)
    await gateway.reserve(1, (CHARGE,), usd=30)
    own_server.restart()
    gateway.spend(1, 20)
    await back(gateway)

    assert await sums(gateway) == (20, 0)


async def test_a_store_that_forbids_scripts_is_done_without(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    own_server.forbid("EVAL", "EVALSHA")
    answers = [await gateway.reserve(n, (CHARGE,), usd=40) for n in range(3)]
    assert [type(answer) for answer in answers] == [Reservation, Reservation, Refusal]
    for number in range(2):
        gateway.spend(number, 30)

    own_server.allow("EVAL", "EVALSHA")
    await back(gateway)
    assert await sums(gateway) == (60, 0)


async def test_a_long_exchange_keeps_what_it_holds_and_a_lost_gateway_does_not(open_gateway, server):
    gateway = await open_gateway(server, lease_s=0.12)
    await gateway.reserve(1, (CHARGE,), usd=30)
    await gateway.reserve(2, (CHARGE,), usd=40)
    gateway.budgets._leases.end((2).to_bytes(16, "big"))  # as if its gateway had died

    await eventually(lambda: gateway.client.figures.calls > 14)
    await gateway.shared.store.expire()
    assert await sums(gateway) == (0, 30)


async def test_ends_that_cannot_be_told_are_given_up_and_counted(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK, lease_s=0.2)
    await gateway.reserve(1, (CHARGE,), usd=30)
    own_server.kill()
    gateway.spend(1, 20)

    await eventually(lambda: gateway.budgets.outbox.given_up == 1)
    assert gateway.untold == 0


async def test_who_goes_away_while_it_is_decided_holds_nothing(open_gateway, server):
    gateway = await open_gateway(server)
    await gateway.reserve(1, (CHARGE,))
    asked = asyncio.create_task(gateway.reserve(2, (CHARGE,)))
    for _ in range(3):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await eventually(lambda: not gateway.untold)

    assert await sums(gateway) == (0, 10)
