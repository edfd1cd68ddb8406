"""Exchanges of a real gateway, seen in every sink."""

import json
import os

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from podium.core.trace import parse_trace_context
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.sinks import Sinks
from podium.telemetry.traces import ExchangeTracer
from podium.testing.openai_requests import chat_body

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_of(event):
    exporter = InMemorySpanExporter()
    tracer = ExchangeTracer(exporter, service="podium", gateway="gateway-1")
    tracer.observe(event)
    tracer.close()
    return {span.kind: span for span in exporter.get_finished_spans()}


async def seen(events, settings=None):
    """The metrics page and the log lines of these events."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as source, os.fdopen(writer, "wb", 0) as sink:
        sinks = Sinks(settings or TelemetrySettings(), gateway="gateway-1", descriptor=sink.fileno())
        for event in events:
            sinks.observe(event)
        await sinks.close()
        sink.close()
        return sinks.metrics.render().decode(), source.read().decode()


async def test_a_caller_s_trace_runs_through_the_gateway_to_the_upstream(gateway, upstream, exchange):
    answer = await exchange(headers={"traceparent": TRACEPARENT, "tracestate": "rojo=1"})

    assert answer.status == 200
    (event,) = gateway.events
    spans = spans_of(event)
    sent = upstream.requests[0].header
    passed_on = parse_trace_context(sent("traceparent"), sent("tracestate"))
    assert passed_on is not None
    assert (passed_on.trace_id, passed_on.sampled, passed_on.tracestate) == (event.trace_id, True, "rojo=1")
    assert f"{spans[SpanKind.CLIENT].context.span_id:016x}" == passed_on.span_id
    assert f"{spans[SpanKind.SERVER].parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("traceparent", [TRACEPARENT.replace("-01", "-00"), "nonsense", None])
async def test_what_the_caller_did_not_sample_is_not_traced(gateway, exchange, traceparent):
    headers = {"traceparent": traceparent} if traceparent else {}

    answer = await exchange(headers=headers)

    assert answer.status == 200
    assert spans_of(gateway.events[0]) == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_log_and_metrics_tell_what_the_event_tells(gateway, exchange, stream):
    await exchange(body=chat_body(stream=stream))

    (event,) = gateway.events
    page, log = await seen([event])
    line = json.loads(log)
    told = ("request_id", "tenant", "key_id", "model", "version", "backend", "status", "reason", "output_tokens")
    assert {name: line[name] for name in told} == {name: getattr(event, name) for name in told}
    flow = f'endpoint="chat.completions",model="m",version="{event.version}",backend="{event.backend}"'
    assert f'podium_exchanges_total{{{flow},status="200",reason="ok"}} 1\n' in page
    assert f'podium_tokens_total{{{flow},kind="output"}} {event.output_tokens}\n' in page
    assert f"podium_exchange_duration_seconds_count{{{flow}}} 1\n" in page
    assert (f"podium_time_to_first_token_seconds_count{{{flow}}} 1\n" in page) == stream


@pytest.mark.parametrize("stream", [False, True])
async def test_no_sink_shows_prompts_answers_users_or_secrets(gateway, exchange, stream):
    answer = await exchange(
        body=chat_body(content="my-pin-is-4711", stream=stream, user="alice@example.org"),
        headers={"traceparent": TRACEPARENT},
    )

    assert answer.status == 200
    spans = spans_of(gateway.events[0])
    assert len(spans) == 2
    shown = "".join((*await seen(gateway.events), *(span.to_json() for span in spans.values())))
    for secret in ("4711", "alice@example.org", gateway.api_key, gateway.api_key.rpartition("_")[2]):
        assert secret not in shown
