"""Connections to an upstream: reused, bounded, watched, and never left behind. Against a server that sends any bytes."""

import asyncio
import contextlib
import gc

import pytest

from podium.core.errors import PodiumError, UpstreamFailed, UpstreamTimeout
from podium.testing.waiting import eventually
from podium.upstreams.pool import Origin, Pool

REQUEST = b"POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n" + b'{"a": "bc"}'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"data: 12345\n\n"
CHUNK = b"d\r\n" + EVENT + b"\r\n"
STREAM = STREAM_HEAD + CHUNK + CHUNK + b"0\r\n\r\n"


class ByteServer:
    """Answers the n-th request of all with the n-th script: bytes, or a function of the connection's writer."""

    def __init__(self):
        self.scripts = []
        self.default = JSON
        self.requests = 0
        self.accepted = 0
        self.open = 0

    async def serve(self, reader, writer):
        self.accepted += 1
        self.open += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                script = self.scripts.pop(0) if self.scripts else self.default
                if callable(script):
                    await script(writer)
                else:
                    writer.write(script)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def pieces(*parts, close=False):
    """A script that sends each part by itself."""

    async def send(writer):
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.001)
        if close:
            writer.close()

    return send


async def silence(writer):
    await asyncio.sleep(60)


def abort(writer):
    writer.transport.abort()
    return asyncio.sleep(0)


@pytest.fixture
async def server():
    bytes_server = ByteServer()
    listener = await asyncio.start_server(bytes_server.serve, "127.0.0.1", 0)
    bytes_server.port = listener.sockets[0].getsockname()[1]
    yield bytes_server
    listener.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if getattr(task.get_coro(), "__name__", "") == "serve":
            task.cancel()
    await eventually(lambda: bytes_server.open == 0)


@pytest.fixture
async def make_pool(server):
    made = []

    def make(port=None, **options):
        limits = {"connect_s": 1.0, "first_byte_s": 0.3, "between_bytes_s": 0.3, "max_connections": 4} | options
        pool = Pool(Origin("127.0.0.1", port or server.port, None), **limits)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        assert not any(connection.busy for connection in pool._all)  # nothing is left in the middle of a call
        assert not pool._waiting
        pool.close()
    await eventually(lambda: not any(pool._all for pool in made))


@pytest.fixture
async def pool(make_pool):
    return make_pool()


def soon(seconds=3.0):
    return asyncio.get_running_loop().time() + seconds


async def call(pool):
    return await pool.call(REQUEST, deadline_s=soon())


async def collect(answer, *, until=None):
    """The body of a stream; `until`: the piece after which nothing more is wanted."""
    got = []

    def take(piece):
        got.append(piece)
        return until is None or until not in b"".join(got)

    await answer.relay(take)
    return b"".join(got)


# Reuse.


async def test_one_connection_serves_call_after_call(pool, server):
    for _ in range(5):
        answer = await call(pool)
        assert (answer.status, answer.body, answer.streamed) == (200, b'{"a": "bc"}', False)
    server.default = STREAM
    for _ in range(5):
        answer = await call(pool)
        assert answer.streamed and await collect(answer) == EVENT * 2
    assert server.accepted == 1 and pool.open_connections == 1


async def test_calls_at_the_same_time_have_connections_of_their_own(pool, server):
    server.default = pieces(JSON[:20], JSON[20:])
    answers = await asyncio.gather(*(call(pool) for _ in range(4)))
    assert {answer.body for answer in answers} == {b'{"a": "bc"}'}
    assert server.accepted == 4


async def test_a_connection_that_the_server_closed_while_idle_is_not_used(pool, server):
    server.scripts = [pieces(JSON, close=True)]
    await call(pool)
    await eventually(lambda: pool.open_connections == 0)
    assert (await call(pool)).status == 200
    assert server.accepted == 2


