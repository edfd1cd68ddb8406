"""Fixtures for tests that need a gateway in this process, or a whole Podium in others."""

import gc
import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from podium.core.resources import Timeouts
from podium.testing.behaviour import BAD, GOOD
from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.processes import Installation
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually

SCRIPTED_MODELS = ("m", *(f"scripted-{name}" for name in (GOOD | BAD)))
MODELS = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parent.parent / ".models")
SHORT_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=0.4, between_bytes_s=0.4, total_s=5.0)


def pytest_collection_modifyitems(items):
    """Stories first: each is a few long tests, and at the end a processor would wait for the last of them."""
    items.sort(key=lambda item: item.get_closest_marker("scenario") is None)


@pytest.fixture(scope="module", autouse=True)
def _no_long_collections():
    """What earlier modules left is not looked through again: of a gigabyte that stops a gateway for half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def upstream():
    """A scripted upstream."""
    async with ScriptedUpstream() as scripted:
        yield scripted


@asynccontextmanager
async def _sound_gateway(upstream_url, *, server=None, **declared):
    """A gateway in front of an upstream that must be empty and answering when the block ends."""
    from podium.testing.gateway import gateway_snapshot, running_gateway

    snapshot = gateway_snapshot(upstream_url, **{"models": SCRIPTED_MODELS, "timeouts": SHORT_TIMEOUTS} | declared)
    async with running_gateway(snapshot, server=server) as gateway:
        yield gateway
        await eventually(lambda: gateway.in_flight == 0 and gateway.connections == 0, timeout_s=5)
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(path="/v1/models", key=gateway.api_key))
            assert (await client.read_response()).status == 200


@pytest.fixture
async def open_gateway(upstream):
    """Starts a gateway: `await open_gateway()`; takes `upstream_url`, `server`, and what `gateway_snapshot` takes."""
    async with AsyncExitStack() as stack:

        async def start(upstream_url=upstream.url, **options):
            return await stack.enter_async_context(_sound_gateway(upstream_url, **options))

        yield start


@pytest.fixture
async def gateway(upstream):
    """A gateway with the usual settings in front of `upstream`."""
    async with _sound_gateway(upstream.url) as running:
        yield running


@pytest.fixture
def exchange(gateway):
    """Sends one request on a connection of its own and returns the answer."""

    async def send(data=None, *, body=None, method="POST", **request):
        if data is None:
            request.setdefault("key", gateway.api_key)
            data = request_bytes(chat_body() if body is None else body, method=method, **request)
        async with await RawConnection.open(gateway.port) as client:
            await client.send(data)
            return await client.read_response(method=method)

    return send


@pytest.fixture
def installation(tmp_path):
    """A data folder and ports for a Podium that the test starts itself."""
    return Installation(tmp_path, models=MODELS)


@pytest.fixture(scope="session")
def podium_up(tmp_path_factory):
    """A running `podium up` with the built-in models, one for all tests that only use it."""
    installed = Installation(tmp_path_factory.mktemp("podium_up"), models=MODELS)
    with installed.start("up") as process:
        installed.wait_ready(process, timeout_s=110)
        yield installed
