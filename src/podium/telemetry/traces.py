"""Events into OpenTelemetry spans.

Spans of an exchange are made from the event's own time marks after the fact: the gateway's (server) and inside it one
for each upstream call (client). An exchange that is not sampled pays for one comparison. Names and attributes:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and .../http/http-spans/
"""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from podium import __version__
from podium.core.errors import OperatorError
from podium.core.event import AttemptRecord, Event
from podium.core.reasons import Reason
from podium.core.trace import upstream_span_id
from podium.telemetry.settings import TelemetrySettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["ExchangeTracer", "otlp_exporter"]

_QUEUE_SPANS = 8_192
_BATCH_SPANS = 512
_BATCH_DELAY_MS = 1_000
_CLOSE_TIMEOUT_S = 5.0
_SERVER_ERROR = 500

_OPERATIONS = {
    "chat.completions": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "messages": "chat",
}
_ROUTES = {
    "chat.completions": ("POST", "/v1/chat/completions"),
    "completions": ("POST", "/v1/completions"),
    "embeddings": ("POST", "/v1/embeddings"),
    "messages": ("POST", "/v1/messages"),
    "models": ("GET", "/v1/models"),
}


class ExchangeTracer:
    """Makes spans and hands them to a thread that exports them in batches. Too many waiting: spans are dropped."""

    def __init__(self, exporter: "SpanExporter", *, service: str, gateway: str) -> None:
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=_QUEUE_SPANS,
            max_export_batch_size=_BATCH_SPANS,
            schedule_delay_millis=_BATCH_DELAY_MS,
        )
        self._resource = Resource.create(
            {"service.name": service, "service.version": __version__, "service.instance.id": gateway}
        )
        self._scope = InstrumentationScope("podium", __version__)

    def observe(self, event: Event) -> None:
        """Trace one finished exchange, when it is sampled."""
        if not event.trace_sampled:
            return
        for span in self._spans(event):
            self._processor.on_end(span)

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Export what is waiting, for at most `timeout_s`; what is left then is dropped. Blocks."""
        # The processor alone would repeat each waiting batch until the exporter's timeout, for minutes in all.
        closing = threading.Thread(target=self._processor.shutdown, name="tracer-close", daemon=True)
        closing.start()
        closing.join(timeout_s)

    def _spans(self, event: Event) -> Iterator[ReadableSpan]:
        server = _context(event.trace_id, event.span_id)
        parent = _context(event.trace_id, event.parent_span_id, remote=True) if event.parent_span_id else None
        if event.upstream_ns >= 0:
            calls = event.calls
            answered = _answered(event, calls)
            for number, call in enumerate(calls):
                yield self._client_span(event, server, number, call, answered=call is answered)
        yield ReadableSpan(
            name=" ".join(_ROUTES.get(event.endpoint, ("HTTP",))),
            context=server,
            parent=parent,
            kind=SpanKind.SERVER,
            resource=self._resource,
            instrumentation_scope=self._scope,
            attributes=_server_attributes(event),
            status=Status(StatusCode.ERROR, event.reason)
            if event.status >= _SERVER_ERROR
            else Status(StatusCode.UNSET),
            start_time=event.started_unix_ns,
            end_time=event.started_unix_ns + event.ended_ns,
        )

    def _client_span(
        self, event: Event, server: SpanContext, number: int, call: AttemptRecord, *, answered: bool
    ) -> ReadableSpan:
        operation = _OPERATIONS.get(event.endpoint, event.endpoint)
        return ReadableSpan(
            name=f"{operation} {_upstream_model(call)}",
            context=_context(event.trace_id, upstream_span_id(event.span_id, number)),
            parent=server,
            kind=SpanKind.CLIENT,
            resource=self._resource,
            instrumentation_scope=self._scope,
            attributes=_client_attributes(event, call, operation)
            | (_answer_attributes(event, call) if answered else {}),
            status=Status(StatusCode.ERROR, call.reason) if _failed(call) else Status(StatusCode.UNSET),
            start_time=event.started_unix_ns + call.started_ns,
            end_time=event.started_unix_ns + max(call.started_ns, call.ended_ns),
        )


def otlp_exporter(settings: TelemetrySettings) -> "SpanExporter":
    """What sends spans to the collector of the settings. OperatorError: the headers file cannot be used."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - heavy

    if settings.otlp_endpoint is None:
        raise ValueError("no otlp_endpoint is set")
    return OTLPSpanExporter(
        endpoint=settings.otlp_endpoint.rstrip("/").removesuffix("/v1/traces") + "/v1/traces",
        headers=dict(_read_headers(settings.otlp_headers_file)),
        timeout=settings.otlp_timeout_s,
    )


def _context(trace_id: str, span_id: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def _upstream_model(call: AttemptRecord) -> str:
    return call.backend.removeprefix(f"{call.provider}/")


def _failed(call: AttemptRecord) -> bool:
    """At the upstream's end of it; a call that was given up has not failed."""
    return call.reason.startswith("upstream_")


def _answered(event: Event, calls: tuple[AttemptRecord, ...]) -> AttemptRecord | None:
    """The call whose answer, or a part of it, the caller has."""
    if event.first_byte_ns < 0:
        return None
    there = [call for call in calls if call.backend == event.backend]
    return next((call for call in there if call.reason == Reason.OK), there[-1] if there else None)


def _server_attributes(event: Event) -> Mapping[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "http.response.status_code": event.status,
        "podium.request_id": event.request_id,
        "podium.tenant": event.tenant,
        "podium.key_id": event.key_id,
        "podium.model": event.model,
        "podium.version": event.version,
        "podium.reason": event.reason,
        "podium.attempts": event.attempts,
        "podium.cost_nanousd": event.cost_nanousd,
    }
    for name, value in (("hedges", event.hedges), ("fallbacks", event.fallbacks), ("served_model", event.served_model)):
        if value:
            attributes[f"podium.{name}"] = value
    if event.endpoint in _ROUTES:
        attributes["http.request.method"], attributes["http.route"] = _ROUTES[event.endpoint]
    if event.reason != Reason.OK:
        attributes["error.type"] = event.reason
    return attributes


def _client_attributes(event: Event, call: AttemptRecord, operation: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": _upstream_model(call),
        "gen_ai.request.stream": event.stream,
        "podium.model": call.model,
        "podium.backend": call.backend,
        "podium.call.kind": call.kind,
        "podium.call.why": call.why,
        "podium.call.reason": call.reason,
    }
    if call.upstream_status:
        attributes["http.response.status_code"] = call.upstream_status
    if _failed(call):
        attributes["error.type"] = call.reason
    return attributes


def _answer_attributes(event: Event, call: AttemptRecord) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.response.model": _upstream_model(call),
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": event.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": event.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": event.reasoning_tokens,
    }
    if event.stream:
        attributes["gen_ai.response.time_to_first_chunk"] = (event.first_byte_ns - call.started_ns) / 1e9
    return attributes


def _read_headers(path: Path | None) -> Iterator[tuple[str, str]]:
    if path is None:
        return
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"The file of the collector's headers cannot be read: {path}", hint=str(error)) from error
    for number, line in enumerate(lines, start=1):
        name, colon, value = line.partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not colon or not name.strip():
            raise OperatorError(f"{path}, line {number}: not of the form `name: value`")
        yield name.strip(), value.strip()
