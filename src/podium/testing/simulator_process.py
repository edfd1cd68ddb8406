"""The simulator in a process of its own: it can be killed, and started again where it was.

Its calls block for a few milliseconds; from a test's event loop that does no harm.
"""

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from podium.testing.ports import free_port

__all__ = ["SimulatorProcess"]

_POLL_S = 0.02
_PATIENCE_S = 20.0
_OK = 200


class SimulatorProcess:
    """`python -m podium.testing.upstream` on a port that stays the same. As a context manager it runs in the block."""

    def __init__(self, log: Path, behaviour: str = "plain") -> None:
        self.port = free_port()
        self._log, self._behaviour = log, behaviour
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL for OpenAI's protocol."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it, or start it again; it need not listen yet."""
        command = [sys.executable, "-m", "podium.testing.upstream", "--no-keys"]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--port", str(self.port), "--behaviour", self._behaviour],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_up(self) -> None:
        """Return when it listens; AssertionError or TimeoutError, with what it printed, when that does not happen."""
        deadline = time.monotonic() + _PATIENCE_S
        while not (said := self._log.read_text("utf-8", "replace")).startswith('{"port"') or "\n" not in said:
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the simulator has ended:\n{said}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the simulator does not listen:\n{said}")
            time.sleep(_POLL_S)
        self.port = json.loads(said.partition("\n")[0])["port"]

    def kill(self) -> None:
        """End it with SIGKILL; nothing listens on its port afterwards."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_PATIENCE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def behave(self, behaviour: str) -> None:
        """Answer like this from now on, until it is started again; see podium.testing.upstream.specs."""
        self._ask("POST", "/simulate", {"behaviour": behaviour})

    def state(self) -> dict[str, Any]:
        """What `GET /simulate` tells."""
        state: dict[str, Any] = self._ask("GET", "/simulate")
        return state

    @property
    def requests(self) -> int:
        """How many it has seen since it was started."""
        return int(self.state()["requests"])

    @property
    def open_connections(self) -> int:
        """How many others hold with it."""
        return int(self.state()["open_connections"]) - 1  # the one that asks

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = json.load(answer)
        finally:
            connection.close()
        if answer.status != _OK:
            raise ValueError(f"the simulator refuses: {content}")
        return content
