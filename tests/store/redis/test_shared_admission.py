import asyncio
import time

from podium.economics.budgets.values import Cost, Refusal, Reservation
from podium.store.redis.limits import RedisGrant
from podium.testing.budget_conformance import make_charge
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import Bucket, charge_of
from podium.traffic.limiting.buckets import Refusal as LimitRefusal
from podium.traffic.limiting.limiter import Grant

HOUR = 3600 * 10**9
BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}
REQUESTS = Bucket(key="requests", what="requests", amount=3, window_ns=HOUR)
PLACES = Bucket(key="places", what="concurrency", amount=3)
BUCKETS = (REQUESTS, PLACES)
CHARGE = make_charge(amount=100)
ONE = charge_of(0, 0)


def asked(number, usd=10):
    return Reservation(number.to_bytes(16, "big"), (CHARGE,), Cost(usd, usd), 1_760_000_000_000_000_000)


def admit(gateway, number, usd=10):
    return gateway.shared.admission.admit(BUCKETS, ONE, asked(number, usd), gateway.clock.monotonic_ns())


async def standings(gateway):
    """What is left of limits; what is settled, reserved and running of the budget."""
    left = [(await gateway.limits.look_now(bucket)).left for bucket in BUCKETS]
    (account,) = await gateway.shared.store.standing((CHARGE,), gateway.clock.unix_ns())
    return left, (account.settled, account.reserved, account.running)


async def test_both_are_given_in_one_round_trip_and_ended_each_by_itself(open_gateway, server):
    gateway = await open_gateway(server, member_ttl_s=60)
    for number in range(2):  # until the script is known to each connection
        grant, _ = await admit(gateway, number, usd=0)
        gateway.release(grant)
        gateway.spend(number, 0)
    await eventually(lambda: gateway.untold == 0)
    server.command("CONFIG", "RESETSTAT")

    grant, held = await admit(gateway, 7, usd=60)
    assert "cmdstat_evalsha:calls=1," in server.command("INFO", "commandstats")
    assert isinstance(grant, RedisGrant) and held == asked(7, 60)
    assert await standings(gateway) == ([2, 2], (0, 60, 1))

    gateway.settle(grant, ONE)
    gateway.spend(7, 20)
    await eventually(lambda: gateway.untold == 0)
    assert await standings(gateway) == ([2, 3], (20, 0, 0))


async def test_who_has_no_room_in_limits_holds_nothing_of_budgets(open_gateway, server):
    gateway = await open_gateway(server)
    for number in range(3):
        await admit(gateway, number)

    refused, held = await admit(gateway, 4)

    assert isinstance(refused, LimitRefusal) and refused.bucket in BUCKETS and held is None
    assert await standings(gateway) == ([0, 0], (0, 30, 3))


async def test_who_has_no_room_in_budgets_takes_nothing_of_limits(open_gateway, server):
    gateway = await open_gateway(server)
    first, _ = await admit(gateway, 1, usd=60)

    grant, refused = await admit(gateway, 2, usd=60)

    assert isinstance(refused, Refusal) and refused.budget == "b"
    assert [standing.left for standing in gateway.limits.standings(grant, gateway.clock.monotonic_ns())] == [2, 2]
    gateway.release(grant)
    await eventually(lambda: gateway.untold == 0)
    assert gateway.limits.running == gateway.budgets.running == 1
    assert await standings(gateway) == ([2, 2], (0, 60, 1))
    gateway.release(first)


async def test_a_stalled_store_costs_both_one_time_limit_and_keeps_nothing(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    first, _ = await admit(gateway, 1)
    own_server.stall()
    began = time.monotonic()
    grant, held = await admit(gateway, 2)
    assert time.monotonic() - began < 1
    assert type(grant) is Grant and held == asked(2)
    own_server.resume()
    await eventually(lambda: gateway.client.state == "up")
    gateway.release(first)
    gateway.release(grant)
    gateway.budgets.release((1).to_bytes(16, "big"))
    gateway.budgets.release((2).to_bytes(16, "big"))

    await eventually(lambda: gateway.untold == 0)
    assert await standings(gateway) == ([3, 3], (0, 0, 0))


async def test_a_store_that_is_known_to_be_down_leaves_each_to_decide_alone(own_server, open_gateway):
    gateway = await open_gateway(own_server, **BRISK)
    own_server.kill()
    await eventually(lambda: gateway.client.state == "down")

    assert admit(gateway, 1) is None


async def test_who_goes_away_meanwhile_keeps_nothing(open_gateway, server):
    gateway = await open_gateway(server)
    await admit(gateway, 1)
    gone = [asyncio.ensure_future(admit(gateway, number)) for number in range(2, 4)]
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    await asyncio.gather(*gone, return_exceptions=True)

    await eventually(lambda: gateway.untold == 0)
    assert await standings(gateway) == ([2, 2], (0, 10, 1))


async def test_a_key_that_is_not_ours_leaves_both_to_the_local_shares(open_gateway, server):
    gateway = await open_gateway(server)
    server.command("LPUSH", "{podium}:limit2:bucket:requests", "?")

    grant, held = await admit(gateway, 1)

    assert type(grant) is Grant and isinstance(held, Reservation)
    assert gateway.budgets.granted_here == gateway.limits.local.granted == 1
