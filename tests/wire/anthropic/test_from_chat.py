"""Chat answers as answers of the Messages API, whole and streamed."""

import json
from pathlib import Path

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.usage import Usage
from podium.wire.anthropic.from_chat import Expected, MessageStream, translate_answer, translate_error
from podium.wire.anthropic.from_messages import translate_answer as answer_to_chat
from podium.wire.anthropic.messages import DONE, EventReader, answer_text, read_answer_usage
from podium.wire.anthropic.to_chat import translate_request as request_to_chat
from podium.wire.anthropic.to_messages import translate_request as chat_to_request
from podium.wire.chat.writer import CompletionHead
from podium.wire.sse import split_events

GOLDEN = Path(__file__).parent / "golden_face"
ANSWERS = {path.stem: json.loads(path.read_text()) for path in sorted((GOLDEN / "answers").glob("*.json"))}
STREAMS = {path.stem: json.loads(path.read_text()) for path in sorted((GOLDEN / "streams").glob("*.json"))}
EXPECTED = Expected(model="asked-for", fallback_id="msg_fallback", shows_thinking=True)
SILENT = Expected(model="asked-for", fallback_id="msg_fallback", shows_thinking=False)
RAW_EVENT = TypeAdapter(RawMessageStreamEvent)


def sse(*chunks, done=True):
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return body + b"data: [DONE]\n\n" if done else body


def delta(finish_reason=None, **said):
    return {"id": "c", "model": "x", "choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


def call(index, call_id=None, name=None, arguments=None):
    function = {"name": name, "arguments": arguments}
    piece = {
        "index": index,
        "id": call_id,
        "function": {key: item for key, item in function.items() if item is not None},
    }
    return delta(tool_calls=[piece])


def run(body, cuts=(), expected=EXPECTED):
    """What a stream becomes when its body comes in pieces, and the error that ended it."""
    stream = MessageStream(expected)
    said = b""
    try:
        for start, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
            said += stream.feed(body[start:end])
        said += stream.end()
    except UpstreamError as error:
        return said + error.partial, error
    return said, None


def events_of(said):
    """The events' data, each checked against the official types."""
    events = []
    for raw in split_events(said):
        name, data = raw.removesuffix(b"\n\n").split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        RAW_EVENT.validate_python(event)
        events.append(event)
    return events


def translated(*chunks, done=True, expected=EXPECTED):
    said, error = run(sse(*chunks, done=done), expected=expected)
    assert error is None
    return events_of(said)


def accumulated(said):
    """What the official client makes of a stream."""

    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=said)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="none", base_url="http://127.0.0.1", http_client=http) as client,
        client.messages.stream(model="m", max_tokens=7, messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        return stream.get_final_message()


@pytest.mark.parametrize("name", ANSWERS)
def test_golden_answers(name):
    pair = ANSWERS[name]
    answer = translate_answer(json.dumps(pair["chat"]).encode(), expected=EXPECTED)
    assert json.loads(answer) == pair["message"]
    TypeAdapter(Message).validate_json(answer)


@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams(name):
    pair = STREAMS[name]
    for chunk in pair["chunks"]:
        if chunk["choices"]:
            ChatCompletionChunk.model_validate(chunk)
    assert translated(*pair["chunks"]) == pair["events"]


@pytest.mark.parametrize("name", STREAMS)
def test_the_official_client_reads_a_stream_as_its_blocks(name):
    pair = STREAMS[name]
    said, _ = run(sse(*pair["chunks"]))
    message = accumulated(said)
    blocks = {
        "text": [("thinking", "Hm"), ("text", 'Four "4"\n')],
        "parallel_calls": [("text", "Both."), ("look", {"q": 1}), ("shoot", {})],
        "interleaved_calls": [("look", {"q": 1}), ("shoot", {"n": 2}), ("text", "Done.")],
    }[name]
    found = [
        (block.name, block.input) if block.type == "tool_use" else (block.type, getattr(block, block.type))
        for block in message.content
    ]
    assert found == blocks
    assert message.stop_reason == pair["events"][-2]["delta"]["stop_reason"]
    assert message.usage.input_tokens == pair["events"][-2]["usage"]["input_tokens"]


PIECES = st.one_of(
    st.builds(lambda text: delta(content=text), st.text(max_size=5)),
    st.builds(lambda text: delta(reasoning_content=text), st.text(max_size=5)),
    st.builds(lambda text: delta(refusal=text), st.text(max_size=5)),
    st.builds(
        call,
        st.integers(0, 2),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, "f", "g"]),
        st.sampled_from([None, "", "{}", '{"a":', "1}", " "]),
    ),
    st.sampled_from(
        [
            delta("stop"),
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
            {"error": {"message": "boom", "code": 503}},
            {"choices": "?"},
        ]
    ),
)


