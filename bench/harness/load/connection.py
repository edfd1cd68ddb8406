"""A client connection that does just enough HTTP/1.1 to time answers, so that the load core is left to the mock.

Body bytes are handed on as they came, chunk framing included: counting `data:` needs no more, and whether a
contestant relays the exact bytes is checked once, before the load, by a real HTTP client.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from harness.request import Request

__all__ = ["Connection", "connect", "encode_request", "percentile_ms"]

_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Sends one request at a time. `on_end` hears of the end of each answer, and whether it was whole."""

    def __init__(
        self,
        on_end: "Callable[[Connection, bool], None]",
        on_body: "Callable[[Connection, bytes], None] | None" = None,
    ) -> None:
        self._on_end, self._on_body = on_end, on_body
        self._transport: asyncio.Transport
        self.status = 0
        self.head = b""  # of the last answer, in lower case
        self.sent_at = 0.0
        self.alive = False
        self._waiting = False
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self._head = b""
        self._in_head = True
        self._left: int | None = None  # bytes of the body still to come; None: chunked
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of the class
        self.alive = True

    def send(self, raw: bytes) -> None:
        """Send a whole request."""
        self._begin()
        self._waiting = True
        self.sent_at = time.perf_counter()
        self._transport.write(raw)

    def close(self) -> None:
        """Hang up; an answer under way counts as failed."""
        if self.alive:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        self.alive = False
        if self._waiting:
            self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        self._waiting = False
        self._on_end(self, whole)

    def data_received(self, data: bytes) -> None:
        if not self._waiting:
            self.close()  # bytes that nobody asked for
            return
        if self._in_head:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 4 :]
            self._read_head(self._head[:end].lower())
        if data and self._on_body is not None:
            self._on_body(self, data)
        if self._left is None:
            self._tail = (self._tail + data[-7:])[-7:]
            if self._tail in (_LAST_CHUNK, _LAST_CHUNK[2:]):
                self._end(whole=True)
        else:
            self._left -= len(data)
            if self._left <= 0:
                self._end(whole=self._left == 0)

    def _read_head(self, head: bytes) -> None:
        self._in_head = False
        self.head = head
        self.status = int(head[9:12])
        _, found, rest = head.partition(b"\r\ncontent-length:")
        self._left = int(rest.partition(b"\r\n")[0]) if found else None


def encode_request(request: Request) -> bytes:
    """The request as bytes, for all of the connections."""
    body = request.body.encode()
    headers = {"Host": f"127.0.0.1:{request.port}", "Content-Length": str(len(body)), **request.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {request.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def connect(make: Callable[[], Connection], port: int) -> Connection:
    """An open connection to a contestant on loopback; TimeoutError or OSError when it does not take it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        _, connection = await loop.create_connection(make, "127.0.0.1", port)
    return connection


def percentile_ms(seconds: list[float], share: float) -> float | None:
    """The value that `share` of the series does not exceed, in milliseconds; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3
