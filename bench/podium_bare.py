"""Podium's HTTP server and upstream transport with no stage between them: what the stages cost is the difference.

python bench/podium_bare.py --port 8080 --upstream http://127.0.0.1:9000
"""

import argparse
import asyncio
import gc

from podium.app.process import run_until_stopped
from podium.core.errors import PodiumError
from podium.core.resources import Tls
from podium.upstreams.openai import PATHS, Account, OpenAiUpstream, account_head, origin_of
from podium.upstreams.pool import Pool
from podium.web.http1.message import Message
from podium.web.http1.server import HttpServer
from podium.web.settings import GatewayServerSettings

_ENDPOINTS = {b"/v1" + path: endpoint for endpoint, path in PATHS.items()}
_JSON = b"content-type: application/json\r\n"
_EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"
_DEADLINE_S = 900.0


class Relay:
    """Passes each request on and its answer back, bytes as they come."""

    def __init__(self, upstream: OpenAiUpstream) -> None:
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()

    async def serve(stop: asyncio.Event) -> int:
        base_url = f"{arguments.upstream}/v1"
        pool = Pool(
            origin_of(base_url, Tls()), connect_s=5.0, first_byte_s=300.0, between_bytes_s=60.0, max_connections=16_384
        )
        account = Account(pool, b"/v1", account_head(base_url, api_key=None, headers={}), 900.0, False)
        server = HttpServer(GatewayServerSettings(port=arguments.port), Relay(OpenAiUpstream("bare", "bare", account)))
        await server.start()
        gc.collect()
        gc.freeze()
        await stop.wait()
        await server.stop()
        pool.close()
        return 0

    return run_until_stopped(serve)


if __name__ == "__main__":
    raise SystemExit(main())