@given(st.lists(PIECES, max_size=8), st.booleans(), st.data())
def test_a_stream_is_the_same_however_it_is_cut(chunks, done, data):
    body = sse(*chunks, done=done)
    whole, error = run(body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    said, cut_error = run(body, cuts)
    assert said == whole
    assert str(cut_error) == str(error)


@given(st.lists(PIECES, max_size=12), st.booleans())
def test_whatever_is_said_the_blocks_are_well_formed(chunks, done):
    said, error = run(sse(*chunks, done=done))
    opened: list[int] = []
    state = "before"
    for event in events_of(said):
        match event["type"]:
            case "message_start":
                assert state == "before"
                state = "between"
            case "content_block_start":
                assert (state, event["index"]) == ("between", len(opened))
                opened.append(event["index"])
                state = event["content_block"]["type"]
            case "content_block_delta":
                kinds = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
                assert (event["index"], event["delta"]["type"]) == (opened[-1], kinds[state])
            case "content_block_stop":
                assert (state in {"text", "thinking", "tool_use"}, event["index"]) == (True, opened[-1])
                state = "between"
            case "message_delta":
                assert state == "between"
                state = "ended"
            case "message_stop":
                assert state == "ended"
                state = "after"
    if done and error is None:
        assert state == "after"


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning_content"]), st.text(max_size=9)), max_size=9))
def test_no_text_is_lost_or_changed(pieces):
    said, error = run(sse(*(delta(**{kind: text}) for kind, text in pieces), delta("stop")))
    assert error is None
    reader = EventReader()
    assert "".join(reader.read(raw).text for raw in split_events(said)) == "".join(text for _, text in pieces)


def test_thinking_is_hidden_from_who_did_not_ask_for_it():
    events = translated(delta(reasoning_content="Hm"), delta(content="Hi"), delta("stop"), expected=SILENT)
    assert [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"] == ["text"]
    body = json.dumps({"choices": [{"message": {"reasoning_content": "Hm", "content": "Hi"}}]}).encode()
    assert answer_text(translate_answer(body, expected=SILENT)) == "Hi"


def test_message_delta_waits_for_the_usage():
    stream = MessageStream(EXPECTED)
    assert b"message_delta" not in stream.feed(sse(delta(content="Hi"), delta("stop"), done=False))
    said = stream.feed(sse({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, done=False))
    assert EventReader().read(said).usage == Usage(input_tokens=3, output_tokens=2)
    assert stream.feed(b"data: [DONE]\n\n") == DONE
    assert stream.feed(b"data: [DONE]\n\n") == stream.end() == b""


def usages(*chunks):
    said, _ = run(sse(*chunks))
    return [event.usage for event in map(EventReader().read, split_events(said)) if event.usage]


def test_usage_that_came_early_does_not_end_the_answer():
    early = delta(content="Hi") | {"usage": {"prompt_tokens": 3, "completion_tokens": 0}}
    late = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    assert usages(early, delta("stop"), late) == [Usage(input_tokens=3, output_tokens=2)]
    assert usages(early, {"choices": [], "usage": {}}, delta("stop")) == [Usage(input_tokens=3)]


def test_a_server_that_never_says_done_is_ended_by_end():
    stream = MessageStream(EXPECTED)
    stream.feed(sse(delta(content="Hi"), delta("length"), done=False))
    events = events_of(stream.end())
    assert [event["type"] for event in events] == ["message_delta", "message_stop"]
    assert events[0]["delta"]["stop_reason"] == "max_tokens"
    assert stream.end() == b""


def test_a_stream_that_broke_off_gets_no_made_up_end():
    said, error = run(sse(delta(content="Hi"), done=False))
    assert error is None
    assert [event["type"] for event in events_of(said)][-1] == "content_block_delta"


def test_done_without_anything_is_an_empty_message():
    assert [event["type"] for event in translated()] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("finish", "said", "reason"),
    [
        ("stop", {"content": "x"}, "end_turn"),
        ("length", {"content": "x"}, "max_tokens"),
        ("content_filter", {"content": "x"}, "refusal"),
        ("stop", {"refusal": "no"}, "refusal"),
        ("tool_calls", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "tool_use"),
        ("stop", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "tool_use"),
        ("length", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}, "max_tokens"),
        ("eos", {"content": "x"}, "end_turn"),
        (None, {"content": "x"}, "end_turn"),
    ],
)
def test_why_an_answer_ended(finish, said, reason):
    body = json.dumps({"choices": [{"message": said, "finish_reason": finish}]}).encode()
    assert json.loads(translate_answer(body, expected=EXPECTED))["stop_reason"] == reason
    assert translated(delta(**said), delta(finish))[-2]["delta"]["stop_reason"] == reason


def test_text_in_the_middle_of_a_call_waits_for_its_end():
    said, error = run(
        sse(
            call(0, "a", "f", '{"n":'),
            delta(content="Wa"),
            delta(content="it"),
            call(0, None, None, "1}"),
            delta("stop"),
        )
    )
    assert error is None
    found = accumulated(said).content
    assert [block.type for block in found] == ["tool_use", "text"]
    assert (found[0].input, found[1].text) == ({"n": 1}, "Wait")


def test_only_the_first_choice_is_told():
    other = {"id": "c", "model": "x", "choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "length"}]}
    events = translated(delta(content="A"), other, delta("stop"))
    assert [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"] == ["A"]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"


def test_calls_that_all_have_the_same_index_are_told_apart_by_their_ids():
    events = translated(
        call(0, "a", "f", '{"n":1}'), call(0, "b", "g", '{"n":2}'), call(0, None, None, ""), delta("tool_calls")
    )
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [(block["id"], block["name"]) for block in starts] == [("a", "f"), ("b", "g")]


def test_a_call_without_an_id_gets_one():
    events = translated(call(0, None, "f", "{}"), call(1, None, "g", "{}"), delta("tool_calls"))
    starts = [event["content_block"]["id"] for event in events if event["type"] == "content_block_start"]
    assert starts == ["toolu_msg_fallback_0", "toolu_msg_fallback_1"]


UNREADABLE = [
    (call(0, "a", None, "{}"),),
    (call(0, "a", "f", "{}"), delta(content="x"), call(0, None, None, "more")),
    tuple(call(i, f"id{i}", "f", "{}") for i in range(129)),
    (call(0, "a", "f", "x" * 3_000_000), call(0, None, None, "x" * 3_000_000)),
    ({"choices": 7},),
]


@pytest.mark.parametrize("chunks", UNREADABLE, ids=["nameless", "late", "many", "large", "shape"])
def test_what_cannot_be_read_fails_the_stream(chunks):
    _, error = run(sse(*chunks))
    assert isinstance(error, UpstreamFailed)
    assert error.reason == "upstream_invalid"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"message": "m", "code": 429}, 429),
        ({"message": "m", "code": "503"}, 503),
        ({"message": "m", "status": 500, "code": "server_error"}, 500),
        ({"message": "m", "code": "rate_limit_exceeded"}, None),
        ({"message": "m", "code": 7}, None),
        ({"message": "m", "code": "9" * 5000}, None),
        ({"code": {}}, None),
        ("overloaded", None),
    ],
)
def test_an_error_within_the_stream_is_raised_after_what_was_good(said, status):
    body = sse(delta(content="Hi"), done=False) + b'data: {"error": null}\n\n' + sse({"error": said})
    text, error = run(body)
    assert [event["type"] for event in events_of(text)][-1] == "content_block_delta"
    assert isinstance(error, UpstreamError)
    assert (error.reason, error.upstream_status) == ("upstream_error", status)
    stream = MessageStream(EXPECTED)
    with pytest.raises(UpstreamError):
        stream.feed(sse({"error": said}, done=False))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"message":{"tool_calls":[{"id":"a"}]}}]}',
        b'{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{"}}]}}]}',
        b'{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"[1]"}}]}}]}',
    ],
)
def test_a_whole_answer_that_cannot_be_read_is_a_value_error(body):
    with pytest.raises(ValueError, match=r"."):
        translate_answer(body, expected=EXPECTED)


