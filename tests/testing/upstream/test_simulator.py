"""The simulator over real connections."""

import asyncio
import contextlib
import time

import pytest

from podium.testing.raw_http import RawConnection
from podium.testing.upstream.behaviours import Behaviour, Latency
from podium.testing.upstream.connection import SimulatedRequest
from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import Endpoint, UpstreamProtocol
from podium.testing.upstream.simulator import Simulator
from podium.testing.waiting import eventually

OPENAI = UpstreamProtocol.OPENAI


async def test_what_it_is_asked_is_kept(simulator, ask):
    await ask(UpstreamProtocol.ANTHROPIC, model="claude+cached", streamed=True)
    (seen,) = simulator.requests
    assert (seen.protocol, seen.endpoint, seen.model) == (UpstreamProtocol.ANTHROPIC, Endpoint.CHAT, "claude")
    assert seen.streamed and seen.refused is None and seen.status == 200 and seen.behaviour == "cached"
    assert seen.usage.input_tokens == 165 and seen.usage.cached_input_tokens == 100
    assert seen.finished_at_s is not None
    assert seen.json()["messages"][0]["content"] == "Hello?"


async def test_a_header_goes_before_the_model_name_and_that_before_the_script(simulator, ask):
    simulator.behave(Mode.UNAVAILABLE)
    assert (await ask(OPENAI)).status == 503
    assert (await ask(OPENAI, model="m+plain")).status == 200
    assert (await ask(OPENAI, model="m+plain", headers={"x-simulate": "server-error"})).status == 500


async def test_orders_for_a_number_of_calls_stand_in_line(simulator, ask):
    simulator.behave(Mode.SERVER_ERROR, calls=2)
    simulator.behave("rate-limited=3", calls=1)
    assert [(await ask(OPENAI)).status for _ in range(4)] == [500, 500, 429, 200]
    simulator.behave(Mode.SERVER_ERROR, calls=2)
    simulator.behave()
    assert (await ask(OPENAI)).status == 200
    assert simulator.scripted_calls == 0


async def test_listing_models_uses_up_no_order_but_a_lasting_one_holds_for_it(simulator, ask):
    async def listed():
        async with await RawConnection.open(simulator.port) as connection:
            await connection.send(b"GET /v1/models HTTP/1.1\r\nhost: up\r\nauthorization: Bearer k\r\n\r\n")
            return (await connection.read_response()).status

    simulator.behave(Mode.SERVER_ERROR, calls=1)
    assert await listed() == 200
    assert (await ask(OPENAI)).status == 500
    simulator.behave(Mode.UNAVAILABLE)
    assert await listed() == 503


async def test_what_exceeds_a_rate_is_told_when_to_come_back(simulator, ask):
    simulator.behave("rate=2")
    answers = [await ask(OPENAI) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].header("retry-after") == "1"
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"


def test_a_share_of_the_calls_is_the_same_for_the_same_seed(request_parts):
    path, headers, body = request_parts(OPENAI)

    def statuses(seed):
        simulator = Simulator(behaviour="server-error,share=0.3", seed=seed)
        for _ in range(100):
            simulator.perform(SimulatedRequest("POST", path, tuple(headers.items()), body, 1, 0.0))
        return [request.status for request in simulator.requests]

    assert statuses(1) == statuses(1) != statuses(2)
    assert 15 < statuses(1).count(500) < 45


