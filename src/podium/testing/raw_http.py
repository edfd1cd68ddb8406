"""A client that may send anything, at any pace, and hang up at any point.

It works on a bare socket and reads only when asked to, so that a test decides when the peer feels back-pressure.
Every wait has a deadline; a peer that closes early raises `ConnectionClosed` with what had come until then.
"""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["ConnectionClosed", "RawConnection", "RawResponse", "reset_on_close"]

_NO_BODY = frozenset({204, 304})


class ConnectionClosed(Exception):
    """The peer closed or reset the connection before the awaited bytes were there; `received` is what came."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"closed after {len(received)} bytes: {received[:200]!r}")
        self.received = received


@dataclass(frozen=True, slots=True)
class RawResponse:
    """One answer as it stood on the wire, its body without the chunk frames."""

    version: str  # HTTP/1.1 or HTTP/1.0
    status: int
    headers: tuple[tuple[str, str], ...]  # names in lower case, in the order they came
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    def events(self) -> list[str]:
        """The `data` of each server-sent event, comments left out."""
        blocks = self.body.replace(b"\r\n", b"\n").decode().split("\n\n")
        return [data for block in blocks if (data := _event_data(block))]


class _HasOptions(Protocol):
    def setsockopt(self, level: int, name: int, value: bytes, /) -> None: ...


def _event_data(block: str) -> str:
    return "\n".join(line[5:].lstrip(" ") for line in block.split("\n") if line.startswith("data:"))


def reset_on_close(connection: _HasOptions) -> None:
    """Make the next close send RST instead of FIN: what a crash or a hard abort looks like to the peer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawConnection:
    """One TCP connection. Use as an async context manager, or call `close`."""

    def __init__(self, peer: socket.socket, timeout_s: float) -> None:
        self._socket = peer
        self._timeout_s = timeout_s
        self._buffer = bytearray()

    @classmethod
    async def open(
        cls, port: int, *, host: str = "127.0.0.1", timeout_s: float = 10.0, receive_buffer: int | None = None
    ) -> Self:
        """Connect. `receive_buffer` makes the kernel's window small, for clients that do not read."""
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(peer, (host, port))
        except BaseException:
            peer.close()
            raise
        return cls(peer, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def send(self, data: bytes, *, piece: int | None = None, pause_s: float = 0.0) -> None:
        """Write `data`, in pieces of `piece` bytes with a pause after each when asked to."""
        step = piece or max(1, len(data))
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), step):
            async with asyncio.timeout(self._timeout_s):
                await loop.sock_sendall(self._socket, data[start : start + step])
            if piece:
                await asyncio.sleep(pause_s)

    def half_close(self) -> None:
        """Say that nothing more will be sent; answers can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Hang up with RST."""
        reset_on_close(self._socket)
        self._socket.close()

    def close(self) -> None:
        """Hang up; safe to repeat."""
        self._socket.close()

    async def read(self, limit: int = 65_536) -> bytes:
        """Some bytes, at most `limit`; b"" at the end of the stream."""
        if not self._buffer:
            await self._fill()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`."""
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if not await self._fill():
                raise ConnectionClosed(bytes(self._buffer))
        return self._take(found + len(mark))

    async def read_exactly(self, size: int) -> bytes:
        """`size` bytes."""
        while len(self._buffer) < size:
            if not await self._fill():
                raise ConnectionClosed(bytes(self._buffer))
        return self._take(size)

    async def read_to_end(self) -> bytes:
        """Everything until the peer closes; a reset ends it too."""
        while await self._fill():
            pass
        return self._take(len(self._buffer))

    async def read_head(self) -> RawResponse:
        """Status line and headers of the next answer (interim ones too); the body stays unread."""
        lines = (await self.read_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return RawResponse(version, int(status), headers, b"")

    async def read_response(self, *, method: str = "POST") -> RawResponse:
        """The next final answer with its whole body; interim (1xx) answers are skipped."""
        head = await self.read_head()
        while head.status < 200:  # noqa: PLR2004 - 1xx
            head = await self.read_head()
        return await self.read_body(head, method=method)

    async def read_body(self, head: RawResponse, *, method: str = "POST") -> RawResponse:
        """The answer that `head` begins, with its whole body."""
        return RawResponse(head.version, head.status, head.headers, await self._read_body(head, method))

    async def _read_body(self, head: RawResponse, method: str) -> bytes:
        if method == "HEAD" or head.status in _NO_BODY:
            return b""
        if "chunked" in (head.header("transfer-encoding") or "").lower():
            return await self._read_chunked()
        length = head.header("content-length")
        if length is not None:
            return await self.read_exactly(int(length))
        return await self.read_to_end()

    async def _read_chunked(self) -> bytes:
        body = b""
        while size := int((await self.read_until(b"\r\n")).partition(b";")[0], 16):
            body += await self.read_exactly(size)
            await self.read_until(b"\r\n")
        while await self.read_until(b"\r\n") != b"\r\n":
            pass  # trailers
        return body

    async def _fill(self) -> bool:
        async with asyncio.timeout(self._timeout_s):
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            except ConnectionError:
                return False
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data
