"""One connection of a scripted upstream: requests in, answers out, well or badly."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import httptools

from podium.testing.behaviour import Behaviour, How
from podium.testing.openai_answers import compose
from podium.testing.raw_http import reset_on_close
from podium.testing.upstream_framing import Framing

__all__ = ["RecordedRequest", "UpstreamConnection", "UpstreamOwner"]

_STALL_S = 3600.0  # longer than any test; the client's hanging up ends it at once


@dataclass(slots=True)
class RecordedRequest:
    """One request as it came, and what became of its answer. Times are of `time.monotonic`."""

    method: str
    path: str  # with the query, if any
    headers: tuple[tuple[str, str], ...]  # names in lower case, in the order they came
    body: bytes = field(repr=False)
    connection: int  # counts from 1; equal numbers came over the same connection
    at_s: float
    body_sent: int = 0  # bytes of the answer's body that were handed to the connection
    pieces_sent: int = 0  # events of a stream; parts of any other body
    finished_at_s: float | None = None  # the answer was sent as scripted
    disconnected_at_s: float | None = None  # the client went away before that

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The decoded body; an empty object when it is empty or not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


class UpstreamOwner(Protocol):
    """The server that a connection belongs to."""

    models: tuple[str, ...]

    def opened(self, connection: "UpstreamConnection") -> int:
        """Count a connection in and return its number."""

    def closed(self, connection: "UpstreamConnection") -> None:
        """Count it out."""

    def take(self, request: RecordedRequest) -> Behaviour:
        """Keep the request and say how to answer it."""


class UpstreamConnection(asyncio.Protocol):
    """Parses requests and answers them in order, from one task that ends with the connection."""

    def __init__(self, owner: UpstreamOwner) -> None:
        self._owner = owner
        self._parser: Any = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[RecordedRequest] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._answered = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start answering."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._owner.opened(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        """Parse; a request that is none closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def eof_received(self) -> None:
        """The client has hung up."""
        self._task.cancel()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client has hung up, or we have."""
        self._task.cancel()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self._url, self._body = b"", bytearray()
        self._headers: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Ask for the body of a client that waits to be asked."""
        if ("expect", "100-continue") in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Queue the request."""
        method, path = self._parser.get_method().decode(), self._url.decode("latin-1")
        headers, body = tuple(self._headers), bytes(self._body)
        self._requests.put_nowait(RecordedRequest(method, path, headers, body, self._number, time.monotonic()))

    # What the owner calls.

    async def abort(self) -> None:
        """Drop the connection and wait until its task has ended."""
        self._transport.abort()
        self._task.cancel()
        await asyncio.wait([self._task])

    # The answers.

    async def _serve(self) -> None:
        """Answer until cancelled; a bug drops the connection and is logged by asyncio."""
        try:
            while True:
                await self._serve_one(await self._requests.get())
        except Exception:
            self._transport.abort()
            raise

    async def _serve_one(self, request: RecordedRequest) -> None:
        behaviour = self._owner.take(request)
        try:
            await self._answer(request, behaviour)
        finally:
            if request.finished_at_s is None:
                request.disconnected_at_s = time.monotonic()
        self._answered += 1

    async def _answer(self, request: RecordedRequest, behaviour: Behaviour) -> None:
        await asyncio.sleep(behaviour.before_head_s)
        if behaviour.reset_on_reuse and self._answered:
            return await self._break_off(request, "reset")
        if how := await self._say(request, behaviour):
            return await self._break_off(request, how)
        request.finished_at_s = time.monotonic()
        if behaviour.close_after or behaviour.framing == "close" or behaviour.http_version == "1.0":
            self._transport.close()
        return None

    async def _say(self, request: RecordedRequest, behaviour: Behaviour) -> How | None:
        """Send as much as the cut allows; how to break off, if so."""
        cut = behaviour.cut if behaviour.cut and behaviour.cut.how != "error_event" else None
        if cut and cut.at == "start":
            return cut.how
        path = request.path.partition("?")[0]
        answer = compose(request.method, path, request.json(), behaviour, self._owner.models)
        framing = Framing(answer, behaviour)
        await self._write(framing.head(), behaviour)
        if cut and cut.at == "head":
            return cut.how
        await asyncio.sleep(behaviour.before_body_s)
        end = b"" if cut else framing.end()
        pieces = [*framing.pieces()]
        for number, piece in enumerate(pieces, 1):
            if request.pieces_sent and answer.streamed:
                await asyncio.sleep(behaviour.between_chunks_s)
            data = framing.framed(piece)
            if number == len(pieces) and behaviour.surplus:
                data, end = data + end, b""  # in one write, so that it is read with the answer's last bytes
            await self._write(data, behaviour)
            request.body_sent += len(piece)
            request.pieces_sent += 1
        await self._write(end, behaviour)
        return cut.how if cut else None

    async def _break_off(self, request: RecordedRequest, how: How) -> None:
        if how == "stall":
            await asyncio.sleep(_STALL_S)
        request.finished_at_s = time.monotonic()
        if how == "reset":
            reset_on_close(self._transport.get_extra_info("socket"))
            self._transport.abort()
        self._transport.close()

    async def _write(self, data: bytes, behaviour: Behaviour) -> None:
        step = behaviour.write_size or max(1, len(data))
        for start in range(0, len(data), step):
            await self._writable.wait()
            self._transport.write(data[start : start + step])
            if behaviour.write_size:
                await asyncio.sleep(0)  # lets the bytes leave by themselves
        await self._writable.wait()
