"""OpenAI's chat, whole: requests read, answers read, answers written."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.wire.chat.answers import read_chunk, read_completion
from podium.wire.chat.requests import FunctionCall, ToolCall, leave_out, read_chat
from podium.wire.chat.writer import ChunkWriter, CompletionHead, Spoken, completion_body
from podium.wire.openai import read_answer_usage, read_stream_event

HEAD = CompletionHead(id="chatcmpl-1", model='m"1', created_unix_s=1_700_000_000)
USAGE = Usage(input_tokens=10, cached_input_tokens=4, cache_write_tokens=2, output_tokens=5, reasoning_tokens=3)
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def _body(**fields: object) -> bytes:
    return json.dumps(REQUEST | fields).encode()


def test_fields_that_say_nothing_are_not_present() -> None:
    _, present = read_chat(_body(n=1, logprobs=False, seed=None, temperature=0.5))
    assert present == {"model", "messages", "temperature"}


def test_a_field_that_cannot_be_expressed_is_refused_or_named() -> None:
    _, present = read_chat(_body(seed=7, user="u", temperature=1))
    expressed = frozenset({"temperature"})
    assert leave_out(present, expressed, "drop", protocol="x") == ("seed",)
    with pytest.raises(InvalidRequest) as caught:
        leave_out(present, expressed, "reject", protocol="x")
    assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER
    assert caught.value.parameter == "seed"


def test_an_unknown_kind_of_part_is_named_by_its_path() -> None:
    messages = [{"role": "user", "content": [{"type": "hologram"}]}]
    with pytest.raises(InvalidRequest) as caught:
        read_chat(_body(messages=messages))
    assert caught.value.parameter is not None
    assert caught.value.parameter.startswith("messages")


def test_a_whole_answer_is_one_of_openai_and_reads_back() -> None:
    call = ToolCall(id="c1", function=FunctionCall(name="f", arguments='{"a":1}'))
    body = completion_body(HEAD, Spoken(content=None, reasoning="hm", tool_calls=(call,)), "tool_calls", USAGE)
    parsed = ChatCompletion.model_validate(json.loads(body))
    assert parsed.choices[0].message.tool_calls is not None
    assert read_answer_usage(body) == USAGE
    message = read_completion(body).choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].id == "c1"
    assert message.reasoning_content == "hm"


def test_each_event_is_a_chunk_of_openai_and_is_understood_by_the_relay() -> None:
    writer = ChunkWriter(HEAD)
    events = {
        "role": writer.role(),
        "text": writer.text('a"\n'),
        "reasoning": writer.reasoning("hm"),
        "refusal": writer.refusal("no"),
        "start": writer.tool_start(0, "c1", "f"),
        "arguments": writer.tool_arguments(0, "{}"),
        "finish": writer.finish("stop"),
        "usage": writer.usage(USAGE),
    }
    for name, event in events.items():
        data = event.removeprefix(b"data: ").strip()
        ChatCompletionChunk.model_validate(json.loads(data))
        read_chunk(data)
        understood = read_stream_event(event)
        assert understood.has_content == (name in {"text", "reasoning", "refusal", "start", "arguments"}), name
        assert understood.finished == (name == "finish")
    usage = read_stream_event(events["usage"])
    assert usage.usage == USAGE
    assert usage.usage_only


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"choices":1}', b"\xff"])
def test_what_is_no_answer_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        read_completion(data)
    with pytest.raises(ValueError, match="not a"):
        read_chunk(data)
