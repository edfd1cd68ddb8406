"""Child processes that cannot outlive the harness, each pinned to one core."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.machine import started_ticks, tree

__all__ = [
    "BenchError",
    "Child",
    "NotThere",
    "free_ports",
    "http_get",
    "http_status",
    "listens",
    "wait_for_http",
    "wait_for_port",
]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)
_POLL_S = 0.005


class BenchError(Exception):
    """Why something cannot be measured, in a sentence for the person at the terminal."""


class NotThere(BenchError):
    """What is measured, or this machine, lacks what a contestant is about: it is left out, and the page says why."""


class Child:
    """A process in a session of its own. Leaving the `with` block stops it and all that it started.

    `cores`: where it may run. Output goes to `log`. The kernel kills it when the harness dies.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cores: set[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
        stdout: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as errors, (stdout or log).open("ab") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                cwd=folder,
                start_new_session=True,
                preexec_fn=_prepare(cores),  # noqa: PLW1509 - the harness has one thread
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, *, patience_s: float = 10.0) -> bool:
        """Ask it to end, then kill what is left of its tree; True when it ended by itself in time."""
        everyone = {pid: started_ticks(pid) for pid in tree(self.pid)}
        willing = True
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                willing = False
        deadline = time.monotonic() + 5
        while left := [pid for pid, started in everyone.items() if _is_same(pid, started)]:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: processes {left} do not end")
            for pid in left:
                _kill(pid)
            self.process.poll()
            time.sleep(_POLL_S)
        self.process.wait(5)
        return willing

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace")[-800:].strip()
        return f"{text} (in {self.log})" if text else f"nothing in {self.log}"


def _prepare(cores: set[int]) -> Callable[[], None]:
    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    return prepare


def _is_same(pid: int, started: int | None) -> bool:
    """Whether the process is still there, and not its number's next owner."""
    return started is not None and started_ticks(pid) == started


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def http_get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a GET on loopback; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def http_status(port: int, path: str, headers: Mapping[str, str] | None = None) -> int:
    """Status of a GET on loopback; 0 when nobody answers."""
    return http_get(port, path, headers)[0]


def listens(port: int) -> bool:
    """Whether a port of loopback takes connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for_port(child: Child, port: int, *, limit_s: float = 10) -> None:
    """Wait until something listens."""
    while not listens(port):
        child.require_alive()
        if time.perf_counter() - child.started > limit_s:
            raise BenchError(f"{child.name} does not listen: {child.tail()}")
        time.sleep(_POLL_S)


def wait_for_http(
    child: Child, port: int, path: str, *, limit_s: float, headers: Mapping[str, str] | None = None
) -> float:
    """Wait for a 200; the seconds from the child's exec to it."""
    while time.perf_counter() - child.started < limit_s:
        child.require_alive()
        if http_status(port, path, headers) == 200:
            return time.perf_counter() - child.started
        time.sleep(_POLL_S)
    raise BenchError(f"{child.name}: no 200 on {path} within {limit_s:.0f} s: {child.tail()}")
