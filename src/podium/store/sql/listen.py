"""PostgreSQL's NOTIFY, heard on a connection of its own.

A notification is lost while nobody listens, so `heard` is also called after each time that listening began, and
whoever listens polls as well. A pooler that gives connections to one transaction at a time (pgbouncer) cannot
forward notifications: then the poll is all there is.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import structlog
from sqlalchemy import URL

from podium.store.settings import DatabaseSettings

if TYPE_CHECKING:
    import asyncpg  # type: ignore[import-untyped]

__all__ = ["SqlListener", "driver_url"]

_log = structlog.get_logger("podium.database")
_SIGN_EVERY_S = 5.0  # a connection that gives no sign of life for so long is asked for one
_SIGN_TIMEOUT_S = 2.0
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 15.0


class SqlListener:
    """Listens to one channel while it is open, as an async context manager.

    `heard` gets the payload, "" after listening began; it is called in the event loop, must be quick and not raise.
    """

    def __init__(self, url: URL, settings: DatabaseSettings, channel: str, heard: Callable[[str], None]) -> None:
        self._url = driver_url(url)
        self._settings = settings
        self._channel = channel
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self.listening = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"listens to {self._channel}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Listen, and again whenever the connection breaks; the waits between double."""
        import asyncpg  # noqa: PLC0415 - an extra, and heavy

        wait_s, warned = _FIRST_WAIT_S, False
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if self.listening:
                    wait_s, warned = _FIRST_WAIT_S, False
                if not warned:
                    _log.warning("not_listening", channel=self._channel, error=str(error) or type(error).__name__)
                warned = True
            self.listening = False
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _listen(self) -> None:
        """Until the connection breaks, which raises; it is closed then."""
        import asyncpg  # noqa: PLC0415 - as above

        broken = asyncio.Event()
        timeout_s = self._settings.connect_timeout_s
        connection = await asyncpg.connect(
            self._url, timeout=timeout_s, server_settings={"application_name": "podium notices"}
        )
        try:
            connection.add_termination_listener(lambda _: broken.set())
            async with asyncio.timeout(timeout_s):
                await connection.add_listener(self._channel, self._take)
            self.listening = True
            self._heard("")
            while not broken.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SIGN_EVERY_S):
                        await broken.wait()
                if not broken.is_set():
                    await connection.execute("SELECT 1", timeout=_SIGN_TIMEOUT_S)
            raise ConnectionError("the connection was closed")
        finally:
            connection.terminate()

    def _take(self, _connection: "asyncpg.Connection[Any]", _pid: int, _channel: str, payload: object) -> None:
        self._heard(str(payload))


def driver_url(url: URL) -> str:
    """The URL as asyncpg itself takes it, password and all: not to be shown."""
    plain = url.set(drivername="postgresql")
    if "ssl" in plain.query:  # SQLAlchemy's name of it
        mode = plain.query["ssl"]
        plain = plain.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    return plain.render_as_string(hide_password=False)