@pytest.mark.parametrize("unasked", [b"x", b"\r\n", JSON, b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_a_connection_that_speaks_unasked_is_closed(pool, server, unasked):
    async def later(writer):
        writer.write(JSON)
        await asyncio.sleep(0.02)
        writer.write(unasked)

    server.scripts = [later]
    assert (await call(pool)).body == b'{"a": "bc"}'
    await eventually(lambda: pool.open_connections == 0)
    assert (await call(pool)).body == b'{"a": "bc"}'
    assert server.accepted == 2


@pytest.mark.parametrize("surplus", [JSON, JSON[:9], b"H"])
async def test_what_follows_an_answer_at_once_serves_no_later_call(pool, server, surplus):
    server.scripts = [JSON + surplus.replace(b"bc", b"XX")]
    with contextlib.suppress(PodiumError):
        assert (await call(pool)).body == b'{"a": "bc"}'
    assert (await call(pool)).body == b'{"a": "bc"}'
    assert server.accepted == 2


async def test_an_answer_that_says_close_is_the_connections_last(pool, server):
    server.scripts = [JSON.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)]
    assert (await call(pool)).body == b'{"a": "bc"}'
    await call(pool)
    assert server.accepted == 2


async def test_a_connection_that_was_paused_at_its_end_reads_again_in_its_next_call(pool, server):
    server.scripts = [STREAM]
    answer = await call(pool)

    def take(piece):
        answer.pause()
        return True

    await answer.relay(take)
    assert (await call(pool)).body == b'{"a": "bc"}'
    assert server.accepted == 1
    later = await call(pool)
    answer.pause()  # of a call that is long over: touches nobody else's
    answer.close()
    assert later.body == (await call(pool)).body
    assert server.accepted == 1


async def test_an_end_that_comes_in_a_packet_of_its_own_keeps_the_connection(pool, server):
    server.default = pieces(STREAM_HEAD + CHUNK, b"0\r\n\r\n")
    for _ in range(3):
        answer = await call(pool)
        assert await collect(answer, until=b"12345") == EVENT
        answer.close()
        await eventually(lambda: not any(connection.busy for connection in pool._all))
    assert server.accepted == 1


# Forms of answers.


@pytest.mark.parametrize("answer_bytes", [JSON, STREAM], ids=["whole", "stream"])
async def test_an_answer_split_at_any_byte_is_the_same_answer(make_pool, server, answer_bytes):
    pool = make_pool(first_byte_s=5, between_bytes_s=5)
    for cut in range(1, len(answer_bytes)):
        server.scripts = [pieces(answer_bytes[:cut], answer_bytes[cut:])]
        answer = await call(pool)
        body = await collect(answer) if answer.streamed else answer.body
        assert body == (EVENT * 2 if answer_bytes is STREAM else b'{"a": "bc"}')
    assert server.accepted == 1


async def test_interim_heads_are_skipped_with_their_headers(pool, server):
    server.default = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-type: text/event-stream\r\n\r\n"
        + JSON
    )
    for _ in range(2):
        answer = await call(pool)
        assert answer.status == 200 and not answer.streamed
        assert b"link" not in answer.headers


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_the_end_of_the_connection_is_the_end_of_a_body_without_length(pool, server, head):
    server.default = pieces(head, b'{"a"', b": 1}", close=True)
    assert (await call(pool)).body == b'{"a": 1}'
    await eventually(lambda: pool.open_connections == 0)


async def test_a_stream_without_length_ends_with_the_connection(pool, server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    server.default = pieces(head, EVENT, EVENT, close=True)
    assert await collect(await call(pool)) == EVENT * 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_without_a_body_is_over_at_once(pool, server, status):
    server.default = b"HTTP/1.1 " + status + b"\r\n\r\n"
    assert [(await call(pool)).body for _ in range(2)] == [b"", b""]
    assert server.accepted == 1


@pytest.mark.parametrize(
    "rubbish",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        STREAM_HEAD.replace(b"text/event-stream", b"application/json") + b"zz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
        b"\x16\x03\x01\x00\x00",
    ],
)
async def test_what_is_not_http_is_an_invalid_answer(pool, server, rubbish):
    server.scripts = [rubbish]
    with pytest.raises(UpstreamFailed) as raised:
        await call(pool)
    assert raised.value.reason == "upstream_invalid"
    assert (await call(pool)).status == 200
    await eventually(lambda: pool.open_connections == 1)


async def test_an_answer_beyond_the_bound_is_refused(make_pool, server):
    pool = make_pool(max_answer_bytes=10)
    with pytest.raises(UpstreamFailed) as raised:
        await call(pool)
    assert raised.value.reason == "upstream_invalid"
    await eventually(lambda: pool.open_connections == 0)


@pytest.mark.parametrize("cut", [0, 10, len(JSON) - 1])
@pytest.mark.parametrize("close", [True, False])
async def test_an_answer_that_breaks_off_is_broken(pool, server, cut, close):
    server.scripts = [pieces(JSON[:cut], close=True) if close else abort]
    with pytest.raises(UpstreamFailed) as raised:
        await call(pool)
    assert raised.value.reason == "upstream_broken"


