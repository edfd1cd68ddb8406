"""One request and its one answer on an HTTP/1.1 connection."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from podium.core.errors import PodiumError, RequestTooLarge

if TYPE_CHECKING:
    from podium.web.http1.connection import Connection

__all__ = ["Message"]


class Message:
    """What the surface sees of a request, and the way to answer it. Made by `Connection` when a head is complete."""

    __slots__ = (
        "_body",
        "_body_complete",
        "_body_error",
        "_body_waiter",
        "_connection",
        "answered",
        "body_bytes",
        "bytes_out",
        "headers",
        "keep_alive",
        "method",
        "path",
        "room",
        "started",
        "streams_chunked",
    )

    def __init__(
        self, connection: "Connection", method: bytes, path: bytes, headers: dict[bytes, bytes], *, keep_alive: bool
    ) -> None:
        self._connection = connection
        self.method = method
        self.path = path  # without the query
        self.headers = headers
        self.keep_alive = keep_alive
        self.streams_chunked = True  # False for HTTP/1.0: the end of the connection ends the body
        self._body: list[bytes] = []
        self.body_bytes = 0
        self._body_complete = False
        self._body_error: PodiumError | None = None
        self._body_waiter: asyncio.Future[None] | None = None
        self.started = False  # the answer's head is written
        self.answered = False  # the answer is complete
        self.bytes_out = 0
        self.room: Callable[[], None] | None = None

    # The request's side, called by the connection.

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self.body_bytes += len(piece)
        if self.body_bytes <= self._connection.settings.max_body_bytes:
            self._body.append(piece)
        elif self._body_error is None:
            self.fail_body(self.too_large())

    def complete(self) -> None:
        """The body is whole."""
        self._body_complete = True
        self._wake()

    def expect_more(self) -> None:
        """The body is not whole, though the parser said so."""
        self._body_complete = False

    def fail_body(self, error: PodiumError) -> None:
        """The body will not be whole. The connection closes after the answer."""
        self._body_error = error
        self._body.clear()
        self.keep_alive = False
        self._wake()

    def too_large(self) -> RequestTooLarge:
        """The error for a body over the limit."""
        limit = self._connection.settings.max_body_bytes
        return RequestTooLarge(f"The body is larger than {limit} bytes.", hint="The limit is server.max_body_bytes.")

    @property
    def body_complete(self) -> bool:
        """True when the body is whole."""
        return self._body_complete

    def _wake(self) -> None:
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_result(None)

    # The surface's side: podium.gateway.ports.Caller.

    @property
    def gone(self) -> bool:
        """True once the connection is closed."""
        return self._connection.closed

    @property
    def address(self) -> str:
        """The caller's IP address; behind proxies that the operator trusts, as they say."""
        return self._connection.caller_address(self.headers.get(b"x-forwarded-for"))

    @property
    def body(self) -> bytes | None:
        """The whole body, when it is here already."""
        body = self._body
        return body[0] if self._body_complete and self._body_error is None and len(body) == 1 else None

    async def read_body(self) -> bytes:
        """The whole body; RequestTooLarge, RequestTimeout, InvalidRequest."""
        if not self._body_complete and self._body_error is None:
            self._connection.expect_body(self)
            self._body_waiter = self._connection.loop.create_future()
            await self._body_waiter
        if self._body_error is not None:
            raise self._body_error
        body = self._body
        return body[0] if len(body) == 1 else b"".join(body)

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""
        self._connection.send(self, status, headers, body)

    def start(self, status: int, headers: bytes) -> None:
        """Begin a streamed answer."""
        self._connection.start(self, status, headers)

    def write(self, data: bytes) -> bool:
        """A piece of a streamed answer; False: hold back until `on_room` is called."""
        return self._connection.write(self, data)

    def finish(self, data: bytes = b"") -> None:
        """The last piece and the end of a streamed answer."""
        self._connection.finish(self, data)

    def on_room(self, callback: Callable[[], None]) -> None:
        """What to call when the connection takes bytes again."""
        self.room = callback
