import re
import time

import pytest
from redis.exceptions import ResponseError

from podium.store.redis.circuit import StoreState
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.scripts import Script, Scripts, script
from podium.testing.redis_server import RedisServer
from podium.testing.waiting import eventually

TAKE = ("{t}:lease", "{t}:fence")


def test_a_scripts_name_carries_its_content():
    taken = script("lease_take")

    assert re.fullmatch(r"lease_take@[0-9a-f]{8}", taken.name)
    assert taken.text.startswith(f"-- podium {taken.name}\n")
    assert taken is script("lease_take")
    assert script("lease_end").digest != taken.digest


async def run(scripts):
    return (await scripts.run(script("lease_take"), TAKE, "me", 1000, 0))[0]


async def test_a_script_is_sent_whole_once(client, scripts):
    assert [await run(scripts) for _ in range(3)] == [1, 1, 1]
    assert client.figures.scripts_sent_whole == 1


async def test_a_server_that_forgot_its_scripts_is_taught_again(client, scripts, server):
    await run(scripts)
    server.command("SCRIPT", "FLUSH")

    assert await run(scripts) == 1
    assert client.figures.scripts_sent_whole == 2


@pytest.mark.parametrize("how", ["acl", "renamed"])
async def test_where_evalsha_and_script_are_forbidden_scripts_go_whole(open_client, how):
    with RedisServer(renamed=("EVALSHA", "SCRIPT") if how == "renamed" else ()) as server:
        if how == "acl":
            server.forbid("evalsha", "script")
        client = await open_client(server)
        scripts = Scripts(client)

        assert [await run(scripts) for _ in range(3)] == [1, 1, 1]
        assert client.figures.scripts_sent_whole == 3
        assert client.state is StoreState.UP


@pytest.mark.parametrize("how", ["acl", "renamed"])
async def test_a_store_that_forbids_eval_is_unusable_and_says_so(open_client, how):
    with RedisServer(renamed=("EVALSHA", "EVAL") if how == "renamed" else ()) as server:
        if how == "acl":
            server.forbid("evalsha", "eval")
        client = await open_client(server)

        assert client.state is StoreState.UNUSABLE
        assert "EVAL" in client.sentence
        with pytest.raises(StoreUnavailable) as refused:
            await run(Scripts(client))
        assert refused.value.trouble is StoreTrouble.UNUSABLE
        assert client.figures.times_unusable == 1
        if how == "acl":
            server.allow("evalsha", "eval")
            await eventually(lambda: client.state is StoreState.UP)
            assert await run(Scripts(client)) == 1


async def test_a_store_that_forbids_what_a_script_does_is_unusable(own_server, open_client):
    client = await open_client(own_server, probe_interval_ms=60_000)
    own_server.forbid("hmget")

    with pytest.raises(StoreUnavailable):
        await run(Scripts(client))

    assert client.state is StoreState.UNUSABLE
    assert "lease_take@" in client.sentence


async def test_a_wrong_script_is_a_bug_and_no_trouble_of_the_store(client, scripts):
    with pytest.raises(ResponseError, match="script"):
        await scripts.run(Script("wrong", "return nil + 1", "0" * 40), ())

    assert client.state is StoreState.UP


async def test_being_sent_whole_takes_no_time_of_its_own(own_server, open_client, relayed):
    async with relayed(own_server.port) as relay:
        client = await open_client(own_server, url=f"redis://127.0.0.1:{relay.port}/0", timeout_ms=400)
        relay.slowness_s = 0.15  # one way: the first answer comes in time, a second one cannot
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await run(Scripts(client))

    assert caught.value.trouble in {StoreTrouble.TIMEOUT, StoreTrouble.BUSY}
    assert time.monotonic() - began < 2
