"""Anthropic's answers, whole and streamed, in OpenAI's form."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.wire.anthropic.from_messages import MessagesStream, translate_answer, translate_error
from podium.wire.chat.writer import CompletionHead
from podium.wire.openai import read_answer_usage, read_stream_event
from podium.wire.sse import event_data, split_events

GOLDEN = Path(__file__).parent / "golden_upstream"
ANSWERS = sorted((GOLDEN / "answers").glob("*.json"))
STREAMS = sorted((GOLDEN / "streams").glob("*.messages.sse"))
STREAM_BYTES = {path.name.removesuffix(".messages.sse"): path.read_bytes() for path in STREAMS}
OFFICIAL_EVENT = TypeAdapter(RawMessageStreamEvent)
HEAD = CompletionHead(id="chatcmpl-1", model="asked", created_unix_s=1_700_000_000)
START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"m"}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
ENDED = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"%b"},"usage":{"output_tokens":1}}\n\n'
)


def _fed(data: bytes, cuts: list[int] | None = None) -> bytes:
    stream = MessagesStream(HEAD)
    edges = [0, *sorted(cuts or ()), len(data)]
    return b"".join(stream.feed(data[start:end]) for start, end in itertools.pairwise(edges))


def _event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


def _text(text: str) -> bytes:
    return _event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _chunks(data: bytes) -> list[dict[str, Any]]:
    found = [event_data(event) for event in split_events(data)]
    return [json.loads(chunk) for chunk in found if chunk is not None and chunk != b"[DONE]"]


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_a_whole_answer_is_translated_as_recorded(path: Path) -> None:
    pair = json.loads(path.read_text("utf-8"))
    Message.model_validate(pair["messages"])
    body = translate_answer(json.dumps(pair["messages"], separators=(",", ":")).encode(), head=HEAD)
    assert json.loads(body) == pair["chat"]
    ChatCompletion.model_validate(json.loads(body))
    usage = read_answer_usage(body)
    assert usage is not None
    assert usage.input_tokens == pair["chat"]["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),  # no call was made
        ("something_new", "stop"),
    ],
)
def test_why_an_answer_ended_is_said_in_openais_words(stop_reason: str, finish: str) -> None:
    whole = {"content": [{"type": "text", "text": "a"}, {"type": "hologram", "text": "b"}], "stop_reason": stop_reason}
    answer = json.loads(translate_answer(json.dumps(whole).encode(), head=HEAD))
    assert answer["choices"][0]["finish_reason"] == finish
    assert answer["choices"][0]["message"]["content"] == "a"
    assert (answer["id"], answer["model"]) == ("chatcmpl-1", "asked")
    assert "usage" not in answer  # nothing is made up
    streamed = _chunks(_fed(START + ENDED % stop_reason.encode() + STOP))
    assert streamed[1]["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b'{"content":[],"stop_reason":null}',
        b'{"content":"text","stop_reason":"end_turn"}',
        b'{"type":"error","error":{"type":"api_error","message":"m"}}',
        b'{"content":[{"type":"text","text":"\xff"}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"tool_use","input":{"a":"\xff"}}],"stop_reason":"end_turn"}',
        b'{"content":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        translate_answer(body, head=HEAD)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_stream_is_translated_as_recorded(path: Path) -> None:
    data = path.read_bytes()
    for event in split_events(data):
        found = event_data(event)
        assert found is not None
        if found != b'{"type": "ping"}':
            OFFICIAL_EVENT.validate_json(found)
    told = _fed(data)
    assert told == path.with_name(path.name.replace(".messages.", ".chat.")).read_bytes()
    for chunk in _chunks(told):
        ChatCompletionChunk.model_validate(chunk)
    events = [read_stream_event(event) for event in split_events(told)]
    assert [event.finished for event in events].count(True) == 1
    assert events[-2].usage is not None and events[-2].usage_only
    assert events[-1].done


@given(st.data())
def test_a_stream_is_the_same_however_it_is_cut(data: st.DataObject) -> None:
    stream = data.draw(st.sampled_from(sorted(STREAM_BYTES)))
    whole = STREAM_BYTES[stream]
    whole = whole.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    assert _fed(whole, cuts) == (GOLDEN / "streams" / f"{stream}.chat.sse").read_bytes()


@pytest.mark.parametrize("whole", STREAM_BYTES.values(), ids=STREAM_BYTES)
def test_a_stream_is_the_same_byte_by_byte_and_never_ends_early(whole: bytes) -> None:
    stream, told = MessagesStream(HEAD), b""
    for index in range(len(whole)):
        before = told
        told += stream.feed(whole[index : index + 1])
        if index < len(whole) - 1:
            assert b"[DONE]" not in told
            assert all(choice["finish_reason"] is None for chunk in _chunks(told) for choice in chunk["choices"])
        else:
            assert told.endswith(b"data: [DONE]\n\n") and told != before
    assert told == _fed(whole)


def test_usage_counts_are_totals_so_far_wherever_they_stand() -> None:
    late = _event(
        type="message_delta",
        delta={"stop_reason": "end_turn"},
        usage={"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 8},
    )
    first = START.replace(b'"model":"m"', b'"model":"m","usage":{"input_tokens":0,"output_tokens":2}')
    final = next(event for event in split_events(_fed(first + late + STOP)) if read_stream_event(event).usage)
    assert read_stream_event(final).usage == Usage(input_tokens=12, cached_input_tokens=3, output_tokens=8)


def test_calls_that_overlap_are_told_apart_and_input_given_at_once_is_kept() -> None:
    def start(index: int, call_id: str, given: object) -> bytes:
        block = {"type": "tool_use", "id": call_id, "name": "f", "input": given}
        return _event(type="content_block_start", index=index, content_block=block)

    def piece(index: int, text: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": text}
        return _event(type="content_block_delta", index=index, delta=delta)

    server = _event(
        type="content_block_start", index=7, content_block={"type": "server_tool_use", "id": "s", "name": "w"}
    )
    pieces = [
        start(1, "a", {}),
        start(4, "b", {}),
        server,
        piece(4, '{"x":'),
        piece(7, "{}"),
        piece(1, "{}"),
        piece(4, "1}"),
    ]
    told = _chunks(_fed(b"".join([START, *pieces, start(9, "c", {"y": 2}), ENDED % b"tool_use", STOP])))
    arguments = ["", "", ""]
    for chunk in told:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                arguments[call["index"]] += call["function"]["arguments"]
    assert arguments == ["{}", '{"x":1}', '{"y": 2}']


def test_events_without_names_or_of_new_kinds_do_no_harm() -> None:
    bare = b"".join(b"data: " + (event_data(event) or b"") + b"\n\n" for event in split_events(STREAM_BYTES["text"]))
    new = b": hello\n\n" + _event(type="brand_new", index="x") + b"event: ping\n\n"
    with pytest.raises(UpstreamFailed):  # an index that is no number
        _fed(new)
    new = b": hello\n\n" + _event(type="brand_new", index=1) + b"event: ping\n\n"
    assert _fed(new + bare + b"data: [DONE]\n\n" + _text("late")) == (GOLDEN / "streams" / "text.chat.sse").read_bytes()


def test_a_stream_without_a_start_gets_the_head_that_is_known() -> None:
    told = _chunks(_fed(_text("a") + ENDED % b"end_turn" + STOP))
    assert [chunk["id"] for chunk in told] == ["chatcmpl-1"] * 4
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize(
    ("kind", "upstream_status", "status", "reason"),
    [
        ("overloaded_error", 529, 503, Reason.UPSTREAM_ERROR),
        ("rate_limit_error", 429, 429, Reason.UPSTREAM_RATE_LIMITED),
        ("api_error", 500, 502, Reason.UPSTREAM_ERROR),
        ("timeout_error", 504, 502, Reason.UPSTREAM_ERROR),
        ("invalid_request_error", 400, 502, Reason.UPSTREAM_ERROR),
        ("something_new", None, 502, Reason.UPSTREAM_ERROR),
    ],
)
def test_an_error_event_is_raised_with_its_status(
    kind: str, upstream_status: int | None, status: int, reason: Reason
) -> None:
    stream = MessagesStream(HEAD)
    assert stream.feed(START + _text("a"))
    with pytest.raises(UpstreamError) as caught:
        stream.feed(_event(type="error", error={"type": kind, "message": "Overloaded"}))
    error = caught.value
    assert (error.upstream_status, error.status, error.reason) == (upstream_status, status, reason)
    assert "Overloaded" in error.hint


@pytest.mark.parametrize(
    "event",
    [
        b"event: content_block_delta\ndata: {\n\n",
        b"data: hello\n\n",
        b"data: [1]\n\n",
        b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":1}}\n\n',
        b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"\xff"}}\n\n',
        b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"\\ud800"}}\n\n',
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":"x"}}}\n\n',
        STOP,
    ],
)
def test_an_event_that_cannot_be_read_is_the_upstreams_fault(event: bytes) -> None:
    stream = MessagesStream(HEAD)
    stream.feed(START)
    with pytest.raises(UpstreamFailed) as caught:
        stream.feed(event)
    assert caught.value.reason is Reason.UPSTREAM_INVALID


def test_tool_calls_that_never_close_are_bounded() -> None:
    block = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    starts = [_event(type="content_block_start", index=index, content_block=block) for index in range(1025)]
    stream = MessagesStream(HEAD)
    stream.feed(START + b"".join(starts[:1024]))
    with pytest.raises(UpstreamFailed):
        stream.feed(starts[1024])


@given(st.binary(max_size=200))
def test_no_bytes_break_a_stream_in_another_way(garbage: bytes) -> None:
    stream = MessagesStream(HEAD)
    stream.feed(START)
    try:
        told = stream.feed(b"data: " + garbage + b"\n\n")
    except UpstreamError:
        return
    assert b"[DONE]" not in told


@pytest.mark.parametrize(
    ("status", "kind", "message", "openai_type", "code"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", "invalid_request_error", None),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            "invalid_request_error",
            "content_policy_violation",
        ),
        (401, "authentication_error", "invalid x-api-key", "authentication_error", "invalid_api_key"),
        (402, "billing_error", "Your credit is used up.", "invalid_request_error", "insufficient_quota"),
        (403, "permission_error", "No.", "permission_error", "permission_denied"),
        (404, "not_found_error", "model: claude-9", "not_found_error", "model_not_found"),
        (413, "request_too_large", "Request exceeds the maximum size", "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "Slow down.", "rate_limit_error", "rate_limit_exceeded"),
        (500, "api_error", "Internal server error", "server_error", "server_error"),
        (529, "overloaded_error", "Overloaded", "server_error", "overloaded"),
    ],
)
def test_an_error_is_said_in_openais_words(
    status: int, kind: str, message: str, openai_type: str, code: str | None
) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()
    error = json.loads(translate_error(status, body))["error"]
    assert error == {"message": message, "type": openai_type, "param": None, "code": code}


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"{}", b'{"error":"no"}', b"\xff"])
def test_an_error_that_is_not_anthropics_still_says_its_status(body: bytes) -> None:
    error = json.loads(translate_error(502, body))["error"]
    assert error["type"] == "server_error"
    assert "502" in error["message"] and "html" not in error["message"]


@pytest.mark.parametrize("bad", [_event(type="error", error={"type": "api_error", "message": "x"}), b"data: {\n\n"])
def test_what_is_good_before_a_failure_in_the_same_piece_comes_with_it(bad: bytes) -> None:
    good = START + _text("a") + _text("b")
    with pytest.raises(UpstreamError) as caught:
        MessagesStream(HEAD).feed(good + bad)
    assert caught.value.partial == MessagesStream(HEAD).feed(good) != b""
