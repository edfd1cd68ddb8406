import asyncio

import pytest

from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.leases import Held, Lease, Leases
from podium.store.redis.scripts import Scripts
from podium.testing.waiting import eventually


@pytest.fixture
def leases(client, scripts):
    return Leases(client, scripts)


async def test_only_one_of_many_gets_it(leases):
    ends = await asyncio.gather(*(leases.take("model-list", f"gateway-{number}", 5000) for number in range(50)))

    (winner,) = [end for end in ends if isinstance(end, Lease)]
    assert all(0 < end.remaining_ms <= 5000 for end in ends if isinstance(end, Held))
    assert await leases.end(winner) is True
    assert isinstance(await leases.take("model-list", "another", 5000), Lease)


async def test_who_has_it_may_take_it_again_with_the_same_token(leases):
    first = await leases.take("n", "alice", 5000)

    assert await leases.take("n", "alice", 5000) == first
    assert isinstance(await leases.take("n", "bob", 5000), Held)


async def test_a_later_holders_token_is_greater(leases):
    tokens = []
    for owner in ("alice", "bob", "alice"):
        lease = await leases.take("n", owner, 5000)
        tokens.append(lease.token)
        await leases.end(lease)

    assert tokens == sorted(set(tokens))


async def test_an_expired_lease_is_lost_and_says_so(leases):
    lost = await leases.take("n", "alice", 1)
    taken = []

    async def try_it():
        taken.append(await leases.take("n", "bob", 5000))
        return isinstance(taken[-1], Lease)

    while not await try_it():
        pass

    assert taken[-1].token > lost.token
    assert await leases.renew(lost, 5000) is False
    assert await leases.end(lost) is False
    assert isinstance(await leases.take("n", "carol", 5000), Held)


async def test_a_renewed_lease_holds_on(leases, server):
    lease = await leases.take("n", "alice", 1000)

    assert await leases.renew(lease, 60_000) is True
    assert server.command("PTTL", "{podium}:lease1:n") > 50_000


async def test_tokens_grow_though_the_server_lost_everything(own_server, open_client):
    client = await open_client(own_server)
    leases = Leases(client, Scripts(client))
    before = await leases.take("n", "alice", 60_000)

    own_server.restart(keep_data=False)
    after = await leases.take("n", "bob", 60_000)

    assert after.token > before.token
    assert await leases.end(before) is False


async def test_nobody_holds_a_lease_that_was_asked_for_before_a_stall(own_server, open_client):
    client = await open_client(own_server, timeout_ms=100, connect_timeout_ms=200)
    leases = Leases(client, Scripts(client))
    await leases.take("warm", "alice", 1)
    own_server.stall()
    with pytest.raises(StoreUnavailable) as timed_out:
        await leases.take("n", "alice", 60_000)
    await asyncio.sleep(0.15)  # the stall has to last longer than the deadline
    own_server.resume()

    await eventually(lambda: client.state == "up")

    assert timed_out.value.in_doubt
    assert isinstance(await leases.take("n", "bob", 1000), Lease)


async def test_a_lease_is_taken_though_the_servers_clock_was_set(leases, client):
    client.learn_time(1_000_000)  # as if the clock had stood in 1970 until now

    assert isinstance(await leases.take("n", "alice", 1000), Lease)
    assert client.figures.late == 1
