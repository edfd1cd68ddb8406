"""The bench itself: mock providers on the load core, load generators beside them, and how long each load lasts."""

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from harness.contestants.base import Running
from harness.load.scripts import Subjects, wrk_script
from harness.machine import Watch
from harness.mocks.nginx import write_mock_configuration
from harness.place import BENCH, Place
from harness.processes import BenchError, Child, wait_for_port
from harness.request import Request

__all__ = ["FULL", "QUICK", "Lab", "Loads", "WrkResult"]

ResultT = TypeVar("ResultT", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Loads:
    """How much of each load there is."""

    warm_s: float
    requests_s: int
    rate_s: float
    streams_s: float
    paced_streams: int
    paced_ramp_s: float
    paced_s: float
    soak_stops: tuple[int, int]
    rest_s: float  # before memory is read
    chats: tuple[tuple[int, int], ...]  # concurrency, chats in all
    chat_tokens: int
    translation_s: float
    slow_warm_s: float
    slow_s: float
    choices: int
    keys_s: int
    overload_warm_s: float
    overload_calm_s: float
    overload_s: float


FULL = Loads(
    warm_s=2,
    requests_s=6,
    rate_s=10,
    streams_s=6,
    paced_streams=5000,
    paced_ramp_s=5,
    paced_s=8,
    soak_stops=(50_000, 300_000),
    rest_s=2,
    chats=((1, 4), (8, 16), (32, 32)),
    chat_tokens=48,
    translation_s=4,
    slow_warm_s=5,
    slow_s=20,
    choices=20_000,
    keys_s=5,
    overload_warm_s=2,
    overload_calm_s=4,
    overload_s=6,
)
QUICK = Loads(
    warm_s=1,
    requests_s=2,
    rate_s=3,
    streams_s=2,
    paced_streams=500,
    paced_ramp_s=1,
    paced_s=2,
    soak_stops=(2_000, 6_000),
    rest_s=0.5,
    chats=((1, 1), (8, 8), (32, 32)),
    chat_tokens=12,
    translation_s=1,
    slow_warm_s=2,
    slow_s=3,
    choices=2_000,
    keys_s=2,
    overload_warm_s=1,
    overload_calm_s=1,
    overload_s=2,
)


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk saw."""

    seconds: float
    answered: int
    failed: int
    p50_ms: float
    p99_ms: float
    cpu_s: float = 0.0  # that it used itself


@dataclass(frozen=True, slots=True)
class Lab:
    """What a metric has to work with."""

    place: Place
    loads: Loads

    def watch(self, running: Running) -> Watch:
        """Begin to count the contestant's processor time."""
        return Watch(
            gateway=running.gateway.pid,
            sides=running.side_pids,
            gateway_core=self.place.gateway_core,
            load_core=self.place.load_core,
        )

    @property
    def cores(self) -> set[int]:
        """Both."""
        return {self.place.gateway_core, self.place.load_core}

    @contextmanager
    def _mock(self, command: list[str], port: int, *, everywhere: bool = False) -> Iterator[Child]:
        environment = {"PYTHONPATH": str(BENCH)}
        log = self.place.folder("mock") / "mock.err"
        cores = self.cores if everywhere else {self.place.load_core}
        with Child("mock provider", command, cores=cores, log=log, environment=environment) as child:
            wait_for_port(child, port)
            yield child

    def json_mock(self, *, everywhere: bool = False) -> contextlib.AbstractContextManager[Child]:
        """A provider that answers with the fixed completion, on all upstream ports. `everywhere`: on both cores."""
        ports = self.place.upstream_ports
        command = write_mock_configuration(self.place.folder("mock"), ports)
        return self._mock(command, ports[0], everywhere=everywhere)

    def narrow_mock(self, *, places: int, service_ms: float) -> contextlib.AbstractContextManager[Child]:
        """A provider that works on few requests at a time; see harness.mocks.narrow."""
        port = self.place.upstream_port
        options = ["--port", str(port), "--places", str(places), "--service-ms", str(service_ms)]
        return self._mock([sys.executable, "-m", "harness.mocks.narrow", *options], port)

    def stream_mock(
        self, *, events: int, interval_ms: int = 0, stamp: bool = False
    ) -> contextlib.AbstractContextManager[Child]:
        """A provider that streams; see harness.mocks.sse."""
        port = self.place.upstream_port
        options = ["--port", str(port), "--events", str(events), "--interval-ms", str(interval_ms)]
        return self._mock([sys.executable, "-m", "harness.mocks.sse", *options, *(["--stamp"] if stamp else [])], port)

    @contextmanager
    def simulators(self, behaviour: str) -> Iterator[None]:
        """A simulated provider on each upstream port (podium.testing.upstream); all begin with that behaviour."""
        with ExitStack() as stack:
            for number, port in enumerate(self.place.upstream_ports):
                options = ["--protocol", "openai", "--port", str(port), "--behaviour", behaviour]
                further = ["--no-keys", "--seed", str(number), "--kept-requests", "0"]
                stack.enter_context(
                    self._mock([sys.executable, "-m", "podium.testing.upstream", *options, *further], port)
                )
            yield

    def wrk(
        self, request: Request, *, seconds: int, connections: int = 64, subjects: Subjects | None = None
    ) -> WrkResult:
        """Closed loop as fast as it goes; wrk costs the load core less than any generator in Python.

        `subjects`: each request is for a key and a model of its own.
        """
        return self.wrk_each((request,), seconds=seconds, connections=connections, subjects=subjects)

    def wrk_each(
        self,
        requests: Sequence[Request],
        *,
        seconds: int,
        connections: int,
        subjects: Subjects | None = None,
        everywhere: bool = False,
    ) -> WrkResult:
        """One wrk for each request, at the same time, each with that many connections; the sum of what they saw.

        Of latencies, the worst is told. `everywhere`: on both cores.
        """
        running = [self._start_wrk(*one, seconds, connections, subjects, everywhere) for one in enumerate(requests)]
        try:
            results = [_wrk_result(one, seconds + 60) for one in running]
        finally:
            for one in running:
                one.kill()
                one.communicate()
        return WrkResult(
            seconds=max(one.seconds for one in results),
            answered=sum(one.answered for one in results),
            failed=sum(one.failed for one in results),
            p50_ms=max(one.p50_ms for one in results),
            p99_ms=max(one.p99_ms for one in results),
            cpu_s=sum(one.cpu_s for one in results),
        )

    def _start_wrk(
        self,
        number: int,
        request: Request,
        seconds: int,
        connections: int,
        subjects: Subjects | None,
        everywhere: bool,  # noqa: FBT001 - private
    ) -> subprocess.Popen[str]:
        script = self.place.folder("wrk") / f"request-{number}.lua"
        script.write_text(wrk_script(request, subjects))
        cores = self.cores if everywhere else {self.place.load_core}
        return subprocess.Popen(
            [
                *(find_wrk(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
                *("--timeout", "20s", "--latency", "--script", str(script)),
                f"http://127.0.0.1:{request.port}{request.path}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - the harness has one thread
        )

    def generate(
        self,
        module: str,
        job: msgspec.Struct,
        result_type: type[ResultT],
        *,
        on_mark: Callable[[str], None] = lambda _word: None,
        limit_s: float,
    ) -> ResultT:
        """Run a generator of harness.load to its end. After each mark it is told to go on."""
        process = subprocess.Popen(
            [sys.executable, "-m", f"harness.load.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(BENCH)},
        )
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            for line in _lines(process, time.monotonic() + limit_s):
                kind, _, rest = line.partition(" ")
                if kind == "result":
                    return msgspec.json.decode(rest, type=result_type)
                if kind == "mark":
                    on_mark(rest)
                    process.stdin.write(b"\n")
                    process.stdin.flush()
            raise BenchError(f"the load generator {module} ended without a result")
        except BrokenPipeError as error:
            raise BenchError(f"the load generator {module} broke off") from error
        finally:
            process.kill()
            process.wait(5)
            process.stdin.close()
            if process.stdout is not None:
                process.stdout.close()


def find_wrk() -> str:
    """Path of wrk."""
    if (found := shutil.which("wrk")) is None:
        raise BenchError("wrk is not installed: run `make system-packages`")
    return found


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
    assert process.stdout is not None
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if not selector.select(left_s):
                break
            data = os.read(process.stdout.fileno(), 65_536)
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            yield from (line.decode() for line in lines)
    raise BenchError("the load generator did not end in time")


def _wrk_result(process: subprocess.Popen[str], limit_s: float) -> WrkResult:
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"wrk: {error}") from error
    found = re.search(r"^bench (\d+) (\d+) (\d+) (\S+) (\S+) (\S+)$", output, re.MULTILINE)
    if process.returncode != 0 or found is None:
        raise BenchError(f"wrk told no figures: {(errors or output)[-300:]}")
    micros, requests, failed = int(found[1]), int(found[2]), int(found[3])
    p50_ms, p99_ms = float(found[4]) / 1e3, float(found[5]) / 1e3
    return WrkResult(micros / 1e6, requests - failed, failed, p50_ms, p99_ms, float(found[6]))
