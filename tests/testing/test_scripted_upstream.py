import asyncio
import base64
import gzip
import json
import signal
import struct
import sys
import time

import pytest

from podium.testing.behaviour import BAD, GOOD, Behaviour, Cut
from podium.testing.raw_http import ConnectionClosed, RawConnection
from podium.testing.scripted_upstream import ScriptedUpstream
from podium.testing.waiting import eventually


def request_bytes(body: dict, *, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    content = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: upstream\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def chat(**fields) -> bytes:
    return request_bytes({"model": "m", "messages": [{"role": "user", "content": "one two three"}], **fields})


async def ask(upstream: ScriptedUpstream, data: bytes, *, method: str = "POST"):
    async with await RawConnection.open(upstream.port) as connection:
        await connection.send(data)
        return await connection.read_response(method=method)


def said(events: list[str]) -> str:
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def test_a_chat_is_answered_with_usage_that_counts_the_words():
    async with ScriptedUpstream() as upstream:
        answer = await ask(upstream, chat())
    assert answer.status == 200
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "".join(f"word{number} " for number in range(8))
    assert body["usage"]["completion_tokens"] == 8
    assert upstream.requests[0].finished_at_s is not None


async def test_a_stream_has_usage_only_when_asked():
    async with ScriptedUpstream(Behaviour(text="Hello you there")) as upstream:
        without = (await ask(upstream, chat(stream=True))).events()
        with_usage = (await ask(upstream, chat(stream=True, stream_options={"include_usage": True}))).events()
    assert said(without) == said(with_usage) == "Hello you there"
    assert without[-1] == with_usage[-1] == "[DONE]"
    assert not any("usage" in event for event in without)
    assert json.loads(with_usage[-2])["usage"]["completion_tokens"] == 3
    assert json.loads(with_usage[-2])["choices"] == []


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("stream", [False, True])
async def test_every_good_behaviour_says_the_same_in_its_own_form(name, stream):
    async with ScriptedUpstream() as upstream:
        answer = await ask(upstream, chat(model=f"scripted-{name}", stream=stream, max_tokens=3))
    expected = "word0 word1 word2 "
    if stream:
        assert said(answer.events()) == expected
    else:
        assert answer.json()["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at", ["start", "head", "middle", "usage", "end"])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_cut_answer_never_ends_as_a_whole_one(stream, at, how):
    async with ScriptedUpstream(Behaviour(cut=Cut(at, how))) as upstream:
        with pytest.raises(ConnectionClosed) as closed:
            await ask(upstream, chat(stream=stream, stream_options={"include_usage": True}))
        assert b"[DONE]" not in closed.value.received


async def test_a_stall_lasts_until_the_client_goes_and_is_recorded_as_that():
    async with ScriptedUpstream() as upstream:
        async with await RawConnection.open(upstream.port) as connection:
            await connection.send(chat(model="scripted-stalls-midway", stream=True))
            await connection.read_until(b"word2")
            assert upstream.requests[0].disconnected_at_s is None
        await eventually(lambda: upstream.requests[0].disconnected_at_s)
        assert upstream.requests[0].finished_at_s is None
        await eventually(lambda: upstream.connections == 0)


async def test_scripts_are_used_up_in_order():
    async with ScriptedUpstream() as upstream:
        upstream.script(BAD["unavailable-retry-after"], BAD["bad-request"])
        answers = [await ask(upstream, chat()) for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 400, 200]
    assert answers[0].header("retry-after") == "7"
    assert answers[1].json()["error"]["code"] == "scripted_400"


async def test_connections_are_kept_and_counted():
    async with ScriptedUpstream() as upstream:
        async with await RawConnection.open(upstream.port) as connection:
            for _ in range(2):
                await connection.send(chat())
                await connection.read_response()
        assert [request.connection for request in upstream.requests] == [1, 1]
        assert upstream.connections_opened == 1


async def test_a_reused_connection_can_be_reset():
    async with ScriptedUpstream(GOOD["resets-on-reuse"]) as upstream, await RawConnection.open(upstream.port) as client:
        await client.send(chat())
        assert (await client.read_response()).status == 200
        await client.send(chat())
        with pytest.raises(ConnectionClosed):
            await client.read_response()


async def test_pipelined_requests_are_answered_in_order():
    async with ScriptedUpstream() as upstream, await RawConnection.open(upstream.port) as client:
        await client.send(chat(max_tokens=1) + chat(max_tokens=2), piece=7)
        counts = [(await client.read_response()).json()["usage"]["completion_tokens"] for _ in range(2)]
    assert counts == [1, 2]


async def test_tools_are_called_whole_and_in_deltas():
    tools = [{"type": "function", "function": {"name": "weather"}}]
    async with ScriptedUpstream() as upstream:
        whole = (await ask(upstream, chat(tools=tools))).json()["choices"][0]
        events = (await ask(upstream, chat(tools=tools, stream=True))).events()
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Paris"}'
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Paris"}'
    assert len(calls) > 2


async def test_n_choices_are_all_said():
    async with ScriptedUpstream(Behaviour(chunks=2)) as upstream:
        whole = (await ask(upstream, chat(n=3))).json()
        events = (await ask(upstream, chat(n=3, stream=True))).events()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    finished = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert sorted(choice["index"] for choice in finished if choice["finish_reason"]) == [0, 1, 2]


async def test_completions_embeddings_and_models():
    async with ScriptedUpstream(models=("a", "b/c")) as upstream:
        text = await ask(
            upstream, request_bytes({"model": "a", "prompt": "x", "max_tokens": 2}, path="/v1/completions")
        )
        floats = await ask(upstream, request_bytes({"input": ["x", "y"]}, path="/v1/embeddings"))
        packed = await ask(
            upstream, request_bytes({"input": ["x", "y"], "encoding_format": "base64"}, path="/v1/embeddings")
        )
        listed = await ask(upstream, request_bytes({}, path="/v1/models", method="GET"))
        one = await ask(upstream, request_bytes({}, path="/v1/models/b/c", method="GET"))
        missing = await ask(upstream, request_bytes({}, path="/v1/models/z", method="GET"))
    assert text.json()["choices"][0]["text"] == "word0 word1 "
    vectors = [item["embedding"] for item in floats.json()["data"]]
    assert [
        list(struct.unpack("<8f", base64.b64decode(item["embedding"]))) for item in packed.json()["data"]
    ] == vectors
    assert [model["id"] for model in listed.json()["data"]] == ["a", "b/c"]
    assert one.json()["id"] == "b/c"
    assert missing.status == 404


async def test_an_error_event_ends_a_stream():
    async with ScriptedUpstream(BAD["error-event"]) as upstream:
        events = (await ask(upstream, chat(stream=True))).events()
    assert "error" in json.loads(events[-2])
    assert events[-1] == "[DONE]"


async def test_forms_that_a_reader_must_see_through():
    async with ScriptedUpstream() as upstream:
        compressed = await ask(upstream, chat(model="scripted-gzip"))
        garbled = await ask(upstream, chat(model="scripted-garbled"))
        redirect = await ask(upstream, chat(model="scripted-redirect"))
        async with await RawConnection.open(upstream.port) as connection:
            await connection.send(chat(model="scripted-continue"))
            interim = [(await connection.read_head()).status for _ in range(2)]
            assert (await connection.read_response()).status == 200
    assert json.loads(gzip.decompress(compressed.body))["object"] == "chat.completion"
    with pytest.raises(ValueError):
        garbled.json()
    assert redirect.status == 307 and redirect.header("location")
    assert interim == [100, 103]


async def test_pauses_are_kept():
    async with ScriptedUpstream(Behaviour(chunks=3, before_head_s=0.02, between_chunks_s=0.01)) as upstream:
        started = time.monotonic()
        await ask(upstream, chat(stream=True))
    assert time.monotonic() - started >= 0.02 + 4 * 0.01


async def test_a_client_that_does_not_read_stops_the_writing():
    async with ScriptedUpstream(Behaviour(chunks=64, text=" ".join(["x" * 1_000_000] * 64))) as upstream:
        async with await RawConnection.open(upstream.port, receive_buffer=4096) as client:
            await client.send(chat(stream=True))
            await client.read_until(b"\r\n\r\n")
            sent = -1
            while sent != upstream.requests[0].body_sent:
                sent = upstream.requests[0].body_sent
                await asyncio.sleep(0.05)
            assert sent < 32_000_000
        await eventually(lambda: upstream.requests[0].disconnected_at_s)


async def test_what_is_no_http_closes_the_connection():
    async with ScriptedUpstream() as upstream, await RawConnection.open(upstream.port) as client:
        await client.send(b"\x16\x03\x01 hello\r\n\r\n")
        assert await client.read_to_end() == b""


async def test_surplus_bytes_follow_the_answer():
    async with (
        ScriptedUpstream(Behaviour(surplus=b"more")) as upstream,
        await RawConnection.open(upstream.port) as client,
    ):
        for stream in (False, True):
            await client.send(chat(stream=stream))
            assert (await client.read_response()).status == 200
            assert await client.read_exactly(4) == b"more"


async def test_a_stream_may_end_without_a_word():
    async with ScriptedUpstream(Behaviour(done=False)) as upstream:
        events = (await ask(upstream, chat(stream=True))).events()
    assert json.loads(events[-1])["choices"][0]["finish_reason"] == "stop"


async def test_it_runs_by_itself_until_it_is_told_to_stop():
    command = [sys.executable, "-m", "podium.testing.scripted_upstream", "--behaviour", "no-usage", "--model", "mine"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        url = (await process.stdout.readline()).decode().strip()
        async with await RawConnection.open(int(url.removesuffix("/v1").rpartition(":")[2])) as client:
            await client.send(request_bytes({}, path="/v1/models", method="GET"))
            assert (await client.read_response()).json()["data"][0]["id"] == "mine"
            await client.send(chat())
            assert "usage" not in (await client.read_response()).json()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
