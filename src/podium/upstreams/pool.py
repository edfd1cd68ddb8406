"""Connections to one origin: opened when needed, kept while idle, bounded in number."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass

from podium.core.errors import UpstreamFailed, UpstreamTimeout
from podium.core.reasons import Reason
from podium.upstreams.connection import Answer, Connection

__all__ = ["Origin", "Pool"]

_SWEEP_INTERVAL_S = 0.1
_IDLE_S = 60.0  # below the idle time of common servers, so that they seldom close first
_MAX_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect."""

    host: str
    port: int
    tls: ssl.SSLContext | None


class Pool:
    """Lends connections to calls. Belongs to one event loop; `close` ends it."""

    def __init__(
        self,
        origin: Origin,
        *,
        connect_s: float,
        first_byte_s: float,
        between_bytes_s: float,
        max_connections: int,
        reuses_connections: bool = True,
        max_answer_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.first_byte_s = first_byte_s
        self.between_bytes_s = between_bytes_s
        self.max_answer_bytes = max_answer_bytes
        self._origin = origin
        self._connect_s = connect_s
        self._max_connections = max_connections
        self._reuses_connections = reuses_connections
        self._loop = asyncio.get_running_loop()
        self._idle: deque[tuple[float, Connection]] = deque()  # since when; the most recent one at the right
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        """Idle and busy ones."""
        return len(self._all)

    @property
    def waiting_calls(self) -> int:
        """Calls that wait for a connection."""
        return len(self._waiting)

    def call(self, request: bytes, *, deadline_s: float) -> Awaitable[Answer]:
        """One call on a connection of its own."""
        idle = self._idle
        while idle:
            _, connection = idle.pop()
            if not connection.closed:
                return connection.call(request, deadline_s=deadline_s)
        return self._call_on_new(request, deadline_s)

    async def _call_on_new(self, request: bytes, deadline_s: float) -> Answer:
        connection = await self._obtain(deadline_s)
        return await connection.call(request, deadline_s=deadline_s)

    async def _obtain(self, deadline_s: float) -> Connection:
        """A new connection, or the next one that comes free when the bound is reached."""
        while len(self._all) + self._opening >= self._max_connections:
            if len(self._waiting) >= _MAX_WAITING:
                raise _busy()
            waiter: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout_at(min(deadline_s, self._loop.time() + self._connect_s)):
                    given = await waiter
            except BaseException as error:
                self._withdraw(waiter)
                if isinstance(error, TimeoutError):
                    raise _busy() from None
                raise
            if given is not None and not given.closed:
                return given
        return await self._open(deadline_s)

    async def _open(self, deadline_s: float) -> Connection:
        origin = self._origin
        self._opening += 1
        connection: Connection | None = None
        try:
            async with asyncio.timeout_at(min(deadline_s, self._loop.time() + self._connect_s)):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, self._loop), origin.host, origin.port, ssl=origin.tls
                )
        except TimeoutError:
            raise _unsent("No connection to the model's server in time.") from None
        except ssl.SSLError as error:
            raise UpstreamFailed("The model's server cannot be trusted.", hint=f"TLS: {error.reason}.") from error
        except OSError as error:
            raise UpstreamFailed("The model's server cannot be reached.", hint=str(error.strerror or error)) from error
        finally:
            self._opening -= 1
            if connection is None:
                self._wake_one()
        self._all.add(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_INTERVAL_S, self._sweep)
        return connection

    # Lender

    def idle(self, connection: Connection) -> None:
        """Take a connection back."""
        if self._closed or not self._reuses_connections:
            connection.abort()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append((self._loop.time(), connection))

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection; its place is free."""
        self._all.discard(connection)
        self._wake_one()

    def _wake_one(self) -> None:
        """Tell who waits longest that a connection may be opened."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _withdraw(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Stop waiting; what came in the same moment goes to the next."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)
        if waiter.done() and not waiter.cancelled():
            unused = waiter.result()
            if unused is None or unused.closed:
                self._wake_one()
            else:
                self.idle(unused)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in tuple(self._all):
            connection.sweep(now_s)
        while self._idle and (now_s - self._idle[0][0] > _IDLE_S or self._idle[0][1].closed):
            self._idle.popleft()[1].abort()
        self._sweeper = self._loop.call_later(_SWEEP_INTERVAL_S, self._sweep) if self._all else None

    def retire(self) -> None:
        """Close idle connections now and each other one after its call. Exchanges that began before go on."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].abort()

    def close(self) -> None:
        """Close everything at once."""
        self.retire()
        for connection in tuple(self._all):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()


def _unsent(message: str) -> UpstreamTimeout:
    """A time-out before anything was sent: another backend may be tried."""
    return UpstreamTimeout(message, reason=Reason.UPSTREAM_UNREACHABLE)


def _busy() -> UpstreamFailed:
    """All of our connections are in use: that is our bound, and says nothing about the server's health."""
    return UpstreamFailed(
        "All connections to the model's server are in use.",
        reason=Reason.UPSTREAM_BUSY,
        status=503,
        retry_after_s=1.0,
        hint="Raise the provider's `max_connections`, or add a backend.",
    )
