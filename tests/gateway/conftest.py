"""A gateway in front of simulated providers: declared in a line, changed while it runs, empty when the test ends."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from podium.core.resources import BackendSpec, Model, Price, Provider, Timeouts, Version
from podium.core.serving import Balancing, FailureHandling, Queueing
from podium.testing.clock import TestClock
from podium.testing.gateway import TEST_KEY, gateway_snapshot, running_gateway
from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import Simulator
from podium.testing.waiting import eventually
from podium.traffic.queueing.fair_queue import Priority

TIMES = Timeouts(connect_s=1.0, first_byte_s=2.0, between_bytes_s=2.0, total_s=5.0)
PATHS = {
    "embeddings": "/v1/embeddings",
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
}


class Stage:
    """Simulators by the names of their providers (`stage["a"]`), a clock that stands still, and the gateway."""

    def __init__(self, stack, **options):
        self.clock = TestClock()
        self.gateway = None
        self._stack = stack
        self._options = {"clock": self.clock} | options
        self._simulators = {}
        self._revision = 0

    def checked_by(self, health):
        """Let the gateway ask these health checks; before `serve`."""
        self._options["health"] = health
        return health

    def __getitem__(self, name):
        return self._simulators[name]

    @property
    def names(self):
        """Those of all providers so far."""
        return list(self._simulators)

    async def serve(self, /, *, providers=None, **models):
        """Declare models and what they name, now or from now on. `providers`: changes of their specs.

        A model is what `model` makes, or the names of its providers.
        """
        providers = providers or {}
        made = {name: one if isinstance(one, tuple) else self.model(*one.split()) for name, one in models.items()}
        names = {backend.provider: None for version, _ in made.values() for backend in version.backends}
        for name in names:
            if name not in self._simulators:
                self._simulators[name] = await self._stack.enter_async_context(Simulator(check_keys=False))
        self._revision += 1
        snapshot = msgspec.structs.replace(
            gateway_snapshot(),
            revision=self._revision,
            providers={name: self._provider(name, providers.get(name, {})) for name in names},
            versions={f"{name}-1": version for name, (version, _) in made.items()},
            models={name: Model(version=f"{name}-1", **spec) for name, (_, spec) in made.items()},
            prices={
                name: Price(
                    model="*", provider=name, input_usd_per_million=str(place), output_usd_per_million=str(10 * place)
                )
                for place, name in enumerate(names, 1)
            },
        )
        if self.gateway is None:
            self.gateway = await self._stack.enter_async_context(running_gateway(snapshot, **self._options))
        else:
            self.gateway.follower.install(snapshot)

    def model(self, *backends, version=None, **spec):
        """A Version with these backends, named by their providers (`a`, or `a*0` for its weight), and Model fields."""
        specs = tuple(one if isinstance(one, BackendSpec) else _backend(one) for one in backends)
        types = {"failure": FailureHandling, "balancing": Balancing, "queueing": Queueing}
        spec = {name: msgspec.convert(value, types[name]) if name in types else value for name, value in spec.items()}
        return Version(backends=specs, **(version or {})), spec

    def _provider(self, name, changes):
        protocol = changes.get("protocol", "openai")
        spec = {"protocol": protocol, "base_url": self[name].base_url(protocol), "timeouts": TIMES} | changes
        if protocol == "anthropic":
            spec["base_url"] += "/v1"
        return Provider(**spec)

    @asynccontextmanager
    async def asking(self, model="m", *, to="chat", key=TEST_KEY.text, headers=None, **fields):
        """A caller that has sent its request."""
        if to == "messages":
            fields.setdefault("max_tokens", 100)
        body = chat_body(model, **fields)
        if to == "completions":
            body = json.dumps({"model": model, "prompt": "one two three"} | fields).encode()
        elif to == "embeddings":
            body = json.dumps({"model": model, "input": "one two three"} | fields).encode()
        async with await RawConnection.open(self.gateway.port) as client:
            await client.send(request_bytes(body, path=PATHS[to], key=key, headers=headers))
            yield client

    async def ask(self, *arguments, **named):
        """An answer."""
        async with self.asking(*arguments, **named) as client:
            return await client.read_response()

    async def event(self, number=0):
        """The event of an exchange, by its place in time."""
        await eventually(lambda: len(self.gateway.events) > number)
        return self.gateway.events[number]

    def state(self, provider, model="m"):
        """What the fleet knows of a backend."""
        return self.gateway.fleet._backends[f"{model} {provider}/{provider}-model"]

    def queue(self, model="m"):
        """The queue before a model's pool."""
        return self.gateway.fleet._queues[model]

    def calls(self, *names):
        """How many requests each provider has seen."""
        return [self[name].requests_seen for name in names]

    async def is_empty(self):
        """Nothing runs, and no place is taken."""
        await eventually(lambda: not self.gateway.in_flight)
        for state in self.gateway.fleet._backends.values():
            assert state.load.in_flight == 0, state.load
            assert state.account.bulkhead.running == 0
            assert state.account.backoff._lease_ns is None
            assert state.concurrency is None or state.concurrency.in_flight == 0
            for breaker in (state.breaker, state.account.breaker):
                assert breaker is None or not breaker._leases
        for queue in self.gateway.fleet._queues.values():
            assert queue.running == 0
            assert not any(map(queue.waiting, Priority))
        for name in self._simulators:
            await eventually(lambda name=name: all(map(_is_over, self[name].requests)))


def _backend(text):
    name, _, weight = text.partition("*")
    return BackendSpec(provider=name, model=f"{name}-model", weight=int(weight or 1))


def _is_over(request):
    return request.finished_at_s is not None or request.disconnected_at_s is not None


@pytest.fixture
async def stage():
    """A stage with nothing on it yet; see `Stage.serve`. Checked to be empty at the end."""
    async with AsyncExitStack() as stack:
        made = Stage(stack)
        yield made
        if made.gateway is not None:
            await made.is_empty()
            ids = [event.id for event in made.gateway.events]
            assert len(set(ids)) == len(ids)


@pytest.fixture
def trail():
    """An event's calls as words: kind, provider, how it ended."""

    def told(event):
        return [f"{call.kind} {call.provider} {call.reason}" for call in event.trail]

    return told
