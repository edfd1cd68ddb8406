import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import NoScriptError, ResponseError

from podium.store.redis.connection import RedisConnection
from podium.store.redis.settings import RedisSettings

PINGS = (("PING",), ("ECHO", b"\x00\xff"), ("INCRBY", "n", 7))


@asynccontextmanager
async def connected(*pieces):
    """A connection to a server that answers whatever it is asked with these pieces, and then says no more."""
    heard = []

    async def serve(reader, writer):
        try:
            while b"SETNAME" not in await reader.read(4096):
                pass
            writer.write(b"+OK\r\n")
            heard.append(await reader.read(4096))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            if pieces and pieces[-1]:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = RedisConnection(RedisSettings(url=f"redis://127.0.0.1:{port}"))
    await connection.open()
    try:
        yield connection, heard
    finally:
        await connection.close()
        server.close()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"+PONG\r\n$2\r\n\x00\xff\r\n:7\r\n",),
        (b"+PO", b"NG\r\n$2\r\n\x00", b"\xff\r\n", b":7\r", b"\n"),
    ],
)
async def test_answers_come_in_order_however_they_are_cut(pieces):
    async with connected(*pieces) as (connection, heard):
        assert await connection.exchange(PINGS) == [b"PONG", b"\x00\xff", 7]
    assert heard == [
        b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\n\x00\xff\r\n*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$1\r\n7\r\n"
    ]


async def test_an_error_is_an_answer():
    async with connected(b"-NOSCRIPT No matching script\r\n+OK\r\n-ERR unknown command\r\n") as (connection, _):
        missing, fine, unknown = await connection.exchange(PINGS)

    assert (type(missing), fine, type(unknown), str(unknown)) == (
        NoScriptError,
        b"OK",
        ResponseError,
        "unknown command",
    )


@pytest.mark.parametrize(
    "pieces",
    [
        (b"+PONG\r\n", b""),  # and it closes
        (b"+PONG\r\n-LOADING Redis is loading the dataset in memory\r\n+OK\r\n",),
        (b"-NOAUTH Authentication required.\r\n",),
        (b"HTTP/1.1 400 Bad Request\r\n",),
    ],
)
async def test_a_connection_that_is_of_no_use_is_closed(pieces):
    async with connected(*pieces) as (connection, _):
        with pytest.raises(BrokenError):
            await connection.exchange(PINGS)
        with pytest.raises(BrokenError):
            await connection.exchange(PINGS)


async def test_who_does_not_wait_for_an_answer_closes_the_connection():
    async with connected(b"+PONG\r\n") as (connection, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await connection.exchange(PINGS)
        with pytest.raises(BrokenError):
            await connection.exchange(PINGS)