async def test_a_stream_that_breaks_off_gives_what_it_had(pool, server):
    server.scripts = [pieces(STREAM_HEAD, CHUNK, CHUNK[:6], close=True)]
    got = []
    answer = await call(pool)
    with pytest.raises(UpstreamFailed) as raised:
        await answer.relay(lambda piece: got.append(piece) is None)
    assert raised.value.reason == "upstream_broken"
    assert b"".join(got).startswith(EVENT)


async def test_what_the_taker_raises_comes_out_and_closes_the_connection(pool, server, caplog):
    def refuse(piece):
        raise UpstreamFailed("no")

    for script in (STREAM, pieces(STREAM_HEAD, CHUNK)):
        server.scripts = [script]
        answer = await call(pool)
        with pytest.raises(UpstreamFailed, match="no"):
            await answer.relay(refuse)
    await eventually(lambda: pool.open_connections == 0)
    gc.collect()
    assert not caplog.records, "an error that nobody awaits would be logged"


# Deadlines.


@pytest.mark.parametrize("script", [silence, pieces(JSON[:20]), pieces(b"HTTP/1.1 100 Continue\r\n\r\n")])
async def test_silence_is_a_timeout(pool, server, script):
    server.scripts = [script]
    with pytest.raises(UpstreamTimeout) as raised:
        await call(pool)
    assert raised.value.reason == "upstream_timeout"
    await eventually(lambda: pool.open_connections == 0)


async def test_silence_within_a_stream_is_a_timeout(pool, server):
    server.scripts = [pieces(STREAM_HEAD, CHUNK)]
    answer = await call(pool)
    with pytest.raises(UpstreamTimeout):
        await collect(answer)


async def test_the_whole_has_a_deadline_however_busy_it_is(pool, server):
    async def trickle(writer):
        writer.write(STREAM_HEAD)
        while not writer.is_closing():
            writer.write(CHUNK)
            await asyncio.sleep(0.02)

    server.scripts = [trickle]
    answer = await pool.call(REQUEST, deadline_s=soon(0.3))
    with pytest.raises(UpstreamTimeout):
        await collect(answer)


async def test_silence_while_we_do_not_read_is_not_held_against_the_upstream(make_pool, server):
    pool = make_pool(between_bytes_s=0.15)
    server.scripts = [pieces(STREAM_HEAD, CHUNK, CHUNK, b"0\r\n\r\n")]
    answer = await call(pool)
    got = []

    def take(piece):
        if not got:
            answer.pause()
            asyncio.get_running_loop().call_later(0.5, answer.resume)
        got.append(piece)
        return True

    await answer.relay(take)
    assert b"".join(got) == EVENT * 2


async def test_nobody_there_is_unreachable(make_pool):
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    pool = make_pool(port)
    for _ in range(3):
        with pytest.raises(UpstreamFailed) as raised:
            await call(pool)
        assert raised.value.reason == "upstream_unreachable"
    assert pool.open_connections == 0 and pool._opening == 0


def never_connects(pool, monkeypatch):
    """Make connecting hang, as to a host that drops packets."""

    async def hang(*_, **__):
        await asyncio.sleep(60)

    monkeypatch.setattr(pool, "_loop", type("Loop", (), {"create_connection": hang, "time": pool._loop.time})())


async def test_a_connection_that_does_not_come_about_was_never_sent_anything(make_pool, monkeypatch):
    pool = make_pool(connect_s=0.05)
    never_connects(pool, monkeypatch)
    with pytest.raises(UpstreamTimeout) as raised:
        await call(pool)
    assert (raised.value.reason, raised.value.status) == ("upstream_unreachable", 504)
    assert pool._opening == 0


# The bound.


async def test_calls_beyond_the_bound_wait_for_a_connection(make_pool, server):
    pool = make_pool(max_connections=2)
    server.default = pieces(JSON[:10], JSON[10:])
    answers = await asyncio.gather(*(call(pool) for _ in range(20)))
    assert {answer.body for answer in answers} == {b'{"a": "bc"}'}
    assert server.accepted == 2


