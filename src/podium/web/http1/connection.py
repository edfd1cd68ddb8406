"""HTTP/1.1 on one connection: bytes to messages (llhttp by httptools) and answers to bytes.

Rules:
1. Messages are answered one after another, in the order they came; pipelined ones wait, a bounded number.
2. Whatever waits for the caller has a deadline: head, body, room to write, idleness. `sweep` enforces them.
3. A caller that closes its side is gone: the running handler is cancelled.
4. A malformed request is answered once, in the surface's error shape, and closes the connection.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
import structlog

from podium.core.errors import ClientGone, InternalError, InvalidRequest, PodiumError, RequestTimeout, RequestTooLarge
from podium.web.addresses import Networks, caller_address
from podium.web.http1.message import Message
from podium.web.settings import GatewayServerSettings

__all__ = ["Connection", "Handler", "Owner"]

_MAX_PIPELINED = 16
_NOT_MODIFIED = 304
_LINGER_S = 2.0
_HIGH_WATER_BYTES = 256 * 1024
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_HEX_LENGTHS = [b"%x\r\n" % length for length in range(4096)]

log = structlog.get_logger(__name__)


class Handler(Protocol):
    """What answers messages: a surface."""

    def __call__(self, message: Message) -> Coroutine[Any, Any, None]:
        """What answers `message`, whole, whatever happens, when it is run."""

    def refuse(self, message: Message, error: PodiumError) -> None:
        """Answer a message that could not be read."""


class Owner(Protocol):
    """The server, as a connection sees it."""

    settings: GatewayServerSettings
    handler: Handler
    draining: bool
    trusted: Networks  # proxies
    connections: set["Connection"]

    def lost(self, connection: "Connection") -> None:
        """A connection is closed."""


class Connection(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_body_deadline",
        "_current",
        "_expects_continue",
        "_head_bytes",
        "_headers",
        "_idle_since",
        "_lingers_until",
        "_next",
        "_parser",
        "_path",
        "_pending",
        "_queue",
        "_reading_paused",
        "_stuck_since",
        "_task",
        "_transport",
        "_uncounted",
        "_unhandled",
        "closed",
        "loop",
        "owner",
        "settings",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self.settings = owner.settings
        self.loop = loop
        self.closed = False
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0  # of the head that is being read; 0 between messages
        self._expects_continue = False
        self._uncounted = 0  # bytes still to come of a body that the parser does not see
        self._current: Message | None = None  # being answered
        self._task: asyncio.Task[None] | None = None  # handles one message after another
        self._next: asyncio.Future[None] | None = None  # what it waits for between them
        self._unhandled: Message | None = None  # its turn has come
        self._pending: Message | None = None  # its body is being read
        self._queue: deque[Message] = deque()  # complete heads that wait for their turn
        self._reading_paused = False
        self._idle_since = loop.time()  # or since when a head is being read
        self._body_deadline = 0.0
        self._stuck_since = 0.0  # since when the caller takes no bytes; 0: it does
        self._lingers_until = 0.0  # after an early answer: what still comes is dropped

    def caller_address(self, forwarded: bytes | None) -> str:
        """Where the caller is. `forwarded`: what the request's X-Forwarded-For says."""
        peer = self._transport.get_extra_info("peername")
        return caller_address(str(peer[0]) if peer else "", forwarded, self.owner.trusted)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        owner = self.owner
        if len(owner.connections) >= self.settings.max_connections or owner.draining:
            self._transport.abort()
            return
        owner.connections.add(self)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed = True
        self.owner.lost(self)
        self._queue.clear()
        if self._pending is not None and not self._pending.body_complete:
            self._pending.fail_body(ClientGone("The caller closed the connection."))
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        return False  # close; a caller that half-closes is gone (as for nginx)

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        if self._current is not None and self._current.room is not None:
            self._current.room()

    def data_received(self, data: bytes) -> None:
        if self._lingers_until:
            return
        if self._uncounted:
            self._feed_uncounted(data)
            return
        if not self._head_bytes and self._pending is None:
            self._idle_since = self.loop.time()
        if self._pending is None:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.max_head_bytes and not self._feed_within_limit(data):
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:  # a bug of ours, not the caller's request
            log.exception("request_not_read")
            self._refuse(InternalError("Podium failed to read the request."))
        except httptools.HttpParserError:
            self._refuse(InvalidRequest("The request is not valid HTTP/1.1."))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer as if no upgrade was asked for (RFC 9110, section 7.8), then close.

        The parser stops at the head of such a message, so a body of known length is counted here. HTTP/2 over
        cleartext is asked for by curl --http2 and Java's client with every request.
        """
        message = self._pending or self._current
        if message is None:
            return
        message.keep_alive = False
        if b"transfer-encoding" in message.headers:
            message.fail_body(InvalidRequest("The upgrade that was asked for is not offered."))
        elif message.method != b"CONNECT" and (length := int(message.headers.get(b"content-length", b"0"))):
            message.expect_more()
            self._pending = message
            self._uncounted = length
            self._feed_uncounted(rest)

    def _feed_uncounted(self, data: bytes) -> None:
        if self._pending is None:
            return
        self._pending.feed(data[: self._uncounted])
        self._uncounted -= min(len(data), self._uncounted)
        if not self._uncounted:
            self._pending.complete()
            self._pending = None

    def _feed_within_limit(self, data: bytes) -> bool:
        """True when the surplus is body: a head is judged by what comes before its blank line."""
        end = data.find(b"\r\n\r\n")
        if end >= 0 and self._head_bytes - len(data) + end <= self.settings.max_head_bytes:
            return True
        self._refuse(RequestTooLarge(f"The head is larger than {self.settings.max_head_bytes} bytes."))
        return False

    # httptools callbacks

    def on_url(self, url: bytes) -> None:
        """Keep the target; httptools hands it over in pieces when it arrives so."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        name = name.lower()
        if name == b"expect":
            self._expects_continue = value.lower() == b"100-continue"
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Make a message of the head."""
        parser, path = self._parser, self._path
        if b"?" in path or not path.startswith(b"/"):
            path = _path_of(path)
        message = Message(
            self,
            parser.get_method(),
            path,
            self._headers,
            keep_alive=parser.should_keep_alive(),
        )
        message.streams_chunked = parser.get_http_version() != "1.0"
        self._path, self._headers = b"", {}
        length = message.headers.get(b"content-length")
        if length is not None and int(length) > self.settings.max_body_bytes:
            message.fail_body(message.too_large())
        self._pending = message
        self._body_deadline = self.loop.time() + self.settings.body_timeout_s
        if self._current is None:
            self._begin(message)
        else:
            self._queue.append(message)
            if len(self._queue) >= _MAX_PIPELINED and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()

    def on_body(self, piece: bytes) -> None:
        """Give the message its piece."""
        if self._pending is not None:
            self._pending.feed(piece)

    def on_message_complete(self) -> None:
        """The next bytes are another message's."""
        if self._pending is not None:
            self._pending.complete()
            self._pending = None
        self._head_bytes = 0
        self._expects_continue = False

    # Messages, one after another.

    def _begin(self, message: Message) -> None:
        self._current = self._unhandled = message
        if self._task is None:
            self._task = self.loop.create_task(self._answer_each())
        elif self._next is not None and not self._next.done():
            self._next.set_result(None)

    async def _answer_each(self) -> None:
        """Handle one message after another until the connection is lost: one task costs less than one a message."""
        while True:
            message, self._unhandled = self._unhandled, None
            if message is not None:
                try:
                    await self.owner.handler(message)
                except asyncio.CancelledError:
                    if not self.closed:
                        raise
                except Exception:  # the task's boundary: one exchange's bug must not take the connection's loop down
                    log.exception("exchange_failed")
                    self._transport.abort()
            if self.closed:
                return
            if self._unhandled is None:
                self._next = self.loop.create_future()
                await self._next

    def _answered(self, message: Message) -> None:
        """Go on with the next message, or close."""
        message.answered = True
        self._current = None
        if self.closed:
            return
        if not message.keep_alive or self.owner.draining or not message.body_complete:
            self._close(linger=not message.body_complete)
            return
        self._idle_since = self.loop.time()
        if self._queue:
            self._begin(self._queue.popleft())
            if self._reading_paused and not self._queue:
                self._reading_paused = False
                self._transport.resume_reading()

    def _close(self, *, linger: bool) -> None:
        """Close after what is written.

        `linger`: the caller is still sending. Closing now would reset the connection, and the reset can
        overtake the answer (RFC 9112, section 9.6), so end our side only and drop what comes for a while.
        """
        self.closed = True
        if linger and self._transport.can_write_eof():
            self._lingers_until = self.loop.time() + _LINGER_S
            self._transport.write_eof()
        else:
            self._transport.close()

    def _refuse(self, error: PodiumError) -> None:
        """Answer what cannot be read as a message, and close; whoever is being answered is cut off."""
        if self.closed:
            return
        if self._pending is not None and self._pending is self._current and not self._current.started:
            self._current.fail_body(error)  # its handler is waiting for the body and will answer
            return
        if self._current is not None:
            self._transport.abort()
            return
        message = Message(self, b"", self._path, {}, keep_alive=False)
        self._current = message
        self.owner.handler.refuse(message, error)

    def expect_body(self, message: Message) -> None:
        """The handler wants the body: tell a caller that waits for permission (RFC 9110, section 10.1.1)."""
        if self._expects_continue and message is self._pending and not self.closed:
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Answers.

    def send(self, message: Message, status: int, headers: bytes, body: bytes) -> None:
        """Write a whole answer."""
        if self.closed or message.answered:
            return
        parts = [self._head(message, status, headers)]
        # The length in a 304 would be that of what the caller has (RFC 9110, section 8.6), which nobody knows here.
        parts.append(b"\r\n" if status == _NOT_MODIFIED else b"content-length: %d\r\n\r\n" % len(body))
        if message.method != b"HEAD":
            parts.append(body)
        message.started = True
        message.bytes_out += len(body)
        self._transport.write(b"".join(parts))
        self._answered(message)

    def start(self, message: Message, status: int, headers: bytes) -> None:
        """Write the head of a streamed answer."""
        if self.closed or message.started:
            return
        message.started = True
        if not message.streams_chunked:
            message.keep_alive = False
        head = self._head(message, status, headers)
        self._transport.write(head + (b"transfer-encoding: chunked\r\n\r\n" if message.streams_chunked else b"\r\n"))

    def write(self, message: Message, data: bytes) -> bool:
        """Write a piece; False when the caller should be given time."""
        if self.closed or not data:
            return True
        length = len(data)
        message.bytes_out += length
        if message.streams_chunked:
            size = _HEX_LENGTHS[length] if length < len(_HEX_LENGTHS) else b"%x\r\n" % length
            self._transport.write(b"%b%b\r\n" % (size, data))
        else:
            self._transport.write(data)
        return not self._stuck_since

    def finish(self, message: Message, data: bytes) -> None:
        """Write the last piece and the end."""
        if self.closed or message.answered:
            return
        message.bytes_out += len(data)
        if message.streams_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self._transport.write(chunk + b"0\r\n\r\n")
        elif data:
            self._transport.write(data)
        self._answered(message)

    def _head(self, message: Message, status: int, headers: bytes) -> bytes:
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        closes = not message.keep_alive or self.owner.draining or not message.body_complete
        end = b"connection: close\r\n" if closes else b""
        return b"%b%b%b%b" % (status_line, _date.line(self.loop.time()), headers, end)

    # Deadlines and the end.

    def sweep(self, now_s: float) -> None:
        """Enforce the deadlines; the server calls it a few times a second."""
        settings = self.settings
        if self._lingers_until:
            if now_s > self._lingers_until:
                self._transport.abort()
        elif self._stuck_since and now_s - self._stuck_since > settings.write_timeout_s:
            self._transport.abort()
        elif self._pending is not None:
            if now_s > self._body_deadline:
                self._refuse(RequestTimeout("The body did not arrive in time."))
        elif self._current is None and self._head_bytes:
            if now_s - self._idle_since > settings.head_timeout_s:
                self._refuse(RequestTimeout("The head did not arrive in time."))
        elif self._current is None and now_s - self._idle_since > settings.keep_alive_s:
            self._transport.close()

    def drain(self) -> None:
        """Close now if idle; else after the running answer."""
        if self._current is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _path_of(target: bytes) -> bytes:
    """The path of a request target, which may be absolute (RFC 9112, section 3.2.2)."""
    if not target.startswith(b"/"):
        _, scheme, rest = target.partition(b"://")
        target = b"/" + rest.partition(b"/")[2] if scheme else target
    return target.partition(b"?")[0]


class _Date:
    """The `date` header, made once a second (RFC 9110, section 6.6.1)."""

    __slots__ = ("_line", "_until_s")

    def __init__(self) -> None:
        self._line = b""
        self._until_s = -1.0

    def line(self, now_s: float) -> bytes:
        if now_s > self._until_s:
            self._line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            self._until_s = now_s + 1
        return self._line


_date = _Date()
