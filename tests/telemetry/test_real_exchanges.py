"""Exchanges of a real gateway, seen in every sink."""

import json
import os

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from podium.control.ports import UsageQuery
from podium.core.serving import FailureHandling, Hedging
from podium.core.trace import parse_trace_context
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.sinks import Sinks
from podium.telemetry.traces import ExchangeTracer
from podium.testing.clock import TestClock
from podium.testing.gateway import gateway_snapshot, running_gateway
from podium.testing.memory_store import MemoryLedger
from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import Simulator

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


@pytest.fixture
async def two_providers():
    """A gateway over two simulators, of which the first answers 503, both of them, and its clock."""
    async with Simulator(check_keys=False) as failing, Simulator(check_keys=False) as sound:
        failing.behave("unavailable")
        urls = [one.base_url("openai") for one in (failing, sound)]
        clock = TestClock()
        async with running_gateway(gateway_snapshot(urls, models=("m",)), clock=clock) as gateway:
            yield gateway, failing, sound, clock


async def test_each_of_several_calls_is_told_the_same_everywhere(two_providers):
    gateway, *providers, _ = two_providers
    request = request_bytes(chat_body("m"), key=gateway.api_key, headers={"traceparent": TRACEPARENT})
    async with await RawConnection.open(gateway.port) as client:
        await client.send(request)
        assert (await client.read_response()).status == 200

    (event,) = gateway.events
    page, log = await seen([event])
    exporter = InMemorySpanExporter()
    tracer = ExchangeTracer(exporter, service="podium", gateway="gateway-1")
    tracer.observe(event)
    tracer.close()
    *clients, server = exporter.get_finished_spans()
    # What a provider was told to be a child of is the span of its own call.
    sent = [parse_trace_context(one.requests[0].header("traceparent")).span_id for one in providers]
    assert [f"{span.context.span_id:016x}" for span in clients] == sent
    ends = [("first", "provider-0/m", "upstream_error"), ("retry", "provider-1/m", "ok")]
    names = ("podium.call.kind", "podium.backend", "podium.call.reason")
    assert [tuple(span.attributes[name] for name in names) for span in clients] == ends
    assert [(call["kind"], call["backend"], call["reason"]) for call in json.loads(log)["trail"]] == ends
    for kind, backend, reason in ends:
        labels = f'model="m",backend="{backend}",kind="{kind}",reason="{reason}"'
        assert f"podium_upstream_attempts_total{{{labels}}} 1\n" in page
    assert server.attributes["podium.attempts"] == 2


async def test_by_provider_a_lost_race_is_paid_by_who_lost_it(two_providers):
    gateway, slow, sound, clock = two_providers
    slow.behave("slow-head=3s")
    failure = FailureHandling(hedging=Hedging(minimum_samples=1, maximum_delay_s=0.05, max_share=1.0))
    snapshot = gateway.follower.current.snapshot
    models = {"m": msgspec.structs.replace(snapshot.models["m"], failure=failure)}
    gateway.follower.install(msgspec.structs.replace(snapshot, revision=2, models=models))
    (pool,) = gateway.follower.current.pools().values()
    pool.hedgers[False].observe(1.0, clock.monotonic_ns())
    clock.advance(2)  # the delay is worked out anew

    async with await RawConnection.open(gateway.port) as client:
        await client.send(request_bytes(chat_body("m"), key=gateway.api_key))
        assert (await client.read_response()).status == 200

    (event,) = gateway.events
    assert [(call.kind, call.provider) for call in event.trail] == [("first", "provider-0"), ("hedge", "provider-1")]
    ledger = MemoryLedger()
    await ledger.load("a", 1, (event,))
    winner, loser = await ledger.usage(UsageQuery(by=("provider",)))
    assert (winner.group, winner.exchanges) == ({"provider": "provider-1"}, 1)
    assert (loser.group, loser.exchanges) == ({"provider": "provider-0"}, 0)
    lost, won = event.trail
    assert (loser.cost_nanousd, loser.input_tokens) == (lost.cost_nanousd, lost.input_tokens)
    assert winner.cost_nanousd == won.cost_nanousd == event.cost_nanousd - lost.cost_nanousd
    assert lost.cost_nanousd > 0
    assert sound.requests_seen == 1


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
        body=chat_body(content="my-pin-is-quux", stream=stream, user="alice@example.org"),
        headers={"traceparent": TRACEPARENT},
    )

    assert answer.status == 200
    spans = spans_of(gateway.events[0])
    assert len(spans) == 2
    shown = "".join((*await seen(gateway.events), *(span.to_json() for span in spans.values())))
    for secret in ("quux", "alice@example.org", gateway.api_key, gateway.api_key.rpartition("_")[2]):
        assert secret not in shown
