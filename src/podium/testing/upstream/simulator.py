"""A model provider that is not there: every protocol, checked requests, and faults on command.

In a test::

    async with Simulator() as simulator:
        simulator.behave(Mode.UNAVAILABLE, calls=1)
        ...  # the first call gets 503 in its provider's shape, the others are answered well
        provider_url = simulator.base_url(UpstreamProtocol.ANTHROPIC)
        assert simulator.requests[0].refused is None

By itself: `python -m podium.testing.upstream`. A wrong request is answered as the provider would, whatever the
behaviour, and kept with the reason in `refused`.
"""

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from types import TracebackType
from typing import Self

from podium.testing.ports import free_port
from podium.testing.upstream.answering import answer_of, read
from podium.testing.upstream.behaviours import Behaviour, Latency, Trouble
from podium.testing.upstream.connection import SimulatedRequest, SimulatorConnection
from podium.testing.upstream.control import CONTROL, Controlled
from podium.testing.upstream.credentials import check_credentials
from podium.testing.upstream.errors import error_answer, error_event
from podium.testing.upstream.modes import MODES, Mode
from podium.testing.upstream.performance import Performance, perform
from podium.testing.upstream.protocols import Endpoint, Route, UpstreamProtocol, route
from podium.testing.upstream.rates import Rates
from podium.testing.upstream.refusals import Refused
from podium.testing.upstream.specs import behaviour_of, split_model
from podium.testing.upstream.speech import Asked, speak

__all__ = ["Simulator"]

_KEPT_REQUESTS = 20_000
_PATHS = {UpstreamProtocol.OPENAI: "/v1"}
_P99 = NormalDist().inv_cdf(0.99)


@dataclass(slots=True)
class _Scripted:
    behaviour: Behaviour
    left: int


