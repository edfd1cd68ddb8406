"""Calls to an upstream over pyreqwest, a client in Rust: hyper on a thread with a tokio runtime of its own."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from podium.core.errors import UpstreamFailed, UpstreamTimeout
from podium.core.reasons import Reason
from podium.upstreams.openai import PATHS

__all__ = ["PyreqwestAnswer", "PyreqwestUpstream", "open_client"]

_EVENT_STREAM = b"text/event-stream"


def open_client(*, connect_s: float, between_bytes_s: float, max_connections: int) -> Client:
    """A client that passes bytes on as they are: no redirect, no proxy, no decompression."""
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    return (
        ClientBuilder()
        .default_headers(headers)
        .user_agent("podium")
        .http1_only()
        .no_proxy()
        .follow_redirects(enable=False)
        .referer(enable=False)
        .gzip(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .deflate(enable=False)
        .connect_timeout(timedelta(seconds=connect_s))
        .read_timeout(timedelta(seconds=between_bytes_s))
        .pool_idle_timeout(timedelta(seconds=60))
        .max_connections(max_connections)
        .build()
    )


class PyreqwestUpstream:
    """One model at one provider (podium.gateway.ports.Upstream)."""

    __slots__ = ("_client", "_urls", "label", "model", "provider", "reports_stream_usage", "total_s")

    def __init__(self, provider: str, model: str, client: Client, base_url: str, *, total_s: float) -> None:
        self.provider = provider
        self.model = model
        self.label = f"{provider}/{model}"
        self.reports_stream_usage = False
        self.total_s = total_s
        self._client = client
        self._urls = {endpoint: f"{base_url}{path.decode()}" for endpoint, path in PATHS.items()}

    async def call(self, endpoint: str, body: bytes, *, headers: bytes, deadline_s: float) -> "PyreqwestAnswer":
        """Send one request and read the head of its answer, or all of it when it is no stream."""
        left_s = deadline_s - asyncio.get_running_loop().time()
        request = self._client.post(self._urls[endpoint]).body_bytes(body).timeout(timedelta(seconds=max(left_s, 0)))
        if headers:
            request = request.headers(_pairs(headers))
        try:
            # Reading a whole answer in one go costs one await for three. A request that does not name the member
            # cannot ask for a stream.
            if b'"stream"' not in body:
                return await _collect(await request.build().send())
            return await _begin(request)
        except PyreqwestError as error:
            _raise(error)


async def _collect(response: Response) -> "PyreqwestAnswer":
    return PyreqwestAnswer(response, (await response.bytes()).to_bytes())


async def _begin(request: RequestBuilder) -> "PyreqwestAnswer":
    # By default it collects 64 KiB before it hands out the head: each event would wait for those after it.
    exchange = request.streamed_read_buffer_limit(0).build_streamed()
    response = await exchange.__aenter__()
    content_type = response.get_header("content-type") or ""
    if response.status == 200 and content_type.encode().startswith(_EVENT_STREAM):
        return PyreqwestAnswer(response, b"", exchange)
    try:
        return await _collect(response)
    finally:
        await exchange.__aexit__(None, None, None)


class PyreqwestAnswer:
    """An upstream's answer (podium.gateway.ports.Answer)."""

    __slots__ = ("_closing", "_exchange", "_flowing", "_response", "body", "status")

    def __init__(self, response: Response, body: bytes, exchange: StreamRequest | None = None) -> None:
        self._response = response
        self._exchange = exchange  # of a stream, while it is open
        self._flowing: asyncio.Event | None = None  # made at the first pause
        self._closing: asyncio.Task[None] | None = None
        self.status = response.status
        self.body = body

    @property
    def streamed(self) -> bool:
        """True for an event stream, which is still to come."""
        return self._exchange is not None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Names in lower case; of repeated ones the last."""
        return {name.lower().encode(): value.encode("latin-1") for name, value in self._response.headers.items()}

    async def relay(self, on_piece: Callable[[bytes], bool]) -> None:
        """Hand each piece of a streamed body to `on_piece` as it arrives, until it ends or `on_piece` returns False."""
        read = self._response.body_reader.read_chunk
        try:
            while (piece := await read()) is not None:
                if not on_piece(piece.to_bytes()):
                    break
                if self._flowing is not None:
                    await self._flowing.wait()
        except PyreqwestError as error:
            _raise(error)
        finally:
            await self._close()

    def pause(self) -> None:
        """Read nothing more for now."""
        if self._flowing is None:
            self._flowing = asyncio.Event()
        self._flowing.clear()

    def resume(self) -> None:
        """Read on."""
        if self._flowing is not None:
            self._flowing.set()

    def close(self) -> None:
        """Drop what is still to come."""
        if self._exchange is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.__aexit__(None, None, None)


def _pairs(headers: bytes) -> list[tuple[str, str]]:
    lines = headers.decode("latin-1").split("\r\n")
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name]


def _raise(error: PyreqwestError) -> NoReturn:
    if isinstance(error, RequestTimeoutError):
        raise UpstreamTimeout("The model's server did not answer in time.") from error
    if isinstance(error, ConnectError):
        raise UpstreamFailed("The model's server cannot be reached.") from error
    raise UpstreamFailed("The model's server broke off.", reason=Reason.UPSTREAM_BROKEN) from error
