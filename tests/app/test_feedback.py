import asyncio

import pytest

from podium.app.feedback import ControlAsker
from podium.core.errors import OperatorError


class Control:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = self.answer
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("answer", "known"),
    [(b'{"known":true}', True), (b'{"known":false}', False), (b'{"known":null}', None), (b"no JSON", None)],
)
async def test_it_says_what_control_says(answer, known):
    async with Control(answer) as control:
        asker = ControlAsker(control.url, "token")
        assert await asker.known("ac me", "a/b?c=d&e") is known
        asker.close()
        (asked,) = control.asked
        assert asked.startswith("GET /podium/v1/exchanges/known?tenant=ac+me&request_id=a%2Fb%3Fc%3Dd%26e HTTP/1.1\r\n")
        assert "authorization: Bearer token\r\n" in asked


async def test_control_that_is_away_is_left_alone_for_a_while():
    async with Control(b'{"known":true}') as control:
        away = control.url
    asker = ControlAsker(away, "token")
    assert await asker.known("acme", "q") is None
    assert asker._again_at_s > asyncio.get_running_loop().time()
    assert await asker.known("acme", "q") is None
    asker.close()


@pytest.mark.parametrize("address", ["10.0.0.4:8081", "ftp://host", "http://"])
async def test_what_is_no_address_stops_the_start(address):
    with pytest.raises(OperatorError, match=r"gateway\.control"):
        ControlAsker(address, "token")
