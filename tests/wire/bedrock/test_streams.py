"""ConverseStream -> chunks: golden pairs, at every cut, with errors inside, and broken."""

import base64
import json

import pytest
from botocore.eventstream import EventStream
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.bedrock.streams import BedrockStream
from podium.wire.chat.writer import CompletionHead
from podium.wire.openai import DONE, read_stream_event
from podium.wire.sse import split_events

HEAD = CompletionHead("chatcmpl-x", "bedrock-model", 1_700_000_000)
START = {"messageStart": {"role": "assistant"}}
STOP = {"messageStop": {"stopReason": "end_turn"}}
METADATA = {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}}
# What Amazon sent to another project: https://github.com/vercel/ai, model-stream-error-exception.eventstream.
RECORDED = base64.b64decode(
    "AAAA3QAAAGfHkZB6DTptZXNzYWdlLXR5cGUHAAlleGNlcHRpb24POmV4Y2VwdGlvbi10eXBlBwAZbW9kZWxTdHJlYW1FcnJvckV4Y2VwdGlvbg06"
    "Y29udGVudC10eXBlBwAQYXBwbGljYXRpb24vanNvbnsibWVzc2FnZSI6Ik1vZGVsIFN0cmVhbSBFcnJvciIsIm9yaWdpbmFsU3RhdHVzQ29kZSI6"
    "NTAwLCJvcmlnaW5hbE1lc3NhZ2UiOiJUaGUgbW9kZWwgc3RyZWFtIGZhaWxlZC4ifVczQxM="
)


def _text(text):
    return {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}}


def _translate(*pieces):
    stream = BedrockStream(HEAD)
    return b"".join(stream.feed(piece) for piece in pieces)


def test_a_stream_is_translated_as_written_down(stream_pair, stream_bytes):
    out = _translate(stream_bytes(stream_pair["events"]))
    *events, last = split_events(out)
    assert last == DONE
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert chunks == stream_pair["chunks"]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    understood = [read_stream_event(event) for event in split_events(out)]
    assert understood[-1].done and understood[-2].usage_only and understood[-3].finished


def test_the_written_down_events_are_what_amazons_client_reads(stream_pair, stream_bytes, bedrock, check_shape):
    shape = bedrock.operation_model("ConverseStream").output_shape.members["stream"]
    parser = create_parser("rest-json")._event_stream_parser

    class Body:
        def stream(self):
            return iter([stream_bytes(stream_pair["events"])])

    for written, read in zip(stream_pair["events"], EventStream(Body(), shape, parser, "x"), strict=True):
        [(name, value)] = read.items()
        assert [name] == list(written)
        check_shape(value, shape.members[name].name)


