import asyncio
from contextlib import asynccontextmanager

import pytest

from podium.testing.raw_http import ConnectionClosed, RawConnection


@asynccontextmanager
async def answering(data: bytes, *, hang: bool = False):
    """A server that reads one line, sends `data` and closes, or hangs."""
    seen, closed = asyncio.Queue(), asyncio.Event()

    async def serve(reader, writer):
        seen.put_nowait(await reader.readline())
        writer.write(data)
        await (reader.read() if hang else writer.drain())
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        async with await RawConnection.open(server.sockets[0].getsockname()[1], timeout_s=0.5) as client:
            await client.send(b"go\n", piece=1)
            assert await seen.get() == b"go\n"
            yield client
        await closed.wait()


async def test_chunks_extensions_and_trailers_are_taken_off():
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n"
    async with answering(head + b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\nrest") as client:
        response = await client.read_response()
        assert (response.status, response.body, response.header("X-a")) == (200, b"abcde", "1")
        assert await client.read_to_end() == b"rest"


async def test_a_body_without_length_ends_with_the_connection():
    async with answering(b"HTTP/1.0 200 OK\r\n\r\ndata: a\r\n\r\n: comment\n\ndata: b\ndata: c\n\n") as client:
        response = await client.read_response()
        assert response.version == "HTTP/1.0"
        assert response.events() == ["a", "b\nc"]


async def test_an_early_end_shows_what_had_come():
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc") as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.read_response()
        assert closed.value.received == b"abc"


async def test_a_silent_peer_meets_the_deadline():
    async with answering(b"HTTP/1.1 200 OK\r\n", hang=True) as client:
        with pytest.raises(TimeoutError):
            await client.read_response()
