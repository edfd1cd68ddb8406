"""A gateway and the engine of its machine: the real connection between them, with scripted workers behind it."""

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager

import pytest

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.core.resources import Provider
from podium.core.workers import EngineSays, GatewaySays, WorkerNews, WorkerState
from podium.engine.door import open_door
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually
from podium.upstreams.providers import LocalWorkers, Providers
from podium.upstreams.registered import RegisteredWorkers
from podium.upstreams.workers import WorkerWatch

KEY = "key-of-the-tests"
NAME = "tuned@0123456789ab"
LOCAL = Provider(protocol="local")
CHAT = json.dumps({"model": NAME, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()


class Engine:
    """Says what the test wants, and writes down what it hears (podium.engine.door.Audience)."""

    def __init__(self):
        self.on_change = lambda _says: None
        self.said = EngineSays()
        self.heard_of = []
        self.gateways = set()

    def heard(self, gateway, says):
        self.gateways.add(gateway)
        self.heard_of.append(says)

    def gone(self, gateway):
        self.gateways.discard(gateway)

    def say(self, state, **more):
        self.said = EngineSays(workers=(WorkerNews(name=NAME, state=state, **more),))
        self.on_change(self.said)

    @property
    def last(self):
        return self.heard_of[-1] if self.heard_of else GatewaySays()


@asynccontextmanager
async def linked(*, key=KEY, wait_s=5.0):
    engine = Engine()
    async with open_door(engine, KEY) as address, asyncio.TaskGroup() as group:
        workers = RegisteredWorkers(address, key, wait_s=wait_s)
        task = group.create_task(workers.run())
        try:
            yield engine, workers
        finally:
            task.cancel()


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


async def test_a_call_waits_until_its_worker_is_loaded_and_the_engine_is_told_at_once():
    async with linked() as (engine, workers):
        engine.say(WorkerState.UNLOADED, ready_in_s=1.0)
        call = asyncio.create_task(workers.ready_at(NAME, soon()))
        await eventually(lambda: engine.last.wanted == (NAME,), timeout_s=2)
        engine.say(WorkerState.LOADING, ready_in_s=1.0)
        assert not call.done()
        engine.say(WorkerState.READY, url="http://127.0.0.1:1")
        assert await call == "http://127.0.0.1:1"
        await eventually(lambda: engine.last.wanted == (), timeout_s=3)


async def test_a_load_that_takes_longer_than_a_call_may_wait_is_told_at_once():
    async with linked(wait_s=5.0) as (engine, workers):
        engine.say(WorkerState.LOADING, ready_in_s=40.0)
        await eventually(lambda: workers.news(NAME), timeout_s=2)
        with pytest.raises(UpstreamFailed) as caught:
            await workers.ready_at(NAME, soon())
    assert (caught.value.status, caught.value.reason, caught.value.retry_after_s) == (503, Reason.UPSTREAM_BUSY, 40.0)
    assert "about 40 s" in caught.value.message


async def test_the_engine_hears_of_callers_that_are_sent_away_at_once():
    async with linked(wait_s=5.0) as (engine, workers):
        engine.say(WorkerState.UNLOADED, ready_in_s=40.0)
        await eventually(lambda: workers.news(NAME), timeout_s=2)
        with pytest.raises(UpstreamFailed):
            await workers.ready_at(NAME, soon())
        await eventually(lambda: any(NAME in says.wanted for says in engine.heard_of), timeout_s=3)
        await eventually(lambda: engine.last.wanted == (), timeout_s=3)
        engine.say(WorkerState.FAILED)
        await eventually(lambda: workers.news(NAME).state is WorkerState.FAILED, timeout_s=2)
        heard = len(engine.heard_of)
        with pytest.raises(UpstreamFailed):
            await workers.ready_at(NAME, soon())
        workers.enter(NAME)
        await eventually(lambda: len(engine.heard_of) > heard, timeout_s=3)
        assert engine.last.wanted == ()


async def test_waiting_has_an_end_also_when_the_engine_was_too_hopeful():
    async with linked(wait_s=0.3) as (engine, workers):
        engine.say(WorkerState.LOADING, ready_in_s=0.1)
        await eventually(lambda: workers.news(NAME), timeout_s=2)
        with pytest.raises(UpstreamFailed) as caught:
            await workers.ready_at(NAME, soon())
    assert caught.value.retry_after_s == 1.0


@pytest.mark.parametrize("state", [WorkerState.FAILED, WorkerState.FAILING, WorkerState.MISSING])
async def test_a_worker_that_cannot_be_loaded_fails_its_calls_and_is_out_with_the_reason(state):
    async with linked() as (engine, workers):
        changes = []
        watch = WorkerWatch({}, workers)
        watch.tell(lambda: changes.append(1))
        health = watch.view(NAME)
        assert health.usable
        waiting = asyncio.create_task(workers.ready_at(NAME, soon()))
        engine.say(state, reason="its checksum is wrong")
        with pytest.raises(UpstreamFailed) as caught:
            await waiting
        assert caught.value.hint == "its checksum is wrong"
        assert "checksum" not in caught.value.message  # callers are not told of files
        assert changes
        assert not health.usable
        assert health.explain() == f"The worker is {state}. its checksum is wrong"


async def test_an_engine_that_knows_nothing_of_a_worker_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr("podium.upstreams.registered._FIRST_NEWS_S", 0.2)
    async with linked() as (_, workers):
        with pytest.raises(UpstreamFailed, match="No worker"):
            await workers.ready_at(NAME, soon())


async def test_who_does_not_know_the_key_hears_and_says_nothing():
    async with linked(key="other") as (engine, workers):
        engine.say(WorkerState.READY)
        await asyncio.sleep(0.2)
        assert workers.news(NAME) is None
        assert engine.heard_of == []


@pytest.mark.parametrize("line", [b"no json\n", b'{"running": 3}\n', b"x" * 5_000_000 + b"\n", b""])
async def test_nonsense_ends_one_connection_and_nothing_else(line):
    engine = Engine()
    async with open_door(engine, KEY) as address:
        for introduction in (b"", json.dumps({"key": KEY}).encode() + b"\n"):
            reader, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(introduction + line)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                assert (await asyncio.wait_for(reader.read(), 5)).count(b"\n") == bool(introduction)
            writer.close()
        await eventually(lambda: engine.gateways == set(), timeout_s=2)


async def test_a_gateway_that_lost_the_engine_takes_its_workers_out_and_comes_back():
    first = Engine()
    async with asyncio.TaskGroup() as group:
        async with open_door(first, KEY) as address:
            workers = RegisteredWorkers(address, KEY, wait_s=1.0)
            task = group.create_task(workers.run())
            first.say(WorkerState.READY, url="http://127.0.0.1:1")
            await eventually(lambda: workers.news(NAME), timeout_s=2)
        await eventually(lambda: workers.news(NAME) is None, timeout_s=2)
        assert not workers.view(NAME).usable
        task.cancel()


async def test_a_stream_counts_as_running_until_its_end():
    async with linked() as (engine, workers), ScriptedUpstream(models=(NAME,)) as upstream:
        providers = Providers(LocalWorkers({}, "worker-key", workers))
        local = providers.upstream("local", LOCAL, NAME)
        assert providers.upstream("local", LOCAL, "smollm3") is None  # a built-in one that is not there
        engine.say(WorkerState.READY, url=upstream.url.removesuffix("/v1"))
        answer = await local.call("chat.completions", CHAT, headers=b"", deadline_s=soon())
        assert answer.streamed
        await eventually(lambda: engine.last.running == {NAME: 1}, timeout_s=3)
        assert any(NAME in says.used for says in engine.heard_of)
        pieces = []
        await answer.relay(lambda piece: pieces.append(piece) or True)
        assert b"[DONE]" in b"".join(pieces)
        await eventually(lambda: engine.last.running == {}, timeout_s=3)
        dropped = await local.call("chat.completions", CHAT, headers=b"", deadline_s=soon())
        dropped.close()
        dropped.close()
        await eventually(lambda: engine.last.running == {}, timeout_s=3)
        providers.retire_unused()
        providers.retire_unused()
        assert providers.upstream("local", LOCAL, NAME) is not local
        providers.close()