@given(data=st.data())
def test_the_bytes_are_the_same_whatever_the_cuts(data, stream_bytes):
    events = [START, _text("Hé"), _text('"\n'), STOP, METADATA]
    whole = stream_bytes(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert _translate(*pieces) == _translate(whole)


def test_the_bytes_are_the_same_at_every_single_cut_and_byte_by_byte(stream_bytes, stream_pair):
    whole = stream_bytes(stream_pair["events"])
    expected = _translate(whole)
    assert all(_translate(whole[:cut], whole[cut:]) == expected for cut in range(len(whole)))
    assert _translate(*(whole[i : i + 1] for i in range(len(whole)))) == expected


def test_a_stream_that_breaks_off_is_never_done(stream_bytes):
    whole = stream_bytes([START, _text("a"), STOP, METADATA])
    for end in range(len(whole)):
        assert DONE not in _translate(whole[:end])
    assert _translate(whole).endswith(DONE)


def test_a_broken_stream_is_never_done_and_nothing_comes_after_it(stream_bytes):
    whole = bytearray(stream_bytes([START, _text("a"), STOP]))
    whole[20] ^= 1
    stream = BedrockStream(HEAD)
    with pytest.raises(UpstreamFailed):
        stream.feed(bytes(whole))
    assert stream.feed(stream_bytes([START, _text("a"), STOP, METADATA])) == b""


def test_nothing_comes_after_done(stream_bytes):
    stream = BedrockStream(HEAD)
    assert stream.feed(stream_bytes([START, STOP, METADATA, _text("late"), METADATA])).endswith(DONE)
    assert stream.feed(b"rubbish") == b""


def test_a_first_piece_without_a_start_gets_its_role(stream_bytes):
    [first, *_] = split_events(_translate(stream_bytes([_text("a")])))
    assert json.loads(first[6:])["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_metadata_without_usage_ends_the_stream_without_a_count(stream_bytes):
    out = _translate(stream_bytes([START, STOP, {"metadata": {"metrics": {"latencyMs": 1}}}]))
    assert out.endswith(DONE)
    assert b'"usage"' not in out


def test_events_that_are_newer_than_we_are_are_passed_over(stream_bytes):
    out = _translate(stream_bytes([START, {"heartbeat": {"n": [1]}}, STOP, METADATA]))
    assert out == _translate(stream_bytes([START, STOP, METADATA]))


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("throttlingException", 429, Reason.UPSTREAM_RATE_LIMITED),
        ("modelStreamErrorException", 502, Reason.UPSTREAM_ERROR),
        ("internalServerException", 500, Reason.UPSTREAM_ERROR),
        ("serviceUnavailableException", 503, Reason.UPSTREAM_ERROR),
        ("validationException", 400, Reason.UPSTREAM_REJECTED),
        ("brandNewException", 500, Reason.UPSTREAM_ERROR),
    ],
)
def test_an_exception_inside_the_stream_is_an_error_with_its_status(name, status, reason, stream_bytes):
    with pytest.raises(UpstreamError) as caught:
        _translate(stream_bytes([START, _text("a"), {name: {"message": "Too bad."}}]))
    assert caught.value.upstream_status == status
    assert caught.value.reason is reason
    assert caught.value.hint == f"{name}: Too bad."


def test_the_service_has_no_other_exceptions(bedrock):
    members = bedrock.operation_model("ConverseStream").output_shape.members["stream"].members
    assert {name for name in members if name.endswith("Exception")} == {
        "throttlingException",
        "modelStreamErrorException",
        "internalServerException",
        "serviceUnavailableException",
        "validationException",
    }


def test_a_recorded_exception_has_the_status_of_the_model():
    with pytest.raises(UpstreamError) as caught:
        _translate(RECORDED)
    assert caught.value.upstream_status == 500
    assert caught.value.hint == "modelStreamErrorException: The model stream failed."


def test_an_error_message_is_an_error(raw_frame):
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "Oh."}
    encoded = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07\x00" + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    with pytest.raises(UpstreamError) as caught:
        _translate(raw_frame(encoded, b""))
    assert caught.value.upstream_status == 500
    assert caught.value.hint == "InternalFailure: Oh."


@pytest.mark.parametrize(
    "event",
    [
        {"contentBlockDelta": {"delta": {"text": 7}}},
        {"contentBlockDelta": []},
        {"contentBlockStart": {"start": {"toolUse": {"name": "f"}}}},
        {"messageStop": {"stopReason": None}},
        {"messageStop": {"stopReason": "malformed_tool_use"}},
        {"metadata": {"usage": {"inputTokens": "many"}}},
    ],
)
def test_an_event_that_cannot_be_read_is_an_invalid_answer(event, stream_bytes):
    with pytest.raises(UpstreamFailed) as caught:
        _translate(stream_bytes([START, event]))
    assert caught.value.reason is Reason.UPSTREAM_INVALID


def test_a_flood_of_calls_is_no_answer(stream_bytes):
    starts = [
        {"contentBlockStart": {"contentBlockIndex": i, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}}
        for i in range(1025)
    ]
    with pytest.raises(UpstreamFailed):
        _translate(stream_bytes(starts))


@pytest.mark.parametrize("broken", [{"contentBlockDelta": 1}, {"messageStart": []}, "crc"])
def test_what_is_good_before_a_failure_in_the_same_piece_comes_with_it(broken, stream_bytes):
    good = stream_bytes([START, _text("a"), _text("b")])
    bad = stream_bytes([_text("c")])[:-1] + b"\0" if broken == "crc" else stream_bytes([broken])
    stream = BedrockStream(HEAD)
    with pytest.raises(UpstreamFailed) as caught:
        stream.feed(good + bad)
    assert caught.value.partial == _translate(good)
    assert stream.feed(good) == b""
