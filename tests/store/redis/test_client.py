import asyncio
import ssl
import time
from collections import Counter

import pytest
import trustme
from redis.exceptions import ResponseError

from podium.core.errors import OperatorError
from podium.store.redis.circuit import StoreState
from podium.store.redis.client import RedisClient
from podium.store.redis.connection import RedisConnection
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.settings import RedisSettings
from podium.testing.redis_server import RedisServer
from podium.testing.waiting import eventually

BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200, "probe_interval_ms": 50}
GENEROUS_S = 0.25  # over a limit that is kept, for a machine that does other things


async def trouble_of(client):
    """What one call ends in, and how long that takes."""
    began = time.monotonic()
    try:
        await client.send("PING")
    except StoreUnavailable as error:
        return error.trouble, time.monotonic() - began
    return None, time.monotonic() - began


async def test_a_call_gets_its_own_answer(client):
    assert await client.send("SET", "k", b"\x00value") == b"OK"
    assert await client.send("GET", "k") == b"\x00value"
    assert await client.send("INCRBY", "n", 3) == 3
    assert client.figures.calls == 3


async def test_calls_of_one_turn_of_the_loop_make_one_round_trip(client):
    before = client.figures.round_trips

    answers = await asyncio.gather(*(client.send("ECHO", f"{number}") for number in range(100)))

    assert answers == [b"%d" % number for number in range(100)]
    assert client.figures.round_trips - before == 1


async def test_what_nobody_waits_for_goes_out_first_in_the_same_round_trip(client):
    await client.send("SET", "k", "before")
    news = [("SET", "k", "after")]
    client.before_each_batch(lambda: client.send(*news.pop()) if news else None)
    before = client.figures.round_trips

    assert await asyncio.gather(client.send("GET", "k"), client.send("ECHO", "x")) == [b"after", b"x"]
    assert client.figures.round_trips - before == 1


async def test_what_is_more_than_a_batch_goes_in_several(client):
    answers = await asyncio.gather(*(client.send("ECHO", f"{number}") for number in range(1000)))

    assert answers == [b"%d" % number for number in range(1000)]


async def test_a_bug_in_a_batch_hangs_nobody(client, monkeypatch):
    async def broken(self, commands):
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr("podium.store.redis.connection.RedisConnection.exchange", broken)
        with pytest.raises(StoreUnavailable) as failed:
            await client.send("PING")
    await eventually(lambda: client.state is StoreState.UP)

    assert failed.value.trouble is StoreTrouble.BROKEN
    assert await client.send("PING") == b"PONG"


async def test_a_wrong_command_fails_alone(client):
    right, wrong, other = await asyncio.gather(
        client.send("PING"), client.send("INCR"), client.send("PING"), return_exceptions=True
    )

    assert (right, other) == (b"PONG", b"PONG")
    assert isinstance(wrong, ResponseError)
    assert client.state is StoreState.UP


async def test_a_call_that_nobody_waits_for_is_not_sent(client):
    given_up = client.send("SET", "given-up", 1)
    given_up.cancel()

    assert await client.send("GET", "given-up") is None


async def test_more_calls_than_the_queue_holds_are_refused_at_once(open_client, server):
    client = await open_client(server, queue=3)
    waiting = [client.send("PING") for _ in range(3)]

    with pytest.raises(StoreUnavailable) as refused:
        client.send("PING")

    assert refused.value.trouble is StoreTrouble.BUSY
    assert await asyncio.gather(*waiting) == [b"PONG"] * 3
    assert client.state is StoreState.UP


async def test_waiting_for_a_turn_is_no_failure_of_the_store(open_client, server):
    client = await open_client(server, connections=1, timeout_ms=100, failures_to_open=2)
    slow = client.send("EVAL", "for i = 1, 30000000 do end return 1", 0)  # longer than the limit
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queued = [client.send("PING") for _ in range(20)]

    ends = await asyncio.gather(slow, *queued, return_exceptions=True)

    assert Counter(type(end) for end in ends)[StoreUnavailable] >= 1
    assert ends[0].trouble is StoreTrouble.TIMEOUT
    assert client.figures.times_down == 0


async def test_a_dead_store_costs_a_call_nothing(own_server, open_client):
    client = await open_client(own_server, **BRISK)
    own_server.kill()

    ends = [await trouble_of(client) for _ in range(5)]

    assert {trouble for trouble, _ in ends} <= {StoreTrouble.BROKEN, StoreTrouble.DOWN}
    assert max(took for _, took in ends) < 0.1 + GENEROUS_S
    await eventually(lambda: client.state is StoreState.DOWN)
    with pytest.raises(StoreUnavailable, match="cannot be reached") as refused:
        client.send("PING")
    assert refused.value.trouble is StoreTrouble.DOWN
    assert f"127.0.0.1:{own_server.port}" in refused.value.hint
    assert client.figures.times_down == 1


async def test_a_store_that_was_never_there_is_found_later(own_server, open_client):
    own_server.kill()
    client = await open_client(own_server, **BRISK)
    assert client.state is StoreState.DOWN

    own_server.start()
    await eventually(lambda: client.state is StoreState.UP)

    assert await client.send("PING") == b"PONG"


