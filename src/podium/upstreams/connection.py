"""One HTTP/1.1 connection to an upstream: one call at a time, kept alive between calls.

The body of an event stream is handed on as it arrives, once for each read of the socket; any other body is
collected. Deadlines are watched by `sweep`, a few times a second for all connections of a pool.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from podium.core.errors import PodiumError, UpstreamFailed, UpstreamTimeout
from podium.core.reasons import Reason

__all__ = ["Connection", "Lender", "OnPiece"]

OnPiece = Callable[[bytes], bool]  # takes a piece of a body; False: nothing more is wanted

_TAIL_S = 1.0  # what follows the last wanted piece is the end of the body; it may come in a packet of its own
_MAX_HEAD_BYTES = 256 * 1024
_EVENT_STREAMS = (b"text/event-stream", b"application/vnd.amazon.eventstream")


class Lender(Protocol):
    """The pool, as a connection sees it."""

    first_byte_s: float
    between_bytes_s: float
    max_answer_bytes: int

    def idle(self, connection: "Connection") -> None:
        """The call is over and the connection can serve another."""

    def lost(self, connection: "Connection") -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """A connection, and the answer of its running call (podium.gateway.ports.Answer)."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_deadline_s",
        "_ends_alone",
        "_error",
        "_head_bytes",
        "_head_waiter",
        "_keep_alive",
        "_lender",
        "_loop",
        "_message_complete",
        "_on_piece",
        "_parser",
        "_paused",
        "_read_deadline_s",
        "_relay_waiter",
        "_transport",
        "answer",
        "busy",
        "closed",
        "reused",
    )

    def __init__(self, lender: Lender, loop: asyncio.AbstractEventLoop) -> None:
        self._lender = lender
        self._loop = loop
        self._transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self.closed = False
        self.busy = False
        self.reused = False
        self.answer = Answer(self)
        self._clear()

    def _clear(self) -> None:
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._message_complete = False
        self._keep_alive = True
        self._on_piece: OnPiece | None = None
        self._head_waiter: asyncio.Future[None] | None = None
        self._relay_waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._ends_alone = False  # the call is over, the end of its body is still to come
        self._paused = False
        self._deadline_s = 0.0
        self._read_deadline_s = 0.0

    # A call.

    async def call(self, request: bytes, *, deadline_s: float) -> "Answer":
        """Write a request and wait for the head of an event stream, or for the whole of another answer."""
        self.busy = True
        self.answer = Answer(self)
        self._deadline_s = deadline_s
        self._read_deadline_s = self._loop.time() + self._lender.first_byte_s
        self._head_waiter = self._loop.create_future()
        self._transport.write(request)
        try:
            await self._head_waiter
        except BaseException:
            self.abort()
            raise
        self._head_waiter = None
        answer = self.answer
        if not answer.streamed:
            answer.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._release()
        return answer

    async def relay(self, on_piece: OnPiece) -> None:
        """Hand on the pieces of an event stream until it ends."""
        self._on_piece = on_piece
        try:
            if self._body:
                self._hand_on()
            if self._error is not None:
                raise self._error
            if not self._message_complete and self._on_piece is not None:
                self._relay_waiter = self._loop.create_future()
                await self._relay_waiter
        except BaseException:
            self.abort()
            raise
        self._release()

    def _release(self) -> None:
        """Give the connection back, or close it."""
        if not self._message_complete and self._keep_alive and not self.closed:
            self._ends_alone = True
            self.resume()
            self._read_deadline_s = self._loop.time() + _TAIL_S
            return
        reusable = self._keep_alive and self._message_complete and not self.closed
        if self._paused:
            self.resume()  # the next call must be able to read
        self._clear()
        self.busy = False
        self.reused = True
        if reusable:
            self._lender.idle(self)
        else:
            self.abort()

    @property
    def ends_alone(self) -> bool:
        """True when the call is over and only the end of its body is awaited."""
        return self._ends_alone

    def pause(self) -> None:
        """Read nothing more for now; silence does not count against the upstream meanwhile."""
        if not self._paused and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.closed:
            self._paused = False
            self._read_deadline_s = self._loop.time() + self._lender.between_bytes_s
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        if not self.closed and self._transport is not None:
            self._transport.abort()

    def sweep(self, now_s: float) -> None:
        """Fail the running call when its time is over."""
        if self.busy and (now_s > self._deadline_s or (now_s > self._read_deadline_s and not self._paused)):
            self._fail(UpstreamTimeout("The model's server did not answer in time."))
            self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed = True
        if self.busy and not self._message_complete:
            self._end_by_close()
        self._lender.lost(self)

    def _end_by_close(self) -> None:
        """The end of the connection is the end of a body without a length (RFC 9112, section 6.3); else a break."""
        answer = self.answer
        if answer.status and not answer.framed and self._error is None:
            self.on_message_complete()
            self._progress()
            return
        self._fail(UpstreamFailed("The model's server closed the connection.", reason=Reason.UPSTREAM_BROKEN))

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self.abort()  # nothing was asked: what comes now could be taken for the next call's answer
            return
        self._read_deadline_s = self._loop.time() + self._lender.between_bytes_s
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(_cause(error))
            self.abort()
            return
        if not self.answer.status:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._fail(
                    UpstreamFailed("The model's server sent a head without end.", reason=Reason.UPSTREAM_INVALID)
                )
                self.abort()
                return
        self._progress()

    # httptools callbacks. What follows a whole answer in the same bytes was not asked for: it is nobody's.

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._message_complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if not self._message_complete:
            self.answer.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is read."""
        if self._message_complete:
            return
        answer, status = self.answer, self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - 1xx: the real head follows
            answer.headers.clear()
            return
        answer.status = status
        self._keep_alive = self._parser.should_keep_alive()
        headers = answer.headers
        answer.framed = b"content-length" in headers or b"transfer-encoding" in headers
        answer.streamed = status == 200 and headers.get(b"content-type", b"").startswith(_EVENT_STREAMS)  # noqa: PLR2004

    def on_body(self, piece: bytes) -> None:
        """Collect; `_progress` hands on."""
        if self._ends_alone or self._message_complete:
            return
        self._body.append(piece)
        if not self.answer.streamed:
            self._body_bytes += len(piece)
            if self._body_bytes > self._lender.max_answer_bytes:
                raise UpstreamFailed(
                    "The model's server sent an answer that is too large.", reason=Reason.UPSTREAM_INVALID
                )

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.answer.status:
            self._message_complete = True

    # Waking who waits.

    def _progress(self) -> None:
        answer = self.answer
        if self._ends_alone:
            if self._message_complete:
                self._release()
        elif self._on_piece is not None:
            if self._body:
                self._hand_on()
            over = self._message_complete or self._on_piece is None
            if over and self._relay_waiter is not None and not self._relay_waiter.done():
                self._relay_waiter.set_result(None)
        elif (
            self._head_waiter is not None
            and not self._head_waiter.done()
            and (self._message_complete or (answer.streamed and answer.status))
        ):
            self._head_waiter.set_result(None)

    def _hand_on(self) -> None:
        body = self._body
        piece = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        assert self._on_piece is not None
        try:
            if not self._on_piece(piece):
                self._on_piece = None
        except PodiumError as error:
            self._fail(error)
            self.abort()

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        for waiter in (self._head_waiter, self._relay_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_exception(self._error)


class Answer:
    """An upstream's answer (podium.gateway.ports.Answer)."""

    __slots__ = ("_connection", "body", "framed", "headers", "notes", "status", "streamed")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.streamed = False
        self.framed = False  # the body has a length or a transfer coding: its end can be told from a break
        self.notes = b""  # header lines for the caller, from whoever changed the request
        self.body = b""

    async def relay(self, on_piece: OnPiece) -> None:
        """Hand each piece of a streamed body to `on_piece` as it arrives, until it ends."""
        await self._connection.relay(on_piece)

    def pause(self) -> None:
        """Read nothing more for now."""
        if self._connection.answer is self:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection.answer is self:  # else it serves another call by now
            self._connection.resume()

    def close(self) -> None:
        """Drop what is still to come."""
        connection = self._connection
        if connection.busy and connection.answer is self and not connection.ends_alone:
            connection.abort()


def _cause(error: BaseException) -> PodiumError:
    cause = error.__context__
    if isinstance(cause, PodiumError):
        return cause
    return UpstreamFailed("The model's server did not answer in HTTP/1.1.", reason=Reason.UPSTREAM_INVALID)
