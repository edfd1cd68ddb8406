"""Where gateways of this machine hear about workers, and say what they do with them (podium.core.workers)."""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
import structlog

from podium.core.workers import MAX_LINE, EngineSays, GatewaySays

__all__ = ["Audience", "open_door"]

log = structlog.get_logger("podium.engine.door")

_INTRODUCTION_S = 5.0
_MAX_CONNECTIONS = 1000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(GatewaySays).decode


class Audience(Protocol):
    """What is behind the door."""

    on_change: Callable[[EngineSays], None]

    @property
    def said(self) -> EngineSays:
        """What was said last."""

    def heard(self, gateway: object, says: GatewaySays) -> None:
        """A gateway said something."""

    def gone(self, gateway: object) -> None:
        """A gateway has hung up."""


@contextlib.asynccontextmanager
async def open_door(audience: Audience, key: str) -> AsyncIterator[str]:
    """Listen on the loopback interface as long as this is open; its `host:port`."""
    door = _Door(audience, key)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0, limit=MAX_LINE)
    audience.on_change = door.tell
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        audience.on_change = lambda _says: None
        server.close()
        door.close()


class _Door:
    """The connections."""

    def __init__(self, audience: Audience, key: str) -> None:
        self._audience = audience
        self._key = key.encode()
        self._writers: set[asyncio.StreamWriter] = set()

    def tell(self, says: EngineSays) -> None:
        """Tell all gateways; who does not read is cut off, and comes back."""
        line = _encode(says) + b"\n"
        for writer in [*self._writers]:
            if writer.transport.get_write_buffer_size() > MAX_LINE:
                writer.transport.abort()
            else:
                writer.write(line)

    def close(self) -> None:
        """Hang up on all."""
        for writer in [*self._writers]:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its beginning to its end."""
        gateway = object()
        try:
            if len(self._writers) >= _MAX_CONNECTIONS or not await self._is_introduced(reader):
                return
            self._writers.add(writer)
            writer.write(_encode(self._audience.said) + b"\n")
            while line := await reader.readline():
                self._audience.heard(gateway, _decode(line))
        except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:  # ValueError: a line is too long
            log.info("gateway_hung_up", error=str(error) or type(error).__name__)
        finally:
            self._writers.discard(writer)
            self._audience.gone(gateway)
            writer.close()

    async def _is_introduced(self, reader: asyncio.StreamReader) -> bool:
        async with asyncio.timeout(_INTRODUCTION_S):
            says = _decode(await reader.readline())
        return hmac.compare_digest(says.key.encode(), self._key)