async def test_a_place_that_comes_free_by_a_loss_is_used(make_pool, server):
    pool = make_pool(max_connections=1)
    server.scripts = [pieces(b"", close=True)]
    results = await asyncio.gather(*(call(pool) for _ in range(3)), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["UpstreamFailed", "Answer", "Answer"]


async def test_waiting_has_an_end(make_pool, server):
    pool = make_pool(max_connections=1, connect_s=0.1, first_byte_s=5)
    server.scripts = [pieces(STREAM_HEAD + CHUNK)]
    answer = await call(pool)
    with pytest.raises(UpstreamFailed) as raised:
        await call(pool)
    assert (raised.value.reason, raised.value.status) == ("upstream_busy", 503)
    answer.close()
    await eventually(lambda: pool.open_connections == 0)
    assert (await call(pool)).status == 200


async def test_the_number_of_those_who_wait_is_bounded(make_pool, server, monkeypatch):
    monkeypatch.setattr("podium.upstreams.pool._MAX_WAITING", 2)
    pool = make_pool(max_connections=1)
    server.scripts = [pieces(JSON[:10], JSON[10:])]
    results = await asyncio.gather(*(call(pool) for _ in range(5)), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Answer"] * 3 + ["UpstreamFailed"] * 2
    assert results[-1].status == 503 and results[-1].retry_after_s == 1.0


async def test_who_waits_behind_a_connection_that_cannot_be_opened_is_told_at_once(make_pool):
    pool = make_pool(1, max_connections=1, connect_s=30)  # nothing listens on port 1
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(call(pool) for _ in range(5)), return_exceptions=True)
    assert {getattr(result, "reason", None) for result in results} == {"upstream_unreachable"}


async def test_a_connection_given_to_who_just_gave_up_goes_to_the_next(make_pool, server):
    pool = make_pool(max_connections=1, first_byte_s=5)
    server.scripts = [pieces(STREAM_HEAD + CHUNK)]
    first = await call(pool)
    waiting = [asyncio.ensure_future(call(pool)) for _ in range(3)]
    await eventually(lambda: len(pool._waiting) == 3)
    pool.lost(next(iter(pool._all)))  # a place comes free, and in the same moment who was first gives up
    waiting[0].cancel()
    assert [(await task).status for task in waiting[1:]] == [200, 200]
    assert waiting[0].cancelled()
    first.close()


async def test_a_connection_lent_in_the_moment_of_a_cancellation_is_not_lost(make_pool, server):
    pool = make_pool(max_connections=1, first_byte_s=5)
    gate = asyncio.Event()

    async def when_told(writer):
        await gate.wait()
        writer.write(JSON)

    server.scripts = [when_told]
    first, gone, last = (asyncio.ensure_future(call(pool)) for _ in range(3))
    await eventually(lambda: len(pool._waiting) == 2)
    idle = pool.idle

    def lend(connection):
        idle(connection)
        gone.cancel()

    pool.idle = lend
    gate.set()
    assert [(await first).status, (await last).status] == [200, 200]
    assert gone.cancelled() and server.accepted == 1


# Cancelling and closing.


async def test_a_cancelled_call_closes_its_connection(pool, server):
    server.scripts = [silence]
    task = asyncio.ensure_future(call(pool))
    await eventually(lambda: server.requests)
    task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: pool.open_connections == 0)
    assert (await call(pool)).status == 200


async def test_a_cancelled_relay_closes_its_connection(pool, server):
    server.scripts = [pieces(STREAM_HEAD, CHUNK)]
    answer = await call(pool)
    task = asyncio.ensure_future(collect(answer))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: pool.open_connections == 0)


async def test_a_retired_pool_finishes_what_runs_and_keeps_nothing(pool, server):
    await call(pool)
    server.scripts = [pieces(STREAM_HEAD, CHUNK, b"0\r\n\r\n")]
    answer = await call(pool)
    pool.retire()
    assert await collect(answer) == EVENT
    await eventually(lambda: pool.open_connections == 0)
    assert (await call(pool)).status == 200  # of an exchange that began before
    await eventually(lambda: pool.open_connections == 0)


async def test_a_retired_pool_closes_idle_connections_at_once(pool, server):
    await call(pool)
    pool.retire()
    await eventually(lambda: server.open == 0)


async def test_a_closed_pool_breaks_off_what_runs(pool, server):
    server.scripts = [pieces(STREAM_HEAD, CHUNK)]
    answer = await call(pool)
    pool.close()
    with pytest.raises(UpstreamFailed):
        await collect(answer)
    await eventually(lambda: pool.open_connections == 0)


async def test_idle_connections_are_closed_in_time(pool, server, monkeypatch):
    monkeypatch.setattr("podium.upstreams.pool._IDLE_S", 0.05)
    await call(pool)
    await eventually(lambda: server.open == 0)
    await eventually(lambda: pool._sweeper is None)