async def test_a_stalled_store_holds_a_few_calls_for_the_limit_and_the_rest_not_at_all(own_server, open_client):
    client = await open_client(own_server, **BRISK)
    own_server.stall()

    first = await asyncio.gather(*(trouble_of(client) for _ in range(50)))
    await eventually(lambda: client.state is StoreState.DOWN)
    then = await asyncio.gather(*(trouble_of(client) for _ in range(50)))

    assert {trouble for trouble, _ in first} == {StoreTrouble.TIMEOUT}
    assert max(took for _, took in first) < 0.1 + GENEROUS_S
    assert {trouble for trouble, _ in then} == {StoreTrouble.DOWN}
    own_server.resume()
    await eventually(lambda: client.state is StoreState.UP)
    assert await client.send("PING") == b"PONG"


async def test_a_restart_on_the_same_port_is_met_by_a_second_turn(own_server, open_client):
    client = await open_client(own_server)
    own_server.restart()

    assert await client.send("PING") == b"PONG"
    assert sum(client.figures.troubles.values()) == 0


async def test_an_attempt_from_before_a_restart_does_not_speak_for_a_younger_one(own_server, open_client, monkeypatch):
    opens = 0
    younger_began, older_failed = asyncio.Event(), asyncio.Event()
    really_open = RedisConnection.open

    async def open_with_a_late_second(connection):
        nonlocal opens
        opens += 1
        if opens == 2:
            await younger_began.wait()
            asyncio.get_running_loop().call_soon(older_failed.set)
            raise ConnectionResetError
        if opens == 3:
            younger_began.set()
            await older_failed.wait()
        await really_open(connection)

    monkeypatch.setattr(RedisConnection, "open", open_with_a_late_second)
    client = await open_client(own_server, probe_interval_ms=10_000)
    own_server.restart()

    assert await client.send("PING") == b"PONG"
    assert opens == 3


async def test_a_slow_store_is_left_alone(server, open_client, relayed):
    """It answers, but later than anybody waits."""
    async with relayed(server.port) as relay:
        client = await open_client(server, **BRISK, url=f"redis://127.0.0.1:{relay.port}")
        assert (await trouble_of(client))[0] is None
        relay.slowness_s = 0.15

        await eventually(lambda: client.state is StoreState.DOWN)
        assert (await trouble_of(client))[0] is StoreTrouble.DOWN
        relay.slowness_s = 0.0
        await eventually(lambda: client.state is StoreState.UP)
        await client.__aexit__()


async def test_a_server_that_cannot_write_counts_as_failing(own_server, open_client):
    client = await open_client(own_server, failures_to_open=1, probe_interval_ms=10_000)
    own_server.command("CONFIG", "SET", "maxmemory", "1")

    with pytest.raises(StoreUnavailable) as refused:
        await client.send("SET", "k", "v")

    assert refused.value.trouble is StoreTrouble.REFUSED
    assert client.state is StoreState.DOWN


async def test_a_wrong_password_is_said_without_the_password(open_client):
    with RedisServer(password="hunter2") as server:
        client = await open_client(server, password="not-hunter2")

        await eventually(lambda: client.state is StoreState.DOWN)  # each of its connections tries
        assert "WRONGPASS" in client.sentence or "invalid" in client.sentence
        assert "hunter2" not in client.sentence + repr(client.settings)

        right = await open_client(server, password="hunter2")
        assert await right.send("PING") == b"PONG"


async def test_a_unix_socket_will_do(open_client, server):
    client = await open_client(server, url=server.socket_url)

    assert await client.send("PING") == b"PONG"


async def test_tls_is_checked_against_the_given_certificates(open_client, tmp_path, server, relayed):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)

    async with relayed(server.port, ssl=context) as relay:
        url = f"rediss://127.0.0.1:{relay.port}/0"
        client = await open_client(server, url=url, ca_file=str(tmp_path / "ca.pem"))
        stranger = await open_client(server, url=url, ca_file=str(tmp_path / "other.pem"))

        assert await client.send("PING") == b"PONG"
        assert stranger.state is StoreState.DOWN
        assert "certificate" in stranger.sentence.lower()
        await client.__aexit__()
        await stranger.__aexit__()


async def test_after_the_end_calls_are_refused(open_client, server):
    client = await open_client(server)
    waiting = client.send("PING")
    await client.__aexit__()

    with pytest.raises(StoreUnavailable):
        await waiting
    with pytest.raises(StoreUnavailable):
        client.send("PING")


@pytest.mark.parametrize(
    "wrong",
    [{"url": "http://h"}, {"timeout_ms": 0}, {"connections": 0}, {"prefix": "podium"}, {"prefix": "{}"}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"`\w+` must"):
        RedisSettings(**wrong)


@pytest.mark.parametrize("url", ["redis://", "redis://h/x"])
async def test_a_url_without_host_or_with_a_strange_database_is_refused(url):

    with pytest.raises(OperatorError):
        RedisConnection(RedisSettings(url=url))


async def test_a_call_before_its_deadline_tells_the_servers_time(client, server):
    deadline_us = client.deadline_us()
    seconds, micros = server.command("TIME")
    now_us = int(seconds) * 1_000_000 + int(micros)

    assert now_us - 1_000_000 < deadline_us - client.settings.timeout_ms * 1000 < now_us + 1_000_000


def test_a_client_that_is_not_open_does_nothing():
    assert RedisClient(RedisSettings(url="redis://h")).waiting == 0
