"""What a new snapshot replaces is freed at once: full collections of garbage are rare (podium.app.garbage)."""

import gc
import weakref

import msgspec

from podium.testing.gateway import gateway_snapshot, running_gateway
from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import RawConnection


async def test_a_world_is_in_no_cycle(upstream):
    first = gateway_snapshot(upstream.url, models=("m", "n"))
    async with running_gateway(first) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            for streamed in (False, True):
                body = chat_body(model="m", stream=streamed)
                await client.send(request_bytes(key=gateway.api_key, body=body))
                assert (await client.read_response()).status == 200
        gc.collect()
        gc.disable()
        try:
            old = weakref.ref(gateway.follower.current)
            pool = weakref.ref(gateway.follower.current.pool("m"))
            gateway.follower.install(msgspec.structs.replace(first, revision=first.revision + 1))
            assert (old(), pool()) == (None, None)
        finally:
            gc.enable()
