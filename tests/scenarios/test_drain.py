"""SIGTERM: no new exchanges, the running ones finish, the journal is flushed, exit 0."""

import asyncio
import signal
import socket
import time

import pytest

from podium.testing.behaviour import Behaviour
from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario


async def stream(port, key):
    """One stream's events."""
    async with await RawConnection.open(port) as client:
        await client.send(request_bytes(chat_body("assistant", stream=True), key=key))
        return (await client.read_response()).events()


def refused(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_running_streams_finish_and_new_ones_are_refused(stage):
    port = stage.installation.port
    async with stage.control() as control:
        await stage.apply()
        key_id, key = await stage.new_key("alice")

        stage.upstream.behaviour = Behaviour(chunks=40, between_chunks_s=0.05)
        async with stage.gateway() as gateway, await RawConnection.open(port) as idle:
            await eventually(lambda: stage.status_of("assistant", key) == 200, timeout_s=3)
            await idle.send(request_bytes(path="/v1/models", key=key))
            assert (await idle.read_response()).status == 200
            async with asyncio.TaskGroup() as group:
                streams = [group.create_task(stream(port, key)) for _ in range(10)]
                await eventually(lambda: len(stage.upstream.requests) == 10, timeout_s=5)
                gateway.signal(signal.SIGTERM)
                assert await idle.read_to_end() == b""  # connections that wait for nothing are closed
                await eventually(lambda: refused(port), timeout_s=2)
                assert gateway.running
            assert all(task.result()[-1] == "[DONE]" for task in streams)
            assert all(sum('"content": "word' in event for event in task.result()) == 40 for task in streams)
            assert await asyncio.to_thread(gateway.wait, 5) == 0

        # Patience has an end: what does not finish in time is cut off, and counted.
        stage.installation.extra_environment["PODIUM_GATEWAY_DRAIN_TIMEOUT_S"] = "0.5"
        stage.upstream.behaviour = Behaviour(chunks=1000, between_chunks_s=0.05)
        async with stage.gateway() as gateway, await RawConnection.open(port) as client:
            await client.send(request_bytes(chat_body("assistant", stream=True), key=key))
            await client.read_until(b"word3 ")
            gateway.signal(signal.SIGTERM)
            assert b"[DONE]" not in await client.read_to_end()
            assert await asyncio.to_thread(gateway.wait, 5) == 0

        deadline = time.monotonic() + 10
        while (row := (await stage.usage_by_key())[key_id])["estimated_exchanges"] < 1:
            assert time.monotonic() < deadline
        assert 404 <= row["output_tokens"] < 1400
        control.signal(signal.SIGTERM)
        assert await asyncio.to_thread(control.wait, 10) == 0