@pytest.mark.parametrize("how", ["resets", "closes"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_broken_answer_arrives_as_far_as_it_was_sent(simulator, request_bytes, how, streamed):
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(request_bytes(OPENAI, streamed=streamed, model=f"m+{how}-midway"))
        head = await connection.read_head()
        received = await connection.read_to_end()
    assert head.status == 200
    assert received.count(b"word") == 4 if streamed else received.startswith(b'{"id"')
    await eventually(lambda: simulator.open_connections == 0)
    assert simulator.requests[0].finished_at_s


async def test_a_crash_is_a_reset_and_a_close_is_none(simulator, request_bytes):
    async def left(spec):
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(request_bytes(OPENAI, streamed=True, model=f"m+{spec}"))
        with contextlib.closing(writer):
            return await reader.read()

    assert (await left("closes-midway")).count(b"word") == 4
    with pytest.raises(ConnectionResetError):
        await left("resets-midway")


@pytest.mark.parametrize("how", ["resets", "closes"])
async def test_all_that_was_sent_before_a_break_arrives_however_much_it_is(simulator, request_bytes, how):
    async with await RawConnection.open(simulator.port, receive_buffer=4096) as connection:
        await connection.send(request_bytes(OPENAI, streamed=True, model=f"m+chunks=8000+{how}-midway"))
        await connection.read_head()
        assert (await connection.read_to_end()).count(b'"content":"word') == 4000


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stalled_answer_ends_when_the_client_has_gone(simulator, request_bytes, streamed):
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(request_bytes(OPENAI, streamed=streamed, model="m+stalls-at-first-token"))
        await connection.read_head()
        assert await connection.read()
        assert simulator.open_connections == 1
    await eventually(lambda: simulator.requests[0].disconnected_at_s)
    await eventually(lambda: simulator.open_connections == 0)
    assert simulator.requests[0].finished_at_s is None


async def test_a_stream_that_ends_early_leaves_the_connection_usable(simulator, request_bytes):
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(request_bytes(OPENAI, streamed=True, model="m+ends-early"))
        assert "[DONE]" not in (await connection.read_response()).events()
        await connection.send(request_bytes(OPENAI, streamed=True))
        assert (await connection.read_response()).events()[-1] == "[DONE]"
    assert simulator.connections_opened == 1


async def test_pipelined_requests_are_answered_in_turn(simulator, request_bytes):
    models = ["slow=20ms+text=first", "text=second", "between=1ms+text=third", "text=fourth"]
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(b"".join(request_bytes(OPENAI, model=f"m+{spec}") for spec in models))
        said = [(await connection.read_response()).json()["choices"][0]["message"]["content"] for _ in models]
    assert said == ["first", "second", "third", "fourth"]


async def test_delays_lie_where_they_were_ordered(simulator, request_bytes):
    async with await RawConnection.open(simulator.port) as connection:
        started = time.monotonic()
        await connection.send(request_bytes(OPENAI, streamed=True, model="m+before-head=30ms+slow=40ms+between=10ms"))
        await connection.read_head()
        head_at = time.monotonic() - started
        await connection.read_until(b"word0")
        first_at = time.monotonic() - started
        await connection.read_until(b"word7")
        last_at = time.monotonic() - started
    assert head_at >= 0.03
    assert first_at >= head_at + 0.035
    assert last_at >= first_at + 0.06


async def test_latencies_follow_their_distribution_and_their_seed():
    latency = Latency(0.02, 0.2)
    one, other = Simulator(seed=5), Simulator(seed=5)
    drawn = sorted(one._drawn(latency) for _ in range(2000))
    assert drawn == sorted(other._drawn(latency) for _ in range(2000))
    assert 0.017 < drawn[1000] < 0.023
    assert 0.1 < drawn[1980] < 0.4


async def test_a_body_that_is_too_large_is_refused_and_not_kept(simulator):
    size = 33 << 20
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nanthropic-version: 1\r\ncontent-length: {size}\r\n\r\n"
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(head.encode())
        for _ in range(33):
            await connection.send(b" " * (1 << 20))
        answer = await connection.read_response()
    assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert len(simulator.requests[0].body) <= 32 << 20


async def test_a_client_that_asks_to_close_is_closed(simulator, request_bytes):
    data = request_bytes(OPENAI, headers={"connection": "close"})
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(data)
        assert (await connection.read_to_end()).count(b"HTTP/1.1 200") == 1


async def test_only_the_protocols_and_models_that_it_has_are_answered(request_bytes):
    async with Simulator([OPENAI], models=("known",)) as simulator:

        async def status(*request, **parts):
            async with await RawConnection.open(simulator.port) as connection:
                await connection.send(request_bytes(*request, **parts))
                return (await connection.read_response()).status

        assert await status(OPENAI, model="known+cached") == 200
        assert await status(OPENAI, model="unknown") == 404
        assert await status(UpstreamProtocol.ANTHROPIC, model="known") == 404
        assert [request.status for request in simulator.refused()] == [404, 404]


async def test_a_slow_reader_is_waited_for(simulator, request_bytes):
    async with await RawConnection.open(simulator.port, receive_buffer=4096) as connection:
        await connection.send(request_bytes(OPENAI, streamed=True, model="m+chunks=20000+write-size=65536"))
        await connection.read_head()
        await eventually(lambda: not any(one._writable.is_set() for one in simulator._connections))
        assert simulator.requests[0].finished_at_s is None
        body = await connection.read_until(b"[DONE]")
    assert body.count(b'"content":"word') == 20_000


async def test_behaviours_can_be_made_in_code(simulator, ask):
    simulator.behave(Behaviour(text="Good day", input_tokens=7))
    answer = (await ask(OPENAI)).json()
    assert answer["choices"][0]["message"]["content"] == "Good day"
    assert answer["usage"]["prompt_tokens"] == 7
