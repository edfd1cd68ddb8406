"""The data plane's HTTP server: listens, watches deadlines, drains."""

import asyncio
import contextlib
import errno
import socket

from podium.core.errors import OperatorError
from podium.web.addresses import networks
from podium.web.http1.connection import Connection, Handler
from podium.web.settings import GatewayServerSettings

__all__ = ["HttpServer", "check_ports_can_be_shared"]

_SWEEP_INTERVAL_S = 0.25
_ABORT_TIMEOUT_S = 1.0


class HttpServer:
    """Listens from `start` to `stop`."""

    def __init__(self, settings: GatewayServerSettings, handler: Handler) -> None:
        self.settings = settings
        self.handler = handler
        self.draining = False
        self.trusted = networks(settings.trusted_proxies)
        self.connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. OperatorError: the address cannot be used."""
        settings, loop = self.settings, asyncio.get_running_loop()
        if settings.share_port:
            check_ports_can_be_shared()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self, loop),
                settings.host,
                settings.port,
                backlog=settings.backlog,
                reuse_port=settings.share_port,
            )
        except OSError as error:
            raise _cannot_listen(settings, error) from error
        self._sweeper = loop.call_later(_SWEEP_INTERVAL_S, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for connection in tuple(self.connections):
            connection.sweep(now_s)
        self._sweeper = loop.call_later(_SWEEP_INTERVAL_S, self._sweep, loop)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def stop(self) -> None:
        """Take no new exchange, let the running ones finish for `drain_timeout_s`, cut off the rest."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        if self.connections:
            self._empty.clear()
            for connection in tuple(self.connections):
                connection.drain()
            await self._emptied(self.settings.drain_timeout_s)
        if self.connections:
            for connection in tuple(self.connections):
                connection.abort()
            await self._emptied(_ABORT_TIMEOUT_S)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _emptied(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()


def check_ports_can_be_shared() -> None:
    """OperatorError where the system cannot spread the connections of a port over several processes."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OperatorError(
            "This system has no SO_REUSEPORT: several gateways cannot listen on one port.",
            hint="Run one gateway here, or several with a port each behind a load balancer.",
        )


def _cannot_listen(settings: GatewayServerSettings, error: OSError) -> OperatorError:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return OperatorError(
            f"Port {settings.port} on {settings.host} is in use.",
            hint="Stop what uses it, or choose another with --port.",
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return OperatorError(f"{settings.host!r} is not an address of this machine.", hint="See server.host.")
    return OperatorError(f"Cannot listen on {where}: {error.strerror}.", hint="Ports below 1024 need privileges.")
