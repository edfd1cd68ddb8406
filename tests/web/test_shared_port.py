"""Several servers on one port, and the probe port that each of them has for itself."""

import asyncio
import socket

import pytest

from podium.core.errors import OperatorError
from podium.testing.ports import free_port
from podium.testing.raw_http import RawConnection
from podium.web.http1.server import HttpServer
from podium.web.probe_surface import ProbeSurface
from podium.web.probes import Part
from podium.web.settings import GatewayServerSettings


class Probed:
    def __init__(self, name, *, ready=True):
        self.name, self.ready = name, ready

    def parts(self):
        return [Part("snapshot", self.ready, "" if self.ready else "none yet")]

    def metrics(self):
        return f'up{{gateway="{self.name}"}} 1\n'.encode()


@pytest.fixture
async def serve():
    """Starts a server for a gateway's probes, on a port that may be shared."""
    servers = []

    async def start(name="a", *, port=0, shared=False, ready=True):
        settings = GatewayServerSettings(port=port, share_port=shared, drain_timeout_s=0.0)
        server = HttpServer(settings, ProbeSurface(Probed(name, ready=ready)))
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


async def get(port, path="/metrics", method="GET"):
    async with await RawConnection.open(port) as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        return await client.read_response(method=method)


async def who(port):
    return (await get(port)).body


async def test_two_servers_share_a_port_and_one_goes_on_when_the_other_stops(serve):
    port = free_port()
    first, second = await serve("a", port=port, shared=True), await serve("b", port=port, shared=True)
    assert first.port == second.port == port
    answers = {await who(port) for _ in range(60)}
    assert answers == {b'up{gateway="a"} 1\n', b'up{gateway="b"} 1\n'}
    await first.stop()
    assert {await who(port) for _ in range(20)} == {b'up{gateway="b"} 1\n'}


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
async def test_a_port_is_shared_only_when_both_want_it(serve, first, second):
    port = free_port()
    await serve(port=port, shared=first)
    with pytest.raises(OperatorError, match="is in use"):
        await serve(port=port, shared=second)


async def test_a_system_that_cannot_share_ports_is_told_so(serve, monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(OperatorError, match="SO_REUSEPORT"):
        await serve(shared=True)
    await serve(shared=False)


async def test_the_probe_port_tells_of_one_process_and_has_nothing_else(serve):
    port = (await serve("a")).port
    assert (await get(port, "/healthz")).json() == {"status": "ok"}
    assert (await get(port, "/readyz")).status == 200
    assert (await get((await serve("b", ready=False)).port, "/readyz")).status == 503
    missing = await get(port, "/v1/chat/completions", "POST")
    assert (missing.status, missing.json()) == (
        404,
        {"error": {"message": "Only /healthz, /readyz and /metrics are here."}},
    )
    assert (await get(port, "/metrics", "POST")).status == 405


async def test_what_is_no_http_is_answered_and_closed(serve):
    server = await serve()
    async with await RawConnection.open(server.port) as client:
        await client.send(b"hello\r\n\r\n")
        assert (await client.read_response()).status == 400
        async with asyncio.timeout(2):
            assert await client.read_to_end() == b""
