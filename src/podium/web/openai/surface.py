"""OpenAI's API over HTTP: which path is which endpoint, and how an exchange is born of a request's head."""

import re
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from podium.core.clock import Clock
from podium.core.errors import MethodNotAllowed, NotFound, PodiumError
from podium.core.exchange import Exchange
from podium.core.trace import Sampler, parse_trace_context
from podium.gateway.flight import Flight
from podium.web.feedback.path import FEEDBACK_PATH, FEEDBACK_ROUTES, FeedbackPath
from podium.web.http1.message import Message
from podium.web.ofrep.paths import OFREP_PATH, OFREP_ROUTES, OfrepPaths
from podium.web.openai.models import list_models, one_model
from podium.web.probes import Probes, probe_paths
from podium.web.standings import STANDINGS_PATH, StandingsPath

__all__ = ["ROUTES", "OpenAiSurface"]

# Path -> endpoint of model calls; each is POST.
_CALLS = {
    b"/v1/chat/completions": "chat.completions",
    b"/v1/completions": "completions",
    b"/v1/embeddings": "embeddings",
    b"/v1/messages": "messages",
}
_MODELS = b"/v1/models"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")

ROUTES: tuple[tuple[str, str], ...] = (
    *(("POST", path.decode()) for path in _CALLS),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{id}"),
    *FEEDBACK_ROUTES,
    *OFREP_ROUTES,
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
)


class OpenAiSurface:
    """Answers every message of the data plane's server (podium.web.http1.connection.Handler)."""

    def __init__(
        self,
        flight: Flight,
        *,
        probes: Probes,
        sampler: Sampler,
        clock: Clock,
        standings: StandingsPath | None = None,
        flags: OfrepPaths | None = None,
        feedback: FeedbackPath | None = None,
    ) -> None:
        self._feedback = feedback
        self._flags = flags
        self._flight = flight
        self._probes = probe_paths(probes)
        self._standings = standings
        self._sampler = sampler
        self._clock = clock

    def __call__(self, message: Message) -> Coroutine[Any, Any, None]:
        """What answers `message` when it is run."""
        endpoint = _CALLS.get(message.path)
        if endpoint is not None and message.method == b"POST":
            return self._flight.fly(self._exchange(endpoint, message), message)
        return self._answer_other(message)

    async def _answer_other(self, message: Message) -> None:
        path, method = message.path, message.method
        if path in _CALLS:
            self._reject_method(self._exchange(_CALLS[path], message), message, ("POST",))
        elif path == _MODELS or path.startswith(_MODELS + b"/"):
            await self._models(message)
        elif (probe := self._probes.get(path)) is not None and method in {b"GET", b"HEAD"}:
            probe(message)
        elif self._feedback is not None and path == FEEDBACK_PATH:
            await self._feedback(message)
        elif self._flags is not None and path.startswith(OFREP_PATH):
            await self._flags(message)
        elif self._standings is not None and path.startswith(STANDINGS_PATH):
            self._standings(message)
        else:
            exchange = self._exchange("other", message)
            shown = path[:200].decode("latin-1")
            self._flight.reject(exchange, message, NotFound(f"There is nothing at {shown!r}."))

    def refuse(self, message: Message, error: PodiumError) -> None:
        """Answer a message that could not be read."""
        self._flight.reject(self._exchange("other", message), message, error)

    async def _models(self, message: Message) -> None:
        exchange = self._exchange("models", message)
        if message.method not in {b"GET", b"HEAD"}:
            self._reject_method(exchange, message, ("GET", "HEAD"))
        elif message.path in {_MODELS, _MODELS + b"/"}:
            await self._flight.view(exchange, message, list_models)
        else:
            name = unquote_to_bytes(message.path[len(_MODELS) + 1 :]).decode("utf-8", "replace")
            exchange.model = name[:128]
            await self._flight.view(exchange, message, one_model(name))

    def _reject_method(self, exchange: Exchange, message: Message, allowed: tuple[str, ...]) -> None:
        shown = message.method.decode("latin-1")
        error = MethodNotAllowed(f"{shown} is not a method of this path.", allowed=allowed)
        self._flight.reject(exchange, message, error)

    def _exchange(self, endpoint: str, message: Message) -> Exchange:
        headers, clock = message.headers, self._clock
        request_id = headers.get(b"x-request-id")
        exchange = Exchange(
            endpoint,
            request_id=request_id.decode() if request_id and _REQUEST_ID.match(request_id) else "",
            started_unix_ns=clock.unix_ns(),
            started_at_ns=clock.monotonic_ns(),
        )
        parent = None
        if (traceparent := headers.get(b"traceparent")) is not None:
            state = headers.get(b"tracestate", b"").decode("latin-1")
            parent = parse_trace_context(traceparent.decode("latin-1"), state)
            exchange.parent_span_id = parent.span_id if parent is not None else ""
        exchange.trace = self._sampler.start(parent)
        return exchange
