"""Podium's handlers served by granian, a server in Rust, on its RSGI interface: one worker, loop uvloop.

Beside podium.web.http1 it has no deadline for a body or for a caller that takes no bytes. That a caller is gone it
tells to who awaits it, at the price of one more task for each exchange; here it shows when a stream is written to.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from podium.core.errors import RequestTooLarge
from podium.web.http1.connection import Handler
from podium.web.settings import GatewayServerSettings

__all__ = ["RsgiMessage", "serve_on_granian"]

_HIGH_WATER_BYTES = 256 * 1024  # as podium.web.http1


def serve_on_granian(settings: GatewayServerSettings, make_handler: Callable[[], Handler]) -> int:
    """Serve until SIGTERM; the exit code. `make_handler` can be pickled and is called in the worker, on its loop."""
    server = Granian(
        "",  # a name to import; the loader below gives the application itself
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        workers=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.head_timeout_s * 1e3)),
        websockets=False,
        backlog=settings.backlog,
        backpressure=settings.max_connections,
        log_enabled=False,
    )
    server.serve(target_loader=partial(_Application, settings, make_handler), wrap_loader=False)
    return 0


class _Application:
    """What granian calls for each request."""

    def __init__(self, settings: GatewayServerSettings, make_handler: Callable[[], Handler]) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._make_handler = make_handler
        self._handler: Handler | None = None

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        if (handler := self._handler) is None:
            handler = self._handler = self._make_handler()  # here, because only here the loop runs
        message = RsgiMessage(scope, protocol, self._max_body_bytes)
        try:
            await handler(message)  # type: ignore[arg-type] - a Caller that has path and method, as a Message has
        except asyncio.CancelledError:
            if not message.gone:
                raise
        finally:
            await message.written()


class RsgiMessage:
    """One request and its one answer (podium.gateway.ports.Caller)."""

    __slots__ = (
        "_ended",
        "_handling",
        "_max_body_bytes",
        "_more",
        "_pieces",
        "_protocol",
        "_room",
        "_scope",
        "_waiting_bytes",
        "_writing",
        "gone",
        "path",
    )

    def __init__(self, scope: Scope, protocol: HTTPProtocol, max_body_bytes: int) -> None:
        self._scope = scope
        self._protocol = protocol
        self._max_body_bytes = max_body_bytes
        self.path = scope.path.encode()
        self.gone = False
        self._handling: asyncio.Task[Any] | None = None  # while an answer is streamed
        self._writing: asyncio.Task[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._more: asyncio.Future[None] | None = None
        self._room: Callable[[], None] | None = None
        self._ended = False

    @property
    def method(self) -> bytes:
        """The request's."""
        return self._scope.method.encode()

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Names in lower case."""
        return {name.encode(): value.encode("latin-1") for name, value in self._scope.headers.items()}

    async def read_body(self) -> bytes:
        """The whole body; RequestTooLarge."""
        limit = self._max_body_bytes
        if int(self._scope.headers.get("content-length", "0")) <= limit:
            body = await self._protocol()
            if len(body) <= limit:
                return body
        raise RequestTooLarge(f"The body is larger than {limit} bytes.")

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""
        self._protocol.response_bytes(status, _pairs(headers), body)

    def start(self, status: int, headers: bytes) -> None:
        """Begin a streamed answer."""
        transport = self._protocol.response_stream(status, _pairs(headers))
        self._handling = asyncio.current_task()
        self._writing = asyncio.get_running_loop().create_task(self._write_all(transport))

    def write(self, data: bytes) -> bool:
        """A piece of a streamed answer; False: hold back until `on_room` is called."""
        if data and not self.gone:
            self._pieces.append(data)
            self._waiting_bytes += len(data)
            self._wake()
        return self._waiting_bytes < _HIGH_WATER_BYTES

    def finish(self, data: bytes = b"") -> None:
        """The last piece and the end of a streamed answer."""
        self.write(data)
        self._ended = True
        self._wake()

    def on_room(self, callback: Callable[[], None]) -> None:
        """What to call when the connection takes bytes again."""
        self._room = callback

    async def written(self) -> None:
        """Wait until a streamed answer is with granian; one that nobody finished ends here."""
        if self._writing is not None:
            self._ended = True
            self._wake()
            await self._writing

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def _write_all(self, transport: Any) -> None:
        """Give granian what waits, all of it at once; it takes pieces one by one, each with an await."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._pieces:
                if self._ended:
                    return
                self._more = loop.create_future()
                await self._more
                continue
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            held_back = self._waiting_bytes >= _HIGH_WATER_BYTES
            self._pieces.clear()
            self._waiting_bytes = 0
            try:
                await transport.send_bytes(data)
            except ProtocolClosed:
                self.gone = True
                self._pieces.clear()
                self._waiting_bytes = 0
            if held_back and self._room is not None:
                self._room()
            if self.gone:
                if self._handling is not None and not self._ended:
                    self._handling.cancel()
                return


@lru_cache(maxsize=256)
def _pairs(headers: bytes) -> list[tuple[str, str]]:
    """Header lines as granian takes them."""
    lines = headers.decode("latin-1").split("\r\n")
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name]
