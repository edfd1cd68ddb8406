"""Real processes: small Python programs under the supervisor."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import uvloop

from podium.core.errors import OperatorError
from podium.engine.child_log import LogRotation
from podium.engine.child_states import Backoff, ChildState
from podium.engine.supervisor import ChildSpec, Supervisor
from podium.testing.ports import free_port
from podium.testing.waiting import eventually

QUICK = Backoff(min_s=0.01, max_s=0.05, stable_s=60.0, first_attempts=3)

SERVE = """
import http.server, signal, sys, threading
port = int(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
print("bye", flush=True)
"""
SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
NOTE_THE_END = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "a").write(sys.argv[2] + "\\n"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""


def spec(tmp_path, name, program, *arguments, **options):
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)),
        environment={"PATH": os.environ["PATH"]},
        log_file=tmp_path / f"{name}.log",
        **options,
    )


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform != "linux":
        return True
    try:  # a killed orphan may still wait for its new parent to collect it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.asynccontextmanager
async def running(*children, backoff=QUICK, **options):
    stop, seen = asyncio.Event(), []
    supervisor = Supervisor(children, backoff=backoff, on_change=seen.append, **options)
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield supervisor, seen, stop, task
    finally:
        stop.set()
        with contextlib.suppress(OperatorError):
            await asyncio.wait_for(task, 20)


def states(seen, name):
    return [status.state.value for status in seen if status.name == name]


async def test_a_child_is_ready_when_it_answers_and_stops_when_asked(tmp_path):
    port = free_port()
    child = spec(tmp_path, "web", SERVE, port, ready_url=f"http://127.0.0.1:{port}/health")
    async with running(child) as (supervisor, seen, stop, task):
        await asyncio.wait_for(supervisor.ready.wait(), 15)
        assert alive(supervisor.statuses[0].pid)
        stop.set()
        await asyncio.wait_for(task, 15)
    assert list(dict.fromkeys(states(seen, "web"))) == ["starting", "ready", "stopping", "stopped"]
    assert child.log_file.read_text().endswith("bye\n")


async def test_a_killed_child_comes_back(tmp_path):
    async with running(spec(tmp_path, "one", SLEEP)) as (supervisor, seen, _, _):
        await asyncio.wait_for(supervisor.ready.wait(), 15)
        first = supervisor.statuses[0].pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: supervisor.statuses[0].pid not in {None, first}, timeout_s=15)
        await eventually(lambda: supervisor.statuses[0].state is ChildState.READY, timeout_s=15)
        assert supervisor.statuses[0].restarts == 1
    assert "backing_off" in states(seen, "one")


async def test_children_stop_by_rank_and_each_before_the_next_begins(tmp_path):
    order = tmp_path / "order"
    children = [
        spec(tmp_path, name, NOTE_THE_END, order, name, rank=rank)
        for name, rank in (("control", 0), ("worker", 1), ("gateway", 2))
    ]
    async with running(*children) as (_, _, _, _):
        for child in children:
            await eventually(lambda log=child.log_file: log.exists() and "ready" in log.read_text(), timeout_s=15)
    assert order.read_text().split() == ["gateway", "worker", "control"]


async def test_a_child_that_does_not_hear_is_killed_after_its_drain_time(tmp_path):
    child = spec(tmp_path, "deaf", STUBBORN, drain_timeout_s=0.2)
    async with running(child) as (supervisor, _, stop, task):
        await eventually(lambda: child.log_file.exists() and "deaf" in child.log_file.read_text(), timeout_s=15)
        pid, started = supervisor.statuses[0].pid, time.monotonic()
        stop.set()
        await asyncio.wait_for(task, 10)
        assert time.monotonic() - started >= 0.2
    assert not alive(pid)
    assert supervisor.statuses[0].message == "deaf"


async def test_a_child_with_a_wrong_configuration_stops_everything_with_its_words(tmp_path):
    other = spec(tmp_path, "other", SLEEP)
    wrong = spec(tmp_path, "wrong", "print('podium: port 80 cannot be used'); raise SystemExit(78)")
    async with running(other, wrong) as (supervisor, seen, _, task):
        with pytest.raises(OperatorError, match="wrong cannot run: podium: port 80 cannot be used") as caught:
            await asyncio.wait_for(task, 15)
    assert str(wrong.log_file) in caught.value.hint
    assert states(seen, "wrong").count("starting") == 1
    assert [status.state.value for status in supervisor.statuses] == ["stopped", "failed"]


async def test_an_essential_child_that_never_runs_is_given_up(tmp_path):
    broken = spec(tmp_path, "broken", "raise SystemExit('no such module')", ready_url="http://127.0.0.1:9/health")
    async with running(broken) as (supervisor, _, _, task):
        with pytest.raises(OperatorError, match="no such module"):
            await asyncio.wait_for(task, 15)
    assert supervisor.statuses[0].restarts == QUICK.first_attempts - 1


async def test_a_child_that_is_not_essential_is_tried_for_ever(tmp_path):
    broken = spec(tmp_path, "broken", "raise SystemExit(1)", ready_url="http://127.0.0.1:9/", essential=False)
    async with running(broken) as (supervisor, _, _, task):
        await eventually(lambda: supervisor.statuses[0].restarts > QUICK.first_attempts, timeout_s=15)
        assert not task.done()


async def test_a_child_that_is_not_ready_in_time_is_started_again(tmp_path):
    silent = spec(tmp_path, "silent", SLEEP, ready_url=f"http://127.0.0.1:{free_port()}/", ready_timeout_s=0.1)
    async with running(silent, backoff=Backoff(0.01, 0.05, first_attempts=100)) as (supervisor, _, _, _):
        await eventually(lambda: supervisor.statuses[0].restarts >= 1, timeout_s=15)
        assert not supervisor.ready.is_set()


async def test_a_program_that_does_not_exist_says_so(tmp_path):
    missing = ChildSpec("missing", ("/nowhere/at-all",), {}, tmp_path / "m.log", ready_url="http://127.0.0.1:9/")
    async with running(missing) as (_, _, _, task):
        with pytest.raises(OperatorError, match="cannot be started"):
            await asyncio.wait_for(task, 15)


async def test_what_a_child_leaves_running_goes_with_it(tmp_path):
    note = tmp_path / "pid"
    program = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(sys.argv[1], "w").write(f"{child.pid}\\n")
    time.sleep(600)
    """
    async with running(spec(tmp_path, "one", program, note)):
        await eventually(lambda: note.exists() and note.read_text().endswith("\n"), timeout_s=15)
        grandchild = int(note.read_text())
        assert alive(grandchild)
    await eventually(lambda: not alive(grandchild))


async def test_a_full_log_is_rotated_while_its_child_runs(tmp_path):
    program = "import time\nwhile True: print('x' * 100, flush=True); time.sleep(0.001)"
    child = spec(tmp_path, "loud", program)
    async with running(child, log_rotation=LogRotation(2_000, 1)):
        await eventually((tmp_path / "loud.log.1").exists, timeout_s=15)


async def test_a_child_sees_only_the_environment_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_SECRET_OF_THE_PARENT", "1")
    child = spec(tmp_path, "one", "import os, time; print(sorted(os.environ), flush=True); time.sleep(600)")
    async with running(child):
        await eventually(lambda: child.log_file.exists() and "PATH" in child.log_file.read_text(), timeout_s=15)
    assert "PODIUM_SECRET_OF_THE_PARENT" not in child.log_file.read_text()


def test_it_runs_on_uvloop_as_in_production(tmp_path):
    async def main():
        async with running(spec(tmp_path, "one", SLEEP)) as (supervisor, _, _, _):
            await asyncio.wait_for(supervisor.ready.wait(), 15)
            os.kill(supervisor.statuses[0].pid, signal.SIGKILL)
            await eventually(lambda: supervisor.statuses[0].restarts == 1, timeout_s=15)

    uvloop.run(main())


def test_a_spec_does_not_show_its_environment(tmp_path):
    assert "hush" not in repr(ChildSpec("one", ("true",), {"KEY": "hush"}, tmp_path / "log"))


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from podium.engine.supervisor import ChildSpec, Supervisor
folder = Path(sys.argv[1])
child = ChildSpec("one", (sys.executable, "-c", "import time; time.sleep(600)"), {}, folder / "one.log")
def note(status):
    if status.pid:
        (folder / "pid").write_text(f"{status.pid}\\n")
asyncio.run(Supervisor([child], on_change=note).run(asyncio.Event()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_children_die_with_a_supervisor_that_is_killed(tmp_path):
    note = tmp_path / "pid"
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISE, tmp_path])  # noqa: ASYNC220 - returns at once
    try:
        await eventually(lambda: note.exists() and note.read_text().endswith("\n"), timeout_s=20)
        child = int(note.read_text())
        await eventually(lambda: b"sleep" in _command_line(child), timeout_s=15)
    finally:
        supervisor.kill()
        supervisor.wait(10)
    await eventually(lambda: not alive(child), timeout_s=10)


def _command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()
