"""One connection of the simulator: requests in, performances out, in order."""

import asyncio
import fcntl
import struct
import termios
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import httptools

from podium.core.usage import Usage
from podium.testing.raw_http import reset_on_close
from podium.testing.upstream.behaviours import How
from podium.testing.upstream.performance import Performance
from podium.testing.upstream.protocols import Endpoint, UpstreamProtocol
from podium.testing.upstream_connection import RecordedRequest

__all__ = ["MAX_BODY_BYTES", "SimulatedRequest", "SimulatorConnection", "SimulatorOwner"]

MAX_BODY_BYTES = 32 << 20  # what Anthropic takes; of larger bodies only the beginning is kept
_MAX_PIPELINED = 64
_STALL_S = 3600.0  # longer than any test; the client's hanging up ends it at once
_FLUSH_S = 5.0


@dataclass(slots=True)
class SimulatedRequest(RecordedRequest):
    """One request as it came, what was made of it, and what became of its answer."""

    protocol: UpstreamProtocol | None = None  # None: for no protocol
    endpoint: Endpoint | None = None
    model: str = ""  # without what follows a `+`
    streamed: bool = False
    behaviour: str = ""
    status: int = 0  # of the answer as it was meant
    refused: str | None = None  # why the request was found wrong
    usage: Usage | None = None  # what the whole answer costs, sent or not
    oversized: bool = field(default=False, repr=False)
    keep_alive: bool = field(default=True, repr=False)


class SimulatorOwner(Protocol):
    """The simulator, as a connection sees it."""

    def opened(self, connection: "SimulatorConnection") -> int:
        """Count a connection in and return its number."""

    def closed(self, connection: "SimulatorConnection") -> None:
        """Count it out."""

    def perform(self, request: SimulatedRequest) -> Performance:
        """Keep the request and say how to answer it."""


class SimulatorConnection(asyncio.Protocol):
    """Parses requests. What needs no waiting is written at once, the rest by one task that ends with the connection."""

    def __init__(self, owner: SimulatorOwner) -> None:
        self._owner = owner
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[SimulatedRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self._socket = transport.get_extra_info("socket")
        self._number = self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse; what is no HTTP closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def eof_received(self) -> None:
        """The client has hung up."""
        self._stop()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client has hung up, or we have."""
        self._stop()
        self._writable.set()
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
        self._url, self._body, self._size = b"", bytearray(), 0
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
        self._size += len(data)
        if self._size <= MAX_BODY_BYTES:
            self._body += data

    def on_message_complete(self) -> None:
        """Answer, or wait for the turn."""
        request = SimulatedRequest(
            self._parser.get_method().decode(),
            self._url.decode("latin-1"),
            tuple(self._headers),
            bytes(self._body),
            self._number,
            time.monotonic(),
            oversized=self._size > MAX_BODY_BYTES,
            keep_alive=self._parser.should_keep_alive(),
        )
        if self._task is None and self._writable.is_set():
            performance = self._owner.perform(request)
            if performance.at_once:
                self._write_all(request, performance)
                return
            self._start(self._perform(request, performance))
        elif len(self._waiting) < _MAX_PIPELINED:
            self._waiting.append(request)
            if self._task is None:
                self._start(self._next())
        else:
            self._transport.abort()

    # What the owner calls.

    async def abort(self) -> None:
        """Drop the connection and wait until its task has ended."""
        self._transport.abort()
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    # The answers.

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _write_all(self, request: SimulatedRequest, performance: Performance) -> None:
        self._transport.write(b"".join([data for _, data in performance.steps]))
        _sent(request, performance)
        if not request.keep_alive:
            self._transport.close()

    def _start(self, work: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    async def _next(self) -> None:
        await self._writable.wait()
        request = self._waiting.popleft()
        await self._perform(request, self._owner.perform(request))

    async def _perform(self, request: SimulatedRequest, performance: Performance) -> None:
        """Answer until cancelled, then those that wait; a bug drops the connection and is logged by asyncio."""
        try:
            while True:
                await self._play(request, performance)
                if self._transport.is_closing() or not self._waiting:
                    break
                request = self._waiting.popleft()
                performance = self._owner.perform(request)
            self._task = None
        except Exception:
            self._transport.abort()
            raise
        finally:
            if request.finished_at_s is None:
                request.disconnected_at_s = time.monotonic()

    async def _play(self, request: SimulatedRequest, performance: Performance) -> None:
        for number, (wait_s, data) in enumerate(performance.steps):
            if wait_s:
                await asyncio.sleep(wait_s)
            await self._write(data, performance.write_size)
            if number:
                request.pieces_sent += 1
                request.body_sent += len(data)
        if performance.ending is How.STALL:
            await asyncio.sleep(_STALL_S)
        if performance.ending is not None:
            await self._flushed()
        request.finished_at_s = time.monotonic()
        if performance.ending is How.RESET:
            reset_on_close(self._socket)
            self._transport.abort()
        elif performance.ending is How.CLOSE or not request.keep_alive:
            self._transport.close()

    async def _write(self, data: bytes, size: int | None) -> None:
        for start in range(0, len(data), step := size or max(1, len(data))):
            await self._writable.wait()
            self._transport.write(data[start : start + step])
            if size:
                await asyncio.sleep(0)  # lets the bytes leave by themselves
        await self._writable.wait()

    async def _flushed(self) -> None:
        """Wait until the client's side has all that was written: a reset drops what it has not."""
        deadline_s = time.monotonic() + _FLUSH_S
        await asyncio.sleep(0)  # some loops write when the turn is over
        while self._unsent() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.001)

    def _unsent(self) -> bool:
        """True while the loop or the kernel holds bytes for the client."""
        held = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]
        return bool(self._transport.get_write_buffer_size() or held)


def _sent(request: SimulatedRequest, performance: Performance) -> None:
    request.pieces_sent = len(performance.steps) - 1
    request.body_sent = sum(len(data) for _, data in performance.steps[1:])
    request.finished_at_s = time.monotonic()
