"""A real Podium in processes of its own, in a folder of its own, on free loopback ports.

What a process prints goes to a file in the folder; when something does not come true in time, its end is in
the error.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from podium.testing.ports import free_port

__all__ = ["CommandResult", "Installation", "PodiumProcess"]

_POLL_S = 0.02
_TAIL_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a `podium` command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed with `--json`."""
        return json.loads(self.out)


class PodiumProcess:
    """A running `podium` command, in a process group of its own. As a context manager it is ended with the block."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path, folder: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*_program(), *arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                self.wait(10)
            except TimeoutError:
                self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def wait(self, timeout_s: float) -> int:
        """The exit code; TimeoutError, with the end of its output, when it goes on."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {timeout_s} s:\n{self.tail()}") from None

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text("utf-8", "replace")

    def tail(self) -> str:
        """The end of that."""
        return self.output()[-_TAIL_CHARACTERS:]


@dataclass(slots=True)
class Installation:
    """A data folder and two ports; nothing runs until it is started."""

    folder: Path
    models: Path | None = None  # folder of model files to share
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    extra_environment: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def admin_key(self) -> str:
        """The first admin key."""
        return (self.data / "admin.key").read_text().strip()

    def environment(self) -> dict[str, str]:
        """What its processes see."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
        own = {
            "PODIUM_HOME": str(self.data),
            "PODIUM_PORT": str(self.port),
            "PODIUM_ADMIN_PORT": str(self.admin_port),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }
        if self.models is not None:
            own["PODIUM_MODELS_DIR"] = str(self.models)
        return inherited | own | self.extra_environment

    def start(self, *arguments: str) -> PodiumProcess:
        """Start a `podium` command that stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return PodiumProcess(arguments, self.environment(), self.folder / f"{arguments[0]}.log", self.folder)

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 30.0) -> CommandResult:
        """Run a `podium` command to its end; AssertionError when it fails, unless `check` is False."""
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603 - our own program
            [*_program(), *arguments],
            env=self.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        result = CommandResult(done.returncode, done.stdout, done.stderr)
        if check and result.code != 0:
            raise AssertionError(f"podium {' '.join(arguments)}: exit {result.code}\n{result.out}\n{result.err}")
        return result

    def new_key(self, name: str, *options: str) -> tuple[str, str]:
        """A fresh key of the default tenant: its id and its text. Gateways know it within two seconds."""
        made = self.run("keys", "create", "--tenant", "default", "--name", name, *options, "--json").json()
        return made["key"]["id"], made["api_key"]

    def wait_ready(self, process: PodiumProcess, *, timeout_s: float = 30.0) -> None:
        """Return when the gateway's /readyz is green, and none of its workers is missing there."""
        self.wait_for(self._is_ready, process, timeout_s=timeout_s)

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5.0, trust_env=False)
        except httpx.TransportError:
            return False
        workers = [part["ready"] for part in answer.json()["parts"] if part["name"].startswith("worker ")]
        return answer.status_code == httpx.codes.OK and all(workers)

    def wait_for(self, condition: Callable[[], object], process: PodiumProcess, *, timeout_s: float = 10.0) -> None:
        """Return when `condition()` holds; TimeoutError or AssertionError, with the output's end, if not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if not process.running:
                raise AssertionError(f"the process has ended:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s} s:\n{process.tail()}")
            time.sleep(_POLL_S)

    def status(self, path: str, *, port: int | None = None) -> int:
        """The status of a GET, on the gateway's port unless told otherwise; 0 when nobody answers."""
        try:
            url = f"http://127.0.0.1:{port or self.port}{path}"
            return httpx.get(url, timeout=5.0, trust_env=False).status_code
        except httpx.TransportError:
            return 0


def _program() -> list[str]:
    beside = Path(sys.executable).with_name("podium")
    return [str(beside)] if beside.exists() else [sys.executable, "-c", "from podium.cli import main; main()"]
