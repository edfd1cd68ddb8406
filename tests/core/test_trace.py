import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podium.core.trace import (
    Sampler,
    TraceContext,
    new_span_id,
    new_trace_id,
    parse_trace_context,
    upstream_span_id,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
hex_digits = st.sampled_from("0123456789abcdef")


def hex_ids(length):
    return st.text(hex_digits, min_size=length, max_size=length).filter(lambda text: set(text) != {"0"})


def test_the_example_of_the_specification_is_read():
    assert parse_trace_context(f"00-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse_trace_context(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, sampled=False)


@given(trace_id=hex_ids(32), span_id=hex_ids(16), sampled=st.booleans())
def test_what_is_written_is_read_back(trace_id, span_id, sampled):
    context = TraceContext(trace_id, span_id, sampled)

    assert parse_trace_context(context.traceparent) == context


@given(flags=st.integers(0, 255))
def test_only_the_lowest_flag_says_sampled(flags):
    context = parse_trace_context(f"00-{TRACE}-{SPAN}-{flags:02x}")

    assert context is not None
    assert context.sampled == bool(flags & 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-further",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"01-{TRACE}-{SPAN}-01further",
        f"01-{TRACE}-{SPAN}-01-{'x' * 100}",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_what_is_not_valid_starts_a_new_trace(text):
    assert parse_trace_context(text) is None


def test_a_later_version_is_read_as_far_as_we_know_it():
    assert parse_trace_context(f"cc-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse_trace_context(f"cc-{TRACE}-{SPAN}-01-what-will-be") == TraceContext(TRACE, SPAN, sampled=True)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text):
    context = parse_trace_context(text, text)

    assert context is None or re.fullmatch(r"[0-9a-f]{32}", context.trace_id)


def state(text):
    context = parse_trace_context(f"00-{TRACE}-{SPAN}-01", text)
    assert context is not None
    return context.tracestate


@pytest.mark.parametrize(
    ("text", "passed_on"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("rojo=1 , \tcongo=2,,", "rojo=1,congo=2"),
        ("fw529a3039@dt=FfAB a", "fw529a3039@dt=FfAB a"),
        ("0tenant/x*y-z_=v", "0tenant/x*y-z_=v"),
        ("a=1,a=2", ""),
        ("Upper=1", ""),
        ("a=b=c", ""),
        ("a", ""),
        ("a=", ""),
        ("=1", ""),
        ("a=1\r\nx-evil: 1", ""),
        ("a=\x00", ""),
        ("a=ü", ""),
        (f"a={'x' * 256}", f"a={'x' * 256}"),
        (f"a={'x' * 257}", ""),
        (",".join(f"k{number}=v" for number in range(32)), ",".join(f"k{number}=v" for number in range(32))),
        (",".join(f"k{number}=v" for number in range(33)), ""),
    ],
)
def test_tracestate_is_passed_on_when_it_is_valid(text, passed_on):
    assert state(text) == passed_on


def test_a_tracestate_that_is_too_long_loses_long_members_then_the_oldest():
    long_member = f"long={'x' * 200}"
    short = [f"k{number}={'v' * 60}" for number in range(10)]

    assert state(",".join([long_member, *short])) == ",".join(short[:8])


@given(st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=600))
def test_nothing_that_could_end_a_header_is_passed_on(text):
    passed_on = state(text)

    assert len(passed_on) <= 512
    assert all(" " <= character <= "~" for character in passed_on)


@given(hex_ids(16))
def test_the_upstream_span_has_another_valid_id(span_id):
    upstream = upstream_span_id(span_id)

    assert upstream != span_id
    assert re.fullmatch(r"[0-9a-f]{16}", upstream)
    assert set(upstream) != {"0"}
    assert upstream == upstream_span_id(span_id)


@given(span_id=hex_ids(16), calls=st.integers(2, 200))
@example(span_id=f"{2:016x}", calls=3)
def test_each_of_several_calls_has_a_span_of_its_own(span_id, calls):
    spans = [upstream_span_id(span_id, call) for call in range(calls)]

    assert spans[0] == upstream_span_id(span_id)
    assert len({span_id, *spans}) == calls + 1
    assert all(re.fullmatch(r"[0-9a-f]{16}", span) and int(span, 16) for span in spans)


def test_new_ids_are_valid_and_differ():
    traces, spans = {new_trace_id() for _ in range(100)}, {new_span_id() for _ in range(100)}

    assert len(traces) == len(spans) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", trace) for trace in traces)
    assert all(re.fullmatch(r"[0-9a-f]{16}", span) for span in spans)


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_decision_of_the_caller_holds(sampled, ratio):
    parent = TraceContext(TRACE, SPAN, sampled, "rojo=1")

    context = Sampler(ratio).start(parent)

    assert context is not None
    assert (context.trace_id, context.sampled, context.tracestate) == (TRACE, sampled, "rojo=1")
    assert context.span_id != SPAN


def test_without_a_caller_s_trace_the_ratio_decides():
    assert all(Sampler(0.0).start(None) is None for _ in range(100))
    assert all(Sampler(1.0).start(None) is not None for _ in range(100))
    started = sum(Sampler(0.5).start(None) is not None for _ in range(2_000))
    assert 800 < started < 1_200
