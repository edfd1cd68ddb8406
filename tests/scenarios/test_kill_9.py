"""Nothing that was answered is lost, nothing is counted twice, whatever is killed."""

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import openai
import pytest

from podium.testing.load import Load
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

INPUT_NANOUSD, OUTPUT_NANOUSD = 150, 600  # a token, by the example's Price


def recorded(stage):
    """Request ids in the ledger, as often as they are there, by status."""
    with sqlite3.connect(f"file:{stage.installation.data / 'podium.db'}?mode=ro", uri=True) as database:
        return Counter(
            row[0] for row in database.execute("SELECT request_id FROM exchanges WHERE endpoint = 'chat.completions'")
        )


async def test_a_gateway_killed_ten_times_under_load_loses_nothing_and_counts_nothing_twice(stage):
    async with stage.control():
        await stage.apply()
        keys = [await stage.new_key(name) for name in ("alice", "bob")]
        loads = [Load(stage.installation.port, text, model="assistant", name=key_id) for key_id, text in keys]
        async with AsyncExitStack() as gateways:
            gateway = await gateways.enter_async_context(stage.gateway())
            async with loads[0], loads[1]:
                for _ in range(10):
                    await some_more(loads)
                    gateway.kill()
                    gateway = await gateways.enter_async_context(stage.gateway())
                await some_more(loads)
        rows = await loaded(stage, loads)
    assert all(load.refused for load in loads)  # the kills were felt
    check_counted_once(stage, keys, loads, rows)


async def test_a_control_process_killed_while_it_loads_counts_nothing_twice(stage):
    async with stage.control() as control:
        await stage.apply()
        keys = [await stage.new_key("alice")]
        loads = [Load(stage.installation.port, keys[0][1], model="assistant", name=keys[0][0])]
        async with stage.gateway(), loads[0]:
            await some_more(loads)
            control.kill()
            await some_more(loads)
            async with stage.control() as second:
                second.kill()  # while it brings in what was answered meanwhile
            await some_more(loads)
    async with stage.control():
        rows = await loaded(stage, loads)
    assert len(loads[0].served) == len(loads[0].seen)  # nobody noticed
    check_counted_once(stage, keys, loads, rows)


async def loaded(stage, loads):
    """Usage by key, once everything that was served is in the ledger."""
    served = {one.request_id for load in loads for one in load.served}
    await eventually(lambda: served <= set(recorded(stage)), timeout_s=15, interval_s=0.1)
    return await stage.usage_by_key()


def check_counted_once(stage, keys, loads, rows):
    ledger = recorded(stage)
    seen = {one.request_id: one for load in loads for one in load.seen}
    served = {one.request_id for load in loads for one in load.served}
    # Every exchange whose last byte the client saw is there, once.
    assert set(ledger.values()) == {1}
    assert served <= set(ledger)
    # What else is there was cut off between the record and the last byte; each kill can do that to each worker.
    assert all(not seen[request_id].whole for request_id in set(ledger) - served)
    assert {one.status for one in seen.values() if one.whole} == {200}
    # And the sums that an operator sees are those of what the clients saw.
    for key_id, _ in keys:
        mine = [seen[request_id] for request_id in ledger if request_id.startswith(key_id)]
        inputs, outputs = sum(one.input_tokens for one in mine), sum(one.output_tokens for one in mine)
        row = rows[key_id]
        assert (row["exchanges"], row["input_tokens"], row["output_tokens"]) == (len(mine), inputs, outputs)
        assert row["cost_nanousd"] == inputs * INPUT_NANOUSD + outputs * OUTPUT_NANOUSD
        assert (row["errors"], row["estimated_exchanges"]) == (0, 0)


async def some_more(loads):
    before = [len(load.served) for load in loads]
    await eventually(lambda: all(len(load.served) >= sofar + 20 for load, sofar in zip(loads, before, strict=True)))


def children(pid):
    """Process ids and command lines of a process's children (Linux)."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child), Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")


async def finish_reasons(stream, on_fifth):
    """Read a stream to its end; why each choice ended, as the chunks say it."""
    reasons, received = [], 0
    async for chunk in stream:
        reasons += [choice.finish_reason for choice in chunk.choices]
        received += bool(chunk.choices and chunk.choices[0].delta.content)
        if received == 5 and on_fifth is not None:
            on_fifth = on_fifth()  # None: once
    return reasons


async def answers(client, **ask):
    try:
        answer = await client.chat.completions.create(**ask, max_tokens=3)
    except openai.InternalServerError:
        return False
    return bool(answer.choices[0].message.content)


async def test_a_worker_killed_mid_stream_is_told_to_the_client_and_comes_back(installation):
    ask = {"model": "smollm2", "messages": [{"role": "user", "content": "Tell me a very long story."}]}
    with installation.start("up") as process:
        await asyncio.to_thread(installation.wait_ready, process, timeout_s=60)

        def kill_worker():
            (worker,) = [pid for pid, line in children(process.pid) if "worker" in line and "smollm2" in line]
            os.kill(worker, signal.SIGKILL)

        async with openai.AsyncOpenAI(
            base_url=installation.url, api_key=installation.admin_key, max_retries=0, timeout=20
        ) as client:
            stream = await client.chat.completions.create(**ask, max_tokens=1500, stream=True)
            with pytest.raises(openai.APIError) as raised:
                await finish_reasons(stream, on_fifth=kill_worker)
            assert raised.value.code == "upstream_broken"

            deadline = time.monotonic() + 15
            while not await answers(client, **ask):
                assert time.monotonic() < deadline

            # The whole of it drains: a running stream finishes, then all processes end.
            stream = await client.chat.completions.create(**ask, max_tokens=40, stream=True)
            reasons = await finish_reasons(stream, on_fifth=lambda: process.signal(signal.SIGTERM))
            assert reasons[-1] in {"stop", "length"}
        assert await asyncio.to_thread(process.wait, 20) == 0


def alive(pid):
    """False once the process has ended, also while nobody has taken note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_whatever_is_killed_comes_back_and_nothing_outlives_the_supervisor(installation):
    def child(command):
        return next((pid for pid, line in children(process.pid) if command in line), 0)

    with installation.start("up") as process:
        await asyncio.to_thread(installation.wait_ready, process, timeout_s=60)
        for command, port in (("gateway", installation.port), ("control", installation.admin_port)):
            await eventually(lambda port=port: installation.status("/healthz", port=port) == 200, timeout_s=20)
            killed = child(command)
            os.kill(killed, signal.SIGKILL)
            await eventually(lambda killed=killed, command=command: child(command) not in {0, killed}, timeout_s=10)
            await eventually(lambda port=port: installation.status("/healthz", port=port) == 200, timeout_s=20)
        await asyncio.to_thread(installation.wait_ready, process, timeout_s=20)
        orphans = [pid for pid, _ in children(process.pid)]
        assert len(orphans) == 4
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: not any(map(alive, orphans)), timeout_s=15)