COUNTS = st.integers(0, 1000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_usage_is_the_same_whole_and_streamed_and_never_negative(given_, cached, written, made, thought):
    usage = {
        "prompt_tokens": given_,
        "completion_tokens": made,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    answer = translate_answer(json.dumps({"choices": [{}], "usage": usage}).encode(), expected=EXPECTED)
    counts = json.loads(answer)["usage"]
    read = read_answer_usage(answer)
    assert min(counts["input_tokens"], counts["cache_read_input_tokens"], counts["cache_creation_input_tokens"]) >= 0
    assert (read is None) == (given_ == made == 0)
    assert read is None or (read.input_tokens, read.output_tokens) == (given_, made)
    said, _ = run(sse(delta("stop"), {"choices": [], "usage": usage}))
    reader = EventReader()
    assert [one.usage for one in map(reader.read, split_events(said)) if one.finished] == [read]


@pytest.mark.parametrize("name", ["text", "tools"])
def test_an_answer_that_goes_to_a_chat_and_back_keeps_its_meaning(name):
    message = ANSWERS[name]["message"]
    head = CompletionHead(id="c", model="m", created_unix_s=1)
    again = translate_answer(answer_to_chat(json.dumps(message).encode(), head=head), expected=EXPECTED)
    assert json.loads(again) == message


def test_a_conversation_that_goes_to_a_chat_and_back_keeps_its_meaning():
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    said = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 30_000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [image, {"type": "text", "text": "How many?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I count."},
                    {"type": "tool_use", "id": "t1", "name": "count", "input": {"deep": {"n": [1, 2.5, None]}}},
                ],
            },
            {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "42."}]},
            {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
        ],
        "tools": [{"name": "count", "description": "Counts.", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 8192},
        "metadata": {"user_id": "u-1"},
        "stream": True,
    }
    chat = request_to_chat(json.dumps(said).encode(), unsupported="reject", fallback_id="f", cache_marks=True)
    again = chat_to_request(chat.body, unsupported="reject", default_max_tokens=7, created_unix_s=1, fallback_id="f")
    assert json.loads(again.body) == said


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"error": {"message": "Too long", "type": "x", "code": None}}, "invalid_request_error", "Too long"),
        (401, {"error": "no key"}, "authentication_error", "no key"),
        (404, {"object": "error", "message": "no model", "code": 404}, "not_found_error", "no model"),
        (422, {"detail": "bad"}, "invalid_request_error", "bad"),
        (422, {"detail": [{"loc": ["body"]}]}, "invalid_request_error", "The model's server answered with status 422."),
        (429, [], "rate_limit_error", "The model's server answered with status 429."),
        (500, {"error": {"message": None}}, "api_error", "The model's server answered with status 500."),
        (503, {"error": {}}, "overloaded_error", "The model's server answered with status 503."),
    ],
)
def test_errors_keep_the_servers_words(status, body, kind, message):
    raw = translate_error(status, json.dumps(body).encode())
    parsed = TypeAdapter(ErrorResponse).validate_json(raw)
    assert (parsed.error.type, parsed.error.message) == (kind, message)


def test_the_servers_code_stays_with_its_error():
    body = json.dumps({"error": {"message": "m", "type": "t", "code": "content_policy_violation"}}).encode()
    assert json.loads(translate_error(400, body))["error"]["code"] == "content_policy_violation"


def test_an_error_that_is_not_json_is_said_all_the_same():
    for body in (b"", b"<html>", b"\xff"):
        assert json.loads(translate_error(413, body))["error"]["type"] == "request_too_large"