class Simulator:
    """Use as an async context manager: it listens while the block runs.

    `protocols`: those that it speaks, None for all. `models`: those that it knows, None for any name. `check_keys`
    False: credentials are not asked for. `seed`: of latencies and shares.
    """

    def __init__(
        self,
        protocols: Iterable[UpstreamProtocol] | None = None,
        *,
        behaviour: Mode | Behaviour | str = Mode.PLAIN,
        models: tuple[str, ...] | None = None,
        check_keys: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        kept_requests: int = _KEPT_REQUESTS,
    ) -> None:
        self.protocols = frozenset(protocols or UpstreamProtocol)
        self.requests: deque[SimulatedRequest] = deque(maxlen=kept_requests)
        self.requests_seen = 0
        self.connections_opened = 0
        self._standing = _behaviour(behaviour)
        self._script: deque[_Scripted] = deque()
        self._models, self._check_keys = models, check_keys
        self._host, self._port, self._tls = host, port, tls
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._rates = Rates()
        self._connections: set[SimulatorConnection] = set()
        self._server: asyncio.Server | None = None
        self._control = Controlled(self)

    # What tests ask and order.

    @property
    def port(self) -> int:
        """Where it listens, or did."""
        return self._port

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def base_url(self, protocol: UpstreamProtocol = UpstreamProtocol.OPENAI) -> str:
        """What the provider's own client takes as its base URL (OpenAI's ends in /v1, the others have no path)."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{_PATHS.get(protocol, '')}"

    @property
    def behaviour(self) -> Behaviour:
        """How the next call is answered that does not say so itself."""
        return self._script[0].behaviour if self._script else self._standing

    def behave(self, behaviour: Mode | Behaviour | str = Mode.PLAIN, calls: int | None = None) -> None:
        """Answer like this from now on, and forget what was ordered before; or only the next `calls` calls.

        Orders for a number of calls stand in line. Listing models is not a call, but the lasting order holds for
        it. ValueError: a spec that is none.
        """
        found = _behaviour(behaviour)
        if calls is None:
            self._script.clear()
            self._standing = found
        elif calls > 0:
            self._script.append(_Scripted(found, calls))

    @property
    def scripted_calls(self) -> int:
        """Calls that the lasting order does not hold for yet."""
        return sum(scripted.left for scripted in self._script)

    @property
    def kept(self) -> list[SimulatedRequest]:
        """The last requests, oldest first."""
        return list(self.requests)

    def refused(self) -> list[SimulatedRequest]:
        """Requests that were found wrong."""
        return [request for request in self.requests if request.refused is not None]

    # What connections call.

    def opened(self, connection: SimulatorConnection) -> int:
        """Count a connection in."""
        self.connections_opened += 1
        self._connections.add(connection)
        return self.connections_opened

    def closed(self, connection: SimulatorConnection) -> None:
        """Count it out."""
        self._connections.discard(connection)

    def perform(self, request: SimulatedRequest) -> Performance:
        """Keep a request and say how to answer it."""
        if request.path.startswith(CONTROL):
            return self._control.perform(request)
        self.requests.append(request)
        self.requests_seen += 1
        headers = dict(request.headers)
        where = route(request.method, request.path, headers)
        if where is None or where.protocol not in self.protocols:
            return self._refuse(request, None, Refused("Unknown request URL.", trouble=Trouble.NOT_FOUND))
        request.protocol, request.endpoint, request.model = where.protocol, where.endpoint, where.model
        try:
            if self._check_keys:
                check_credentials(where, request.method, request.path, headers, request.body)
            if request.oversized:
                raise Refused("", trouble=Trouble.TOO_LARGE)
            asked = read(where, headers, request.body)
            model, named = _named(asked.model)
            if self._models is not None and model not in self._models and where.endpoint is not Endpoint.MODELS:
                raise Refused("", trouble=Trouble.NOT_FOUND)
            header = _spec(headers.get("x-simulate"))
        except Refused as refused:
            return self._refuse(request, where, refused)
        request.model, request.streamed = model, asked.streamed
        behaviour = header or named or self._ordered(where.endpoint)
        return self._answer(request, where, asked, behaviour)

    def _ordered(self, endpoint: Endpoint) -> Behaviour:
        if endpoint is Endpoint.MODELS or not self._script:
            return self._standing
        scripted = self._script[0]
        scripted.left -= 1
        if not scripted.left:
            self._script.popleft()
        return scripted.behaviour

    def _refuse(self, request: SimulatedRequest, where: Route | None, refused: Refused) -> Performance:
        protocol = where.protocol if where else UpstreamProtocol.OPENAI
        request.refused = refused.message or refused.trouble.value
        answer = error_answer(
            protocol,
            refused.trouble,
            model=request.model,
            message=refused.message or None,
            parameter=refused.parameter,
        )
        request.status = answer.status
        return perform(answer, Behaviour(), error_event(protocol))

    def _answer(self, request: SimulatedRequest, where: Route, asked: Asked, behaviour: Behaviour) -> Performance:
        if behaviour.share < 1 and self._random.random() >= behaviour.share:
            behaviour = Behaviour()
        request.behaviour = behaviour.name
        trouble, retry_after_s = behaviour.trouble, behaviour.retry_after_s
        if behaviour.per_second is not None:
            wait_s = self._rates.take(behaviour.per_second, time.monotonic())
            if wait_s:
                trouble, retry_after_s = Trouble.RATE_LIMITED, wait_s
        speech = speak(asked, behaviour)
        answer = answer_of(
            where, asked, speech, trouble, retry_after_s, self._models or (request.model or "simulated",)
        )
        request.status = answer.status
        request.usage = speech.usage if trouble is None else None
        latency_s = self._drawn(behaviour.latency) if behaviour.latency else 0.0
        return perform(answer, behaviour, error_event(where.protocol), latency_s=latency_s)

    def _drawn(self, latency: Latency) -> float:
        """Log-normal: its logarithm has this median, and this 99th percentile."""
        ratio = latency.p99_s / latency.median_s
        return float(latency.median_s * ratio ** (self._random.gauss(0.0, 1.0) / _P99))

    # Its life.

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SimulatorConnection(self), self._host, self._port or free_port(), ssl=self._tls, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            await connection.abort()
        await self._server.wait_closed()


def _behaviour(given: Mode | Behaviour | str) -> Behaviour:
    if isinstance(given, Behaviour):
        return given
    return MODES[given] if isinstance(given, Mode) else behaviour_of(given)


def _spec(header: str | None) -> Behaviour | None:
    try:
        return behaviour_of(header) if header else None
    except ValueError as error:
        raise Refused(f"x-simulate: {error}") from None


def _named(model: str) -> tuple[str, Behaviour | None]:
    try:
        return split_model(model)
    except ValueError as error:
        raise Refused(f"model: {error}") from None
