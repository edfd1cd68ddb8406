import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from podium.core.errors import OperatorError
from podium.core.trace import upstream_span_id
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.traces import ExchangeTracer, otlp_exporter
from podium.testing.events import make_call

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = "00f067aa0ba902b7"
TRACED = {"trace_id": TRACE, "span_id": SPAN, "parent_span_id": PARENT, "trace_sampled": True}


def all_spans_of(*events):
    """In the order in which they are made: the calls, then the exchange."""
    exporter = InMemorySpanExporter()
    tracer = ExchangeTracer(exporter, service="podium", gateway="gateway-1")
    for event in events:
        tracer.observe(event)
    tracer.close()
    return exporter.get_finished_spans()


def spans_of(*events):
    return {span.kind: span for span in all_spans_of(*events)}


def test_an_exchange_that_is_not_sampled_leaves_no_span(make_event):
    assert spans_of(make_event(), make_event(**TRACED | {"trace_sampled": False})) == {}


def test_a_streamed_chat_has_a_server_span_and_in_it_the_upstream_call(make_event):
    event = make_event(**TRACED, stream=True, upstream_ns=200_000, first_byte_ns=40_200_000, ended_ns=90_000_000)

    spans = spans_of(event)

    server, client = spans[SpanKind.SERVER], spans[SpanKind.CLIENT]
    assert f"{server.context.trace_id:032x}" == f"{client.context.trace_id:032x}" == TRACE
    assert f"{server.context.span_id:016x}" == SPAN
    assert f"{server.parent.span_id:016x}" == PARENT
    assert server.parent.is_remote
    assert f"{client.context.span_id:016x}" == upstream_span_id(SPAN)
    assert f"{client.parent.span_id:016x}" == SPAN
    assert (server.start_time, server.end_time) == (event.started_unix_ns, event.started_unix_ns + 90_000_000)
    assert (client.start_time, client.end_time) == (event.started_unix_ns + 200_000, event.started_unix_ns + 90_000_000)


def test_spans_follow_the_conventions(make_event):
    spans = spans_of(make_event(**TRACED, stream=True, why="only_one"))

    server, client = spans[SpanKind.SERVER], spans[SpanKind.CLIENT]
    assert server.name == "POST /v1/chat/completions"
    assert dict(server.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "podium.request_id": "req-1",
        "podium.tenant": "acme",
        "podium.key_id": "abcdefghijkm",
        "podium.model": "smollm2",
        "podium.version": "smollm2-q8",
        "podium.reason": "ok",
        "podium.attempts": 1,
        "podium.cost_nanousd": 1500,
    }
    assert client.name == "chat smollm2-135m"
    assert dict(client.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "smollm2-135m",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "smollm2-135m",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 21,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.response.time_to_first_chunk": 0.0398,
        "podium.model": "smollm2",
        "podium.backend": "local/smollm2-135m",
        "podium.call.kind": "first",
        "podium.call.why": "only_one",
        "podium.call.reason": "ok",
    }
    assert server.resource.attributes["service.name"] == "podium"
    assert server.resource.attributes["service.instance.id"] == "gateway-1"


def test_each_of_several_calls_has_a_span_with_what_it_was(make_event):
    calls = (
        make_call(model="m", provider="a", backend="a/x", reason="client_gone", started_ns=1_000_000, ended_ns=9_000_000),
        make_call(
            kind="hedge", model="m", provider="b", backend="b/y", why="fewest_in_flight", started_ns=5_000_000,
            ended_ns=20_000_000, input_tokens=10, output_tokens=21
        ),
        make_call(kind="retry", model="m", provider="a", backend="a/x", reason="upstream_error", upstream_status=503),
    )  # fmt: skip
    event = make_event(
        **TRACED, model="m", provider="b", backend="b/y", stream=True, attempts=3, hedges=1, trail=calls,
        first_byte_ns=8_000_000, ended_ns=20_000_000
    )  # fmt: skip

    *clients, server = all_spans_of(event)

    assert [span.kind for span in clients] == [SpanKind.CLIENT] * 3
    assert [f"{span.context.span_id:016x}" for span in clients] == [upstream_span_id(SPAN, n) for n in range(3)]
    assert {span.parent.span_id for span in clients} == {server.context.span_id}
    assert [span.name for span in clients] == ["chat x", "chat y", "chat x"]
    assert (clients[1].start_time - event.started_unix_ns, clients[1].end_time - clients[1].start_time) == (
        5_000_000,
        15_000_000,
    )
    told = [
        tuple(span.attributes[f"podium.{name}"] for name in ("backend", "call.kind", "call.why")) for span in clients
    ]
    assert told == [("a/x", "first", "turn"), ("b/y", "hedge", "fewest_in_flight"), ("a/x", "retry", "turn")]
    assert [span.status.status_code for span in clients] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    assert [span.attributes.get("error.type") for span in clients] == [None, None, "upstream_error"]
    assert clients[2].attributes["http.response.status_code"] == 503
    answers = [span.attributes.get("gen_ai.usage.output_tokens") for span in clients]
    assert answers == [None, 21, None]
    assert clients[1].attributes["gen_ai.response.time_to_first_chunk"] == 0.003
    assert server.attributes["podium.hedges"] == 1
    assert "podium.fallbacks" not in server.attributes


