import asyncio
from contextlib import asynccontextmanager

import pytest

from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.notices import Listener, Notice, Notices
from podium.store.redis.scripts import Scripts
from podium.testing.waiting import eventually

HASTY_S = 0.05
NEVER_S = 3600


@asynccontextmanager
async def listening(client, *topics, poll_s):
    heard = []
    async with Listener(client, topics, heard.append, poll_s=poll_s) as listener:
        await eventually(lambda: listener.subscribed)
        yield heard


async def test_a_notice_is_pushed_to_all_who_listen(client, scripts, open_client, server):
    other = await open_client(server)
    async with (
        listening(client, "snapshot", "revoked", poll_s=NEVER_S) as one,
        listening(other, "snapshot", poll_s=NEVER_S) as two,
    ):
        notices = Notices(client, scripts)
        version = await notices.give("snapshot", b"7 \x00")
        later = await notices.give("revoked", b"k1")

        await eventually(lambda: len(one) == 2 and len(two) == 1)

    assert one == [Notice("snapshot", version, b"7 \x00"), Notice("revoked", later, b"k1")]
    assert two == one[:1]
    assert client.figures.messages == 2


async def test_a_lost_push_is_noticed_by_polling(client, scripts):
    async with listening(client, "revoked", poll_s=HASTY_S) as heard:
        versions = [await Notices(client, scripts).give("revoked", b"k1")]
        await eventually(lambda: heard)
        await client.send("SET", "{podium}:notice1:revoked", versions[0] + 1)  # as if its push had been lost

        await eventually(lambda: len(heard) == 2)

    assert heard[1] == Notice("revoked", versions[0] + 1, None)
    assert client.figures.messages_missed == 1


async def test_what_was_told_before_is_told_at_the_start(client, scripts):
    version = await Notices(client, scripts).give("snapshot", b"1")

    async with listening(client, "snapshot", poll_s=HASTY_S) as heard:
        await eventually(lambda: heard)

    assert heard == [Notice("snapshot", version, None)]


@pytest.mark.parametrize("keep_data", [True, False])
async def test_notices_go_on_after_a_failover(own_server, open_client, keep_data):
    client = await open_client(own_server, timeout_ms=500)
    notices = Notices(client, Scripts(client))
    async with listening(client, "revoked", poll_s=HASTY_S) as heard:
        first = await notices.give("revoked", b"k1")
        await eventually(lambda: heard)
        own_server.restart(keep_data=keep_data)
        second = await notices.give("revoked", b"k2")

        await eventually(lambda: heard[-1].version == second)

    assert second > first


async def test_a_stalled_server_is_left_and_found_again(own_server, open_client):
    client = await open_client(own_server, timeout_ms=100, connect_timeout_ms=200)
    notices = Notices(client, Scripts(client))
    heard = []
    async with Listener(client, ("revoked",), heard.append, poll_s=HASTY_S) as listener:
        await eventually(lambda: listener.subscribed)
        own_server.stall()
        await eventually(lambda: not listener.subscribed)
        with pytest.raises(StoreUnavailable):
            await notices.give("revoked", b"k1")
        own_server.resume()
        await eventually(lambda: listener.subscribed and client.state == "up")

        version = await notices.give("revoked", b"k2")
        await eventually(lambda: heard and heard[-1].version == version)


async def test_a_quiet_subscription_is_kept(client):
    async with listening(client, "snapshot", poll_s=0.02):
        connections = await client.send("CLIENT", "LIST", "TYPE", "pubsub")
        await asyncio.sleep(0.1)  # five polls, more than a silent connection is given

        assert await _ids(client) == [part for part in connections.split() if part.startswith(b"id=")]


async def _ids(client):
    listed = await client.send("CLIENT", "LIST", "TYPE", "pubsub")
    return [part for part in listed.split() if part.startswith(b"id=")]
