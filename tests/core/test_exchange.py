from podium.core.errors import RateLimited, UpstreamTimeout
from podium.core.exchange import Exchange
from podium.core.trace import TraceContext
from podium.core.usage import Usage

STARTED_UNIX_NS = 1_700_000_000_000_000_000


def begun(**changes):
    exchange = Exchange("chat.completions", request_id="", started_unix_ns=STARTED_UNIX_NS, started_at_ns=1_000)
    for name, value in changes.items():
        setattr(exchange, name, value)
    return exchange


def ended(exchange):
    return exchange.to_event(gateway="gateway-1", bytes_out=10, ended_at_ns=9_000)


def test_the_caller_s_request_id_is_kept_and_else_one_is_made_of_the_event_s_id():
    named = Exchange("models", request_id="mine", started_unix_ns=STARTED_UNIX_NS, started_at_ns=0)

    assert named.request_id == "mine"
    assert begun().request_id.startswith("req_")
    exchange = begun()
    assert exchange.request_id == f"req_{exchange.id.hex()}"


def test_an_exchange_that_reached_nothing_has_no_marks():
    event = ended(begun())

    assert (event.admitted_ns, event.upstream_ns, event.first_byte_ns) == (-1, -1, -1)
    assert event.ended_ns == 8_000
    assert (event.reason, event.fault, event.trace_id, event.trace_sampled) == ("ok", "nobody", "", False)


def test_marks_become_nanoseconds_after_the_start():
    event = ended(begun(admitted_at_ns=2_000, upstream_at_ns=3_000, first_byte_at_ns=8_000))

    assert (event.admitted_ns, event.upstream_ns, event.first_byte_ns) == (1_000, 2_000, 7_000)


def test_usage_and_trace_are_taken_over():
    exchange = begun(
        usage=Usage(input_tokens=3, cached_input_tokens=2, output_tokens=5, reasoning_tokens=1, estimated=True),
        trace=TraceContext("a" * 32, "b" * 16, sampled=True),
        parent_span_id="c" * 16,
    )

    event = ended(exchange)

    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens, event.reasoning_tokens) == (3, 2, 5, 1)
    assert event.tokens_estimated
    assert (event.trace_id, event.span_id, event.parent_span_id) == ("a" * 32, "b" * 16, "c" * 16)
    assert event.trace_sampled


def test_the_first_error_counts():
    exchange = begun()

    exchange.fail(UpstreamTimeout("It took too long."))
    exchange.fail(RateLimited("Too many."))

    event = ended(exchange)
    assert (event.status, event.reason, event.fault) == (504, "upstream_timeout", "upstream")


def test_exchanges_do_not_share_what_they_set():
    begun().fail(RateLimited("Too many."))

    assert ended(begun()).status == 0
    assert begun().error is None


def test_all_tokens_are_input_and_output():
    assert Usage(input_tokens=3, cached_input_tokens=2, output_tokens=5, reasoning_tokens=1).total_tokens == 8