def test_a_stream_that_broke_is_told_of_the_call_that_it_came_from(make_event):
    calls = (
        make_call(provider="a", backend="a/x", reason="upstream_error"),
        make_call(kind="fallback", model="n", provider="b", backend="b/y", reason="upstream_broken", output_tokens=3),
    )
    event = make_event(
        **TRACED, provider="b", backend="b/y", stream=True, attempts=2, fallbacks=1, served_model="n", trail=calls,
        reason="upstream_broken", fault="upstream"
    )  # fmt: skip

    first, second, server = all_spans_of(event)

    assert "gen_ai.response.model" not in first.attributes
    assert second.attributes["gen_ai.usage.output_tokens"] == 3
    assert second.attributes["error.type"] == "upstream_broken"
    assert (server.attributes["podium.fallbacks"], server.attributes["podium.served_model"]) == (1, "n")


@pytest.mark.parametrize(
    ("endpoint", "name"), [("messages", "POST /v1/messages"), ("embeddings", "POST /v1/embeddings")]
)
def test_every_face_has_its_route(make_event, endpoint, name):
    client, server = all_spans_of(make_event(**TRACED, endpoint=endpoint))

    assert server.name == name
    assert client.attributes["gen_ai.operation.name"] in ("chat", "embeddings")


def test_the_upstream_call_of_an_answer_that_is_not_streamed_ends_when_it_was_read(make_event):
    event = make_event(**TRACED, first_byte_ns=40_000_000, ended_ns=40_100_000)

    assert spans_of(event)[SpanKind.CLIENT].end_time == event.started_unix_ns + 40_000_000


def test_a_root_span_has_no_parent(make_event):
    assert spans_of(make_event(**TRACED | {"parent_span_id": ""}))[SpanKind.SERVER].parent is None


def test_a_refusal_has_no_upstream_call_and_is_not_our_error(make_event):
    event = make_event(
        **TRACED, status=429, reason="requests_limited", fault="caller", attempts=0, upstream_ns=-1, first_byte_ns=-1
    )

    spans = spans_of(event)

    assert set(spans) == {SpanKind.SERVER}
    assert spans[SpanKind.SERVER].attributes["error.type"] == "requests_limited"
    assert spans[SpanKind.SERVER].status.status_code == StatusCode.UNSET


def test_a_failed_upstream_marks_both_spans(make_event):
    event = make_event(**TRACED, status=504, reason="upstream_timeout", fault="upstream", first_byte_ns=-1)

    spans = spans_of(event)

    for span in spans.values():
        assert span.attributes["error.type"] == "upstream_timeout"
        assert span.status.status_code == StatusCode.ERROR
    assert "gen_ai.usage.output_tokens" not in spans[SpanKind.CLIENT].attributes
    assert spans[SpanKind.CLIENT].end_time == event.started_unix_ns + event.ended_ns


def test_a_route_that_is_not_known_is_not_named(make_event):
    event = make_event(**TRACED, endpoint="other", status=404, reason="route_not_found", fault="caller", upstream_ns=-1)

    server = spans_of(event)[SpanKind.SERVER]

    assert server.name == "HTTP"
    assert "http.route" not in server.attributes


@pytest.fixture
def collector():
    """A collector on the loopback interface; its address and what it was sent."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append((self.path, dict(self.headers), ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("suffix", ["", "/", "/v1/traces"])
def test_a_collector_receives_the_spans_with_the_headers_of_the_file(collector, make_event, tmp_path, suffix):
    address, received = collector
    headers = tmp_path / "headers"
    headers.write_text("# for the collector\nauthorization: Bearer t0ken\n\nx-team: models\n")
    settings = TelemetrySettings(otlp_endpoint=address + suffix, otlp_headers_file=headers)
    tracer = ExchangeTracer(otlp_exporter(settings), service="podium", gateway="gateway-1")

    tracer.observe(make_event(**TRACED))
    tracer.close()

    ((path, sent_headers, request),) = received
    assert path == "/v1/traces"
    assert {name.lower(): value for name, value in sent_headers.items()}.items() >= {
        ("authorization", "Bearer t0ken"),
        ("x-team", "models"),
    }
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"POST /v1/chat/completions", "chat smollm2-135m"}
    assert all(span.trace_id.hex() == TRACE for span in spans)


def test_a_collector_that_is_away_costs_spans_and_nothing_else(make_event):
    settings = TelemetrySettings(otlp_endpoint="http://127.0.0.1:9", otlp_timeout_s=0.2)
    tracer = ExchangeTracer(otlp_exporter(settings), service="podium", gateway="gateway-1")

    tracer.observe(make_event(**TRACED))

    tracer.close()


def test_closing_does_not_wait_for_an_exporter_that_hangs(make_event):
    released = threading.Event()
    exporting = threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans):
            exporting.set()
            released.wait(30)
            return super().export(spans)

    tracer = ExchangeTracer(Hanging(), service="podium", gateway="gateway-1")
    tracer.observe(make_event(**TRACED))

    closing = threading.Thread(target=tracer.close, kwargs={"timeout_s": 0.05})
    closing.start()
    assert exporting.wait(10)
    closing.join(10)

    assert not closing.is_alive()
    released.set()


@pytest.mark.parametrize("text", ["no colon here", ": value"])
def test_a_headers_file_that_is_not_one_stops_the_start_without_showing_it(tmp_path, text):
    headers = tmp_path / "headers"
    headers.write_text(text)

    with pytest.raises(OperatorError, match="line 1") as caught:
        otlp_exporter(TelemetrySettings(otlp_endpoint="http://127.0.0.1:9", otlp_headers_file=headers))

    assert "value" not in caught.value.message.replace("`name: value`", "")


def test_a_headers_file_that_is_missing_stops_the_start(tmp_path):
    settings = TelemetrySettings(otlp_endpoint="http://127.0.0.1:9", otlp_headers_file=tmp_path / "none")

    with pytest.raises(OperatorError, match="cannot be read"):
        otlp_exporter(settings)
