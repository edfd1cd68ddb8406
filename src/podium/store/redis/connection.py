"""One connection to the shared store, opened and used with hard time limits set by the caller."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from podium.core.errors import OperatorError
from podium.store.redis.settings import RedisSettings

__all__ = ["Command", "RedisConnection", "check_url", "words_of"]

Command = tuple[str | bytes | int, ...]

_packed: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # redis-py's own way takes six times as long


class RedisConnection:
    """One connection. After an exception of any of its methods it is closed."""

    __slots__ = ("_inner",)

    def __init__(self, settings: RedisSettings) -> None:
        self._inner = _unopened(settings)

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
        inner = self._inner
        await inner.send_packed_command([b"".join([_packed(command) for command in commands])], check_health=False)
        answers: list[Any] = []
        while len(answers) < len(commands):
            try:
                answers.append(await inner.read_response())
            except ResponseError as error:
                # Some answers end the connection in redis-py; then the rest of them is lost.
                if not inner.is_connected:
                    raise
                answers.append(error)
            await self._take_what_came(answers, len(commands))
        return answers

    async def _take_what_came(self, answers: list[Any], most: int) -> None:
        """Take the answers that came with the last one: redis-py's own way takes ten times as long for each."""
        reader: Any = self._inner._parser._reader  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        while len(answers) < most:
            answer = reader.gets()
            if answer is NOT_ENOUGH_DATA:
                return
            if isinstance(answer, BrokenError):
                await self.close()
                raise answer
            answers.append(answer)

    async def tell(self, command: Command) -> None:
        """Send a command whose answer comes among the pushed messages."""
        await self._inner.send_packed_command(self._inner.pack_command(*command), check_health=False)

    async def next_message(self) -> Any:
        """The next thing that the server says of itself; waits for it without a limit of its own."""
        return await self._inner.read_response()

    async def close(self) -> None:
        """Close it without waiting for the other side."""
        await self._inner.disconnect(nowait=True)


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
