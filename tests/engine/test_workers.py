"""Workers come and go as they are wanted: real processes, small Python programs in the place of models."""

import asyncio
import os
import signal
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest

from podium.core.registry import WeightFile, Weights
from podium.core.workers import GatewaySays, WorkerState
from podium.engine.child import ChildSpec
from podium.engine.child_states import Backoff
from podium.engine.loadable import Loadable
from podium.engine.readiness import call_succeeds
from podium.engine.workers import Workers, resident_mib
from podium.testing.waiting import eventually

SERVE = """
import http.server, signal, sys, threading, time
port, how = int(sys.argv[1]), sys.argv[2]
if how == "broken":
    print("llama.cpp refuses the file"); sys.exit(1)
if how == "slow":
    time.sleep(1)
if how == "damaged":
    print("its checksum is wrong"); sys.exit(78)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        if how == "hangs":
            time.sleep(600)
        self.send_response(500 if how == "wrong" else 200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""


def loadable(name, **options):
    file = WeightFile(path="m.gguf", sha256="a" * 64, size=0)
    weights = Weights(source="file:/m.gguf", format="gguf", main="m.gguf", files=(file,))
    return Loadable(name=name, weights=weights, **options)  # about 140 MiB


class Engine:
    def __init__(self, folder, budget_mib=10_000, ready_timeout_s=10.0, fair_wait_s=1000.0):
        self.folder = folder
        self.how = {}  # name -> what its program does
        self.files = {}  # name -> what `files_at` tells
        self.started = []
        self.told = []
        self.ready_timeout_s = ready_timeout_s
        self.workers = Workers(
            budget_mib=budget_mib,
            hang_timeout_s=0.5,
            fair_wait_s=fair_wait_s,
            min_stay_s=0.0,
            files_at=lambda one: self.files.get(one.name, (1,)),
            process_of=self._process,
            backoff=Backoff(min_s=0.01, max_s=0.05, stable_s=60, first_attempts=2),
            measure=lambda _pid: 0,
        )
        self.workers.on_change = self.told.append

    def _process(self, one, port):
        self.started.append(one.name)

        async def warm_up():
            return await call_succeeds(f"http://127.0.0.1:{port}/v1", b"{}", bearer="key")

        return ChildSpec(
            name=one.name,
            argv=(sys.executable, "-c", textwrap.dedent(SERVE), str(port), self.how.get(one.name, "well")),
            environment={"PATH": os.environ["PATH"]},
            log_file=self.folder / f"{one.name}.log",
            ready_url=f"http://127.0.0.1:{port}/health",
            ready_timeout_s=self.ready_timeout_s,
            drain_timeout_s=5.0,
            warm_up=warm_up,
        )

    def want(self, *loadables):
        self.workers.want({one.name: one for one in loadables})

    def state(self, name):
        return next((one.state for one in self.workers.said.workers if one.name == name), None)

    def reason(self, name):
        return next(one.reason for one in self.workers.said.workers if one.name == name)

    async def until(self, name, state):
        await eventually(lambda: self.state(name) is state, timeout_s=15)

    def pid(self, name):
        return self.workers._entries[name].child.status.pid


@asynccontextmanager
async def running(engine):
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.workers.run(stop))
        try:
            yield engine
        finally:
            stop.set()


def asked(*names):
    return GatewaySays(wanted=names)


async def test_what_a_model_names_is_loaded_ahead_and_others_when_somebody_waits(tmp_path):
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("named", in_use=True), loadable("draft"))
        await engine.until("named", WorkerState.READY)
        assert engine.state("draft") is WorkerState.UNLOADED
        engine.workers.heard("gateway", asked("draft"))
        await engine.until("draft", WorkerState.READY)
    assert not [one for one in engine.workers.said.workers if one.state is WorkerState.READY]


async def test_the_least_recently_used_makes_room_and_pinned_ones_stay(tmp_path):
    async with running(Engine(tmp_path, budget_mib=300)) as engine:
        engine.want(loadable("pin", pinned=True), loadable("a"), loadable("b"))
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)
        engine.workers.heard("g", asked("b"))
        await engine.until("b", WorkerState.READY)
        assert engine.state("a") is WorkerState.UNLOADED
        assert engine.state("pin") is WorkerState.READY
        engine.workers.heard("g", GatewaySays(running={"b": 1}, wanted=("a",)))
        await asyncio.sleep(0.7)  # more than a tick: what runs is not thrown out
        assert engine.state("b") is WorkerState.READY
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)
        assert engine.started.count("pin") == 1


async def test_one_in_constant_use_ends_its_calls_and_makes_room_for_one_that_waited_and_comes_back_in_its_turn(
    tmp_path,
):
    async with running(Engine(tmp_path, budget_mib=200, fair_wait_s=0.5)) as engine:
        engine.want(loadable("a"), loadable("b"))
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)
        engine.workers.heard("g", GatewaySays(running={"a": 3}, used=("a",)))
        engine.workers.heard("h", asked("b"))
        await engine.until("a", WorkerState.UNLOADING)
        engine.workers.heard("g", asked("a"))  # its calls have ended; whoever comes now waits
        await engine.until("b", WorkerState.READY)
        engine.workers.heard("h", GatewaySays(running={"b": 1}, used=("b",)))
        await engine.until("a", WorkerState.READY)
        assert engine.started == ["a", "b", "a"]


async def test_a_model_is_loaded_for_callers_that_were_told_to_come_back_and_waits_for_them(tmp_path):
    engine = Engine(tmp_path, budget_mib=200)
    engine.how["b"] = "slow"
    async with running(engine):
        engine.want(loadable("a"), loadable("b"))
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)
        engine.workers.heard("h", asked("b"))
        engine.workers.heard("h", GatewaySays())  # it was sent away
        await engine.until("b", WorkerState.READY)
        engine.workers.heard("g", asked("a"))
        await asyncio.sleep(0.7)  # more than a tick
        assert engine.state("b") is WorkerState.READY
        assert engine.workers.said.workers[0].ready_in_s > 5  # until those are back, at least


async def test_a_restart_is_timed_from_its_own_beginning(tmp_path):
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("a", in_use=True))
        await engine.until("a", WorkerState.READY)
        entry = engine.workers._entries["a"]
        entry.load_began_ns -= 3600 * 10**9
        os.kill(engine.pid("a"), signal.SIGKILL)
        await engine.until("a", WorkerState.FAILING)
        await engine.until("a", WorkerState.READY)
        assert entry.load_s < 60


async def test_what_no_version_has_any_more_is_unloaded_and_forgotten(tmp_path):
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("a", in_use=True))
        await engine.until("a", WorkerState.READY)
        engine.want()
        await eventually(lambda: engine.workers.said.workers == (), timeout_s=10)


@pytest.mark.parametrize(("how", "word"), [("broken", "refuses the file"), ("wrong", "first call failed")])
async def test_one_that_cannot_be_loaded_is_reported_tried_again_and_given_up_and_blocks_nobody(tmp_path, how, word):
    engine = Engine(tmp_path)
    engine.how["bad"] = how
    async with running(engine):
        engine.want(loadable("bad", in_use=True), loadable("good", in_use=True))
        await engine.until("bad", WorkerState.FAILED)
        await engine.until("good", WorkerState.READY)
    seen = [one.state for says in engine.told for one in says.workers if one.name == "bad"]
    assert WorkerState.FAILING in seen[: seen.index(WorkerState.FAILED)]
    reasons = [one.reason for says in engine.told for one in says.workers if one.state is WorkerState.FAILED]
    assert word in reasons[0]


async def test_one_that_loads_and_hangs_is_never_ready(tmp_path):
    engine = Engine(tmp_path, ready_timeout_s=1.5)
    engine.how["bad"] = "hangs"
    async with running(engine):
        engine.want(loadable("bad", in_use=True))
        await engine.until("bad", WorkerState.FAILED)
        assert "first call was not answered" in engine.reason("bad")
    states = {one.state for says in engine.told for one in says.workers}
    assert WorkerState.READY not in states


async def test_damaged_files_are_not_tried_again_until_they_change(tmp_path):
    engine = Engine(tmp_path)
    engine.how["bad"] = "damaged"
    async with running(engine):
        engine.want(loadable("bad", in_use=True))
        await engine.until("bad", WorkerState.FAILED)
        assert engine.reason("bad") == "its checksum is wrong"
        assert engine.started == ["bad"]
        engine.how["bad"] = "well"
        engine.files["bad"] = (2,)
        await engine.until("bad", WorkerState.READY)


async def test_missing_files_are_told_and_loaded_once_they_are_here(tmp_path):
    engine = Engine(tmp_path)
    engine.files["a"] = ()
    async with running(engine):
        engine.want(loadable("a", in_use=True))
        await engine.until("a", WorkerState.MISSING)
        assert "podium models pull" in engine.reason("a")
        engine.files["a"] = (7,)
        await engine.until("a", WorkerState.READY)


async def test_what_does_not_fit_is_told_and_comes_once_there_is_room(tmp_path):
    async with running(Engine(tmp_path, budget_mib=200)) as engine:
        engine.want(loadable("pin", pinned=True))
        await engine.until("pin", WorkerState.READY)
        engine.want(loadable("pin", pinned=True), loadable("a"))
        await engine.until("a", WorkerState.FAILED)
        assert "pinned models take 140" in engine.reason("a")
        engine.want(loadable("pin"), loadable("a", in_use=True))
        await engine.until("a", WorkerState.UNLOADED)
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)


async def test_one_that_dies_is_back_by_itself(tmp_path):
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("a", in_use=True))
        await engine.until("a", WorkerState.READY)
        os.kill(engine.pid("a"), signal.SIGKILL)
        await engine.until("a", WorkerState.FAILING)
        await engine.until("a", WorkerState.READY)


async def test_one_that_goes_silent_is_told_killed_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr("podium.engine.workers._ASK_EVERY_S", 0.1)
    monkeypatch.setattr("podium.engine.workers._ASK_TIMEOUT_S", 0.3)
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("a", in_use=True))
        await engine.until("a", WorkerState.READY)
        first = engine.pid("a")
        os.kill(first, signal.SIGSTOP)
        await engine.until("a", WorkerState.FAILING)
        assert "not answer" in engine.reason("a")
        await engine.until("a", WorkerState.READY)
        assert engine.pid("a") != first


async def test_gateways_are_told_how_long_a_load_takes(tmp_path):
    async with running(Engine(tmp_path)) as engine:
        engine.want(loadable("a"))
        await engine.until("a", WorkerState.UNLOADED)
        (news,) = engine.workers.said.workers
        assert news.ready_in_s >= 1
        assert news.url.startswith("http://127.0.0.1:")
        engine.workers.heard("g", asked("a"))
        await engine.until("a", WorkerState.READY)
        assert engine.workers.said.workers[0].ready_in_s == 0
        assert engine.workers.said.workers[0].url == news.url


def test_the_memory_of_a_process_is_measured():
    assert resident_mib(os.getpid()) > 10
    assert resident_mib(2**22 + 1) == 0
