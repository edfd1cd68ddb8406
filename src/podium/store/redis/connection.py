"""One connection to the shared store, opened and used with hard time limits set by the caller."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.maint_notifications import MaintNotificationsConfig

from podium.core.errors import OperatorError
from podium.store.redis.settings import RedisSettings

__all__ = ["Command", "RedisConnection", "check_url", "error_of", "words_of"]

Command = tuple[str | bytes | int, ...]

_packed: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # redis-py's own way takes six times as long

_NOT_ENOUGH = object()
_ERRORS = {
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
}
_NO_USE = ("LOADING", "NOAUTH", "ERR max number of clients reached")  # of this connection, for anything


class RedisConnection:
    """One connection. After an exception of any of its methods it is closed."""

    __slots__ = ("_answers", "_inner")

    def __init__(self, settings: RedisSettings) -> None:
        self._inner = _unopened(settings)
        self._answers: _Answers | None = None  # from the first exchange on

    async def open(self) -> None:
        """Connect and authenticate; RedisError, OSError. The caller limits the time."""
        try:
            await self._inner.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await self.close()
            raise

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once; their answers in order, an error as a ResponseError in its place.

        RedisError or OSError when the connection breaks; a cancellation closes it, for answers are still to come.
        """
        answers = self._answers
        if answers is None:
            answers = self._answers = _Answers(self._inner)
        try:
            return await answers.ask(b"".join([_packed(command) for command in commands]), len(commands))
        except BaseException:
            await self.close()
            raise

    async def tell(self, command: Command) -> None:
        """Send a command whose answer comes among the pushed messages."""
        await self._inner.send_packed_command(self._inner.pack_command(*command), check_health=False)

    async def next_message(self) -> Any:
        """The next thing that the server says of itself; waits for it without a limit of its own."""
        return await self._inner.read_response()

    async def close(self) -> None:
        """Close it without waiting for the other side."""
        await self._inner.disconnect(nowait=True)


class _Answers(asyncio.Protocol):
    """Reads what an opened connection answers, in place of redis-py: its way takes several times as long."""

    def __init__(self, inner: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=error_of, notEnoughData=_NOT_ENOUGH)
        self._transport: asyncio.WriteTransport = inner._writer.transport  # noqa: SLF001 - it has no other face
        self._asked: asyncio.Future[list[Any]] | None = None
        self._answers: list[Any] = []
        self._wanted = 0
        self._transport.set_protocol(self)

    def ask(self, commands: bytes, count: int) -> "asyncio.Future[list[Any]]":
        """Send as many commands; their answers to come. RedisError when the connection breaks."""
        asked = self._asked = self._loop.create_future()
        self._answers, self._wanted = [], count
        if self._transport.is_closing():
            asked.set_exception(BrokenError("the server has closed the connection"))
        else:
            self._transport.write(commands)
        return asked

    def data_received(self, data: bytes) -> None:
        """As asyncio.Protocol."""
        reader, answers = self._reader, self._answers
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _NOT_ENOUGH:
                if isinstance(answer, BrokenError):
                    raise answer
                answers.append(answer)
        except (RedisError, hiredis.HiredisError) as error:
            self._fail(error if isinstance(error, RedisError) else BrokenError(str(error)))
            return
        if self._asked is not None and len(answers) == self._wanted and not self._asked.done():
            self._asked.set_result(answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio.Protocol."""
        self._fail(exc or BrokenError("the server has closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)


def error_of(text: str) -> Exception:
    """The error that the server answers with."""
    if text.startswith(_NO_USE):
        return BrokenError(text)
    return _ERRORS.get(text.partition(" ")[0], ResponseError)(text.removeprefix("ERR "))


def check_url(settings: RedisSettings) -> None:
    """OperatorError: no connection can ever be made with these settings."""
    if settings.url is None:
        raise OperatorError("No shared store is set.", hint="redis.url looks like redis://host:6379/0")
    _unopened(settings)


def words_of(error: BaseException) -> str:
    """What went wrong, in a few words without anything secret."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) if isinstance(error, RedisError) else "") or type(error).__name__


def _unopened(settings: RedisSettings) -> AbstractConnection:
    common: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "protocol": 2,
        "socket_timeout": None,  # our own limits surround each use
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "client_name": "podium",
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    address = urlsplit(settings.url or "")
    for name in ("username", "password"):
        if text := getattr(address, name):
            common[name] = unquote(text)
    if address.scheme == "unix":
        return UnixDomainSocketConnection(path=unquote(address.path), **common)
    if not address.hostname:
        raise OperatorError("The Redis URL names no host.", hint="it looks like redis://host:6379/0")
    database = address.path.strip("/") or "0"
    if not database.isdecimal():
        raise OperatorError("The Redis URL's path is no database number.", hint="it looks like redis://host:6379/0")
    common |= {"host": address.hostname, "port": address.port or 6379, "db": int(database)}
    if address.scheme == "rediss":
        return SSLConnection(ssl_ca_certs=settings.ca_file, ssl_cert_reqs="required", ssl_check_hostname=True, **common)
    return Connection(**common)
