"""The simulator as a process of its own, told what to do from outside."""

import asyncio
import json
import signal
import sys

import pytest

from podium.testing.raw_http import RawConnection
from podium.testing.upstream.protocols import UpstreamProtocol

OPENAI = UpstreamProtocol.OPENAI


@pytest.fixture
async def process():
    command = [sys.executable, "-m", "podium.testing.upstream", "--port", "0", "--behaviour", "chunks=2"]
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        running.ready = json.loads(await running.stdout.readline())
    yield running
    if running.returncode is None:
        running.kill()
        await running.wait()


async def send(port, data):
    async with await RawConnection.open(port) as connection:
        await connection.send(data)
        return await connection.read_response()


async def control(port, method="GET", path="/simulate", body=b""):
    head = f"{method} {path} HTTP/1.1\r\nhost: up\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return await send(port, head + body)


async def test_it_is_switched_while_it_runs_and_stops_when_told(process, request_bytes):
    port = process.ready["port"]
    assert process.ready["base_urls"]["openai"] == f"http://127.0.0.1:{port}/v1"
    assert set(process.ready["base_urls"]) == set(UpstreamProtocol)
    answer = await send(port, request_bytes(OPENAI))
    assert answer.json()["choices"][0]["message"]["content"] == "word0 word1 "
    ordered = await control(port, "POST", body=b'{"behaviour": "rate-limited=9", "for": 1}')
    assert (ordered.json()["behaviour"], ordered.json()["scripted_calls"]) == ("rate-limited", 1)
    limited = await send(port, request_bytes(OPENAI))
    assert (limited.status, limited.header("retry-after")) == (429, "9")
    assert (await send(port, request_bytes(OPENAI))).status == 200
    await control(port, "POST", body=b'{"behaviour": "unavailable"}')
    assert [(await send(port, request_bytes(OPENAI))).status for _ in range(2)] == [503, 503]
    assert (await control(port, "DELETE")).json()["behaviour"] == "plain"
    assert (await send(port, request_bytes(OPENAI))).status == 200
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await process.wait() == 0


async def test_it_tells_what_it_was_asked_but_no_keys(simulator, ask):
    await ask(UpstreamProtocol.ANTHROPIC, streamed=True)
    await ask(OPENAI, headers={"authorization": ""})
    state = (await control(simulator.port)).json()
    assert (state["requests"], state["refused"], state["connections_opened"]) == (2, ["unauthorized"], 3)
    listed = (await control(simulator.port, path="/simulate/requests")).json()
    assert [(one["protocol"], one["status"], one["finished"]) for one in listed] == [
        ("anthropic", 200, True),
        ("openai", 401, True),
    ]
    assert listed[0]["body"]["messages"] == [{"role": "user", "content": "Hello?"}]
    assert listed[0]["usage"]["output_tokens"] == 8
    assert "headers" not in listed[0]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/simulate", b'{"behaviour": "slwo"}', 400),
        ("POST", "/simulate", b'{"behavior": "slow"}', 400),
        ("POST", "/simulate", b"{", 400),
        ("PUT", "/simulate", b"", 404),
        ("GET", "/simulate/else", b"", 404),
    ],
)
async def test_an_order_that_is_none_changes_nothing(simulator, method, path, body, status):
    answer = await control(simulator.port, method, path, body)
    assert answer.status == status
    assert answer.json()["error"]
    assert simulator.behaviour.name == "plain"
    assert not simulator.requests
