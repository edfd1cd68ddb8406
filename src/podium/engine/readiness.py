"""Ask over HTTP whether a child is ready."""

import asyncio
import time
from contextlib import suppress
from urllib.parse import urlsplit

__all__ = ["answers", "await_answer", "call_succeeds"]

_POLL_S = 0.05
_ASK_TIMEOUT_S = 2.0


async def await_answer(url: str | None, timeout_s: float) -> bool:
    """True as soon as `url` answers 200 (None: at once); False when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while url is not None and not await answers(url):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def answers(url: str, timeout_s: float = _ASK_TIMEOUT_S) -> bool:
    """Whether a GET of the http `url` is answered with 200 in time."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(timeout_s):
            return await _status_line(url) == b"200"
    return False


async def call_succeeds(url: str, body: bytes, *, bearer: str) -> bool:
    """Whether a POST of JSON to the http `url` is answered with 200; waits as long as the caller lets it."""
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = f"authorization: Bearer {bearer}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return await _status_line(url, "POST", head, body) == b"200"
    return False


async def _status_line(url: str, method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        start = f"{method} {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n"
        writer.write(f"{start}{headers}\r\n".encode() + body)
        line = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    words = line.split(b" ", 2)
    return words[1] if len(words) > 1 else b""
