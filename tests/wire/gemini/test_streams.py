"""Streams: the same bytes whatever the cuts, an end only where one is, and errors as errors."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.gemini.answers import Answering
from podium.wire.gemini.streams import GeminiStream
from podium.wire.openai import DONE, read_stream_event
from podium.wire.sse import split_events

COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 2}
PARTS = st.one_of(
    st.builds(lambda text, thought: {"text": text, "thought": thought}, st.text(max_size=5), st.booleans()),
    st.builds(
        lambda name, args: {"functionCall": {"name": name, "args": args}},
        st.sampled_from(["f", "g"]),
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.none(), max_size=2),
    ),
    st.just({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
)
CANDIDATES = st.builds(
    lambda index, parts: {"index": index, "content": {"role": "model", "parts": parts}},
    st.integers(0, 1),
    st.lists(PARTS, max_size=3),
)


def stream(candidates=1):
    return GeminiStream(Answering("m", 1_700_000_000, "chatcmpl-x", candidates))


def sse(*events, end=b"\r\n\r\n"):
    return b"".join(b"data: " + json.dumps(event).encode() + end for event in events)


def said(text, finish=None, index=0, **fields):
    candidate = {"content": {"parts": [{"text": text}]}, "index": index}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})]} | fields


def texts(output):
    return "".join(read_stream_event(event).text for event in split_events(output))


@given(
    events=st.lists(st.lists(CANDIDATES, max_size=2), max_size=4),
    end=st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]),
    data=st.data(),
)
def test_any_stream_cut_anywhere_gives_the_same_bytes(events, end, data):
    last = {
        "candidates": [{"index": index, "finishReason": "STOP"} for index in (0, 1)],
        "usageMetadata": COUNTS,
    }
    body = sse(*({"candidates": candidates} for candidates in events), last, end=end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    translation = stream(2)
    pieces = [translation.feed(body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    whole = stream(2).feed(body)
    assert b"".join(pieces) == whole
    assert whole.endswith(DONE)
    assert whole.count(DONE) == 1
    spoken = [p["text"] for e in events for c in e for p in c["content"]["parts"] if p.get("text")]
    assert all(text in texts(whole) for text in spoken)


@given(st.binary(max_size=80) | st.sampled_from([b'data: {"candidates":[', b"data: []\n\n", b"data: 7\r\n\r\n"]))
def test_bytes_that_are_no_stream_never_end_one(body):
    with suppress(UpstreamError):
        assert DONE not in stream().feed(body)


def test_the_end_waits_for_the_counts():
    translation = stream()
    finished = translation.feed(sse(said("hi", "STOP")))
    assert any(read_stream_event(event).finished for event in split_events(finished))
    assert DONE not in finished
    assert translation.feed(sse({"usageMetadata": COUNTS})).endswith(DONE)


def test_the_end_waits_for_all_candidates():
    translation = stream(2)
    assert DONE not in translation.feed(sse(said("a", "STOP", usageMetadata=COUNTS)))
    assert DONE not in translation.feed(sse(said("b", index=1, usageMetadata=COUNTS)))
    assert translation.feed(sse(said("c", "MAX_TOKENS", index=1))).endswith(DONE)


def test_what_follows_the_end_says_nothing():
    translation = stream()
    assert translation.feed(sse(said("a", "STOP", usageMetadata=COUNTS), {"usageMetadata": COUNTS})).endswith(DONE)
    assert translation.feed(sse(said("b", "STOP", usageMetadata=COUNTS))) == b""


def test_the_last_counts_are_the_ones_that_are_told():
    output = stream().feed(
        sse(said("a", usageMetadata={"promptTokenCount": 1}), said("b", "STOP", usageMetadata=COUNTS))
    )
    usages = [usage for event in split_events(output) if (usage := read_stream_event(event).usage)]
    assert [(usage.input_tokens, usage.output_tokens) for usage in usages] == [(3, 2)]


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "body",
    [
        sse(ERROR),
        sse([ERROR]),
        json.dumps(ERROR, indent=2).encode() + b"\n",
        json.dumps([ERROR], indent=2).encode(),
        json.dumps(ERROR).encode() + b"\n\n",
    ],
)
def test_an_error_in_the_stream_is_raised_with_its_status(body):
    translation = stream()
    translation.feed(sse(said("a")))
    with pytest.raises(UpstreamError) as caught:
        b"".join(translation.feed(body[place : place + 1]) for place in range(len(body)))
    assert caught.value.upstream_status == 503
    assert caught.value.status == 503
    assert "overloaded" not in caught.value.message


@pytest.mark.parametrize(
    ("code", "details", "reason", "status"),
    [
        (
            429,
            [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}],
            "upstream_rate_limited",
            429,
        ),
        (403, [], "upstream_error", 403),
        (400, [{"reason": "API_KEY_INVALID"}], "upstream_error", 401),
        (500, [], "upstream_error", 500),
    ],
)
def test_an_error_keeps_what_decides_about_the_next_try(code, details, reason, status):
    with pytest.raises(UpstreamError) as caught:
        stream().feed(sse({"error": {"code": code, "details": details}}))
    assert caught.value.reason == reason
    assert caught.value.upstream_status == status
    assert caught.value.retry_after_s == (17.5 if code == 429 else None)


def test_an_error_of_an_unknown_form_is_an_error():
    with pytest.raises(UpstreamError):
        stream().feed(sse({"error": "out of order"}))


@pytest.mark.parametrize("reason", ["OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "A_NEW_ONE"])
def test_a_model_that_breaks_off_has_not_stopped(reason):
    with pytest.raises(UpstreamError) as caught:
        stream().feed(sse(said("half", reason, usageMetadata=COUNTS)))
    assert caught.value.reason is Reason.UPSTREAM_ERROR
    assert "A_NEW_ONE" not in caught.value.message


def test_a_missing_signature_is_the_callers_to_send():
    with pytest.raises(UpstreamError) as caught:
        stream().feed(sse(said("", "MISSING_THOUGHT_SIGNATURE")))
    assert caught.value.upstream_status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"[1]",
        b"{",
        b'"x"',
        b'{"candidates":7}',
        b'{"candidates":[{"index":1}]}',
        b'{"candidates":[{"index":-1}]}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}',
        b"[" * 5000,
    ],
)
def test_an_event_that_cannot_be_read_is_said_to_be_invalid(data):
    with pytest.raises(UpstreamFailed) as caught:
        stream().feed(b"data: " + data + b"\n\n")
    assert caught.value.reason is Reason.UPSTREAM_INVALID


@pytest.mark.parametrize("event", [{}, {"candidates": None}, {"error": None}, {"candidates": [{"content": {}}]}])
def test_an_event_that_says_nothing_is_no_error(event):
    output = stream().feed(sse(event) + b": a comment\n\n")
    assert not texts(output)
    assert DONE not in output


@pytest.mark.parametrize("bad", [sse(ERROR), b"data: {\n\n"])
def test_what_is_good_before_a_failure_in_the_same_piece_comes_with_it(bad):
    good = sse(said("a")) + sse(said("b"))
    with pytest.raises(UpstreamError) as caught:
        stream().feed(good + bad)
    assert caught.value.partial == stream().feed(good) != b""
