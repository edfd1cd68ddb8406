"""Podium's HTTP server and upstream transport with no stage between them: what the stages cost is the difference.

Either can be exchanged for an alternative: what the choice of that part is worth is the difference.

python bench/podium_bare.py --port 8080 --upstream http://127.0.0.1:9000 [--server granian] [--transport pyreqwest]
"""

import argparse
import asyncio
import gc
from collections.abc import Callable
from functools import partial

from podium.app.process import run_until_stopped
from podium.core.errors import PodiumError
from podium.core.resources import Tls
from podium.gateway.ports import Upstream
from podium.upstreams.openai import PATHS, Account, OpenAiUpstream, account_head, origin_of
from podium.upstreams.pool import Pool
from podium.web.http1.message import Message
from podium.web.http1.server import HttpServer
from podium.web.settings import GatewayServerSettings

_ENDPOINTS = {b"/v1" + path: endpoint for endpoint, path in PATHS.items()}
_JSON = b"content-type: application/json\r\n"
_EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"
_DEADLINE_S = 900.0
_CONNECT_S = 5.0
_BETWEEN_BYTES_S = 60.0
_MAX_CONNECTIONS = 16_384


class Relay:
    """Passes each request on and its answer back, bytes as they come."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()

    async def __call__(self, message: Message) -> None:
        endpoint = _ENDPOINTS.get(message.path)
        if endpoint is None:
            message.send(200 if message.path == b"/healthz" else 404, _JSON, b"{}")
            return
        body = await message.read_body()
        try:
            answer = await self._upstream.call(endpoint, body, headers=b"", deadline_s=self._loop.time() + _DEADLINE_S)
            if not answer.streamed:
                message.send(answer.status, _JSON, answer.body)
                return
            message.start(answer.status, _EVENT_STREAM)
            message.on_room(answer.resume)

            def pass_on(piece: bytes) -> bool:
                if not message.write(piece):
                    answer.pause()
                return True

            await answer.relay(pass_on)
            message.finish()
        except PodiumError:
            message.send(502, _JSON, b"{}")

    def refuse(self, message: Message, error: PodiumError) -> None:
        message.send(error.status, _JSON, b"{}")


def own_transport(base_url: str) -> tuple[Upstream, Callable[[], None]]:
    """Podium's; and what closes it."""
    pool = Pool(
        origin_of(base_url, Tls()),
        connect_s=_CONNECT_S,
        first_byte_s=300.0,
        between_bytes_s=_BETWEEN_BYTES_S,
        max_connections=_MAX_CONNECTIONS,
    )
    account = Account(pool, b"/v1", account_head(base_url, api_key=None, headers={}), _DEADLINE_S, False)
    return OpenAiUpstream("bare", "bare", account), pool.close


def pyreqwest_transport(base_url: str) -> tuple[Upstream, Callable[[], None]]:
    """pyreqwest's; its runtime ends with the process."""
    from alternatives.pyreqwest_transport import PyreqwestUpstream, open_client

    client = open_client(connect_s=_CONNECT_S, between_bytes_s=_BETWEEN_BYTES_S, max_connections=_MAX_CONNECTIONS)
    return PyreqwestUpstream("bare", "bare", client, base_url, total_s=_DEADLINE_S), lambda: None


_TRANSPORTS = {"podium": own_transport, "pyreqwest": pyreqwest_transport}


def serve_by_podium(settings: GatewayServerSettings, transport: str, base_url: str) -> int:
    async def serve(stop: asyncio.Event) -> int:
        upstream, close = _TRANSPORTS[transport](base_url)
        server = HttpServer(settings, Relay(upstream))
        await server.start()
        gc.collect()
        gc.freeze()
        await stop.wait()
        await server.stop()
        close()
        return 0

    return run_until_stopped(serve)


def make_relay(transport: str, base_url: str) -> Relay:
    """The handler, in a granian worker."""
    upstream, _ = _TRANSPORTS[transport](base_url)
    gc.collect()
    gc.freeze()
    return Relay(upstream)


def serve_by_granian(settings: GatewayServerSettings, transport: str, base_url: str) -> int:
    from alternatives.granian_server import serve_on_granian

    return serve_on_granian(settings, partial(make_relay, transport, base_url))


_SERVERS = {"podium": serve_by_podium, "granian": serve_by_granian}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--server", choices=_SERVERS, default="podium")
    parser.add_argument("--transport", choices=_TRANSPORTS, default="podium")
    arguments = parser.parse_args()
    settings = GatewayServerSettings(port=arguments.port)
    return _SERVERS[arguments.server](settings, arguments.transport, f"{arguments.upstream}/v1")


if __name__ == "__main__":
    raise SystemExit(main())
