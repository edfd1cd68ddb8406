import asyncio
import contextlib
import inspect
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from podium.app.shared import open_shared
from podium.economics.budgets.values import Cost
from podium.store.redis.client import RedisClient
from podium.store.redis.scripts import Scripts
from podium.store.redis.settings import RedisSettings
from podium.testing.clock import TestClock
from podium.testing.redis_server import RedisServer

# A busy machine may need long for an answer; tests about time limits set their own.
PATIENT = {"timeout_ms": 2000, "connect_timeout_ms": 2000, "probe_interval_ms": 50}


@pytest.fixture(scope="session")
def shared_server():
    """A Redis for all tests that do it no harm."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared_server):
    """An empty Redis that is not to be harmed."""
    shared_server.command("FLUSHALL")
    shared_server.command("SCRIPT", "FLUSH")
    return shared_server


@pytest.fixture
def own_server():
    """A Redis that the test may harm."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def open_client():
    """Opens clients and closes them after the test."""
    async with AsyncExitStack() as stack:

        async def open_it(server, **changes):
            settings = RedisSettings(**({"url": server.url} | PATIENT | changes))
            return await stack.enter_async_context(RedisClient(settings))

        yield open_it


@pytest.fixture
async def client(open_client, server):
    return await open_client(server)


@pytest.fixture
def scripts(client):
    return Scripts(client)


class Relay:
    """Stands between a client and a server on a port of its own; `slowness_s` delays each piece."""

    def __init__(self, target_port):
        self.slowness_s = 0.0
        self.port = 0
        self._target = target_port
        self._tasks = set()

    async def serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, ExceptionGroup, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, back))
                    group.create_task(self._pass_on(there, writer))
            finally:
                back.transport.abort()
        writer.transport.abort()

    async def _pass_on(self, source, sink):
        while piece := await source.read(65536):
            await asyncio.sleep(self.slowness_s)
            sink.write(piece)
        raise ConnectionResetError

    async def end(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
def relayed():
    """`async with relayed(port, ssl=None) as relay`: a relay before a server."""

    @asynccontextmanager
    async def run(port, *, ssl=None):
        relay = Relay(port)
        listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0, ssl=ssl)
        relay.port = listener.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            listener.close()
            await relay.end()

    return run


async def answer_of(outcome):
    """What was decided, whether or not somebody had to be asked."""
    return await outcome if inspect.isawaitable(outcome) else outcome


@pytest.fixture
def ask():
    """Awaits what may be awaited."""
    return answer_of


class Gateway:
    """What one gateway has open, with a clock of its own."""

    def __init__(self, shared, clock):
        self.shared, self.clock = shared, clock
        self.limits, self.budgets, self.client = shared.limits, shared.budgets, shared.client
        self.members = shared.members

    async def acquire(self, buckets, charge):
        return await answer_of(self.limits.acquire(buckets, charge, self.clock.monotonic_ns()))

    def settle(self, grant, facts):
        self.limits.settle(grant, facts, self.clock.monotonic_ns())

    def release(self, grant):
        self.limits.release(grant, self.clock.monotonic_ns())

    async def reserve(self, number, charges, usd=10):
        name, estimate, clock = number.to_bytes(16, "big"), Cost(usd, usd), self.clock
        return await answer_of(self.budgets.reserve(name, charges, estimate, clock.unix_ns(), clock.monotonic_ns()))

    def spend(self, number, usd):
        self.budgets.settle(number.to_bytes(16, "big"), Cost(usd, usd))

    @property
    def untold(self):
        return len(self.limits.outbox) + len(self.budgets.outbox)


@pytest.fixture
async def open_gateway():
    """Opens what gateways share and closes it after the test, together with what it could not tell."""
    async with AsyncExitStack() as stack:

        async def open_it(server, name="one", crossed=lambda _: None, **changes):
            settings = RedisSettings(**({"url": server.url, "member_ttl_s": 0.2} | PATIENT | changes))
            clock = TestClock()
            return Gateway(await stack.enter_async_context(open_shared(settings, name, clock, crossed=crossed)), clock)

        yield open_it
