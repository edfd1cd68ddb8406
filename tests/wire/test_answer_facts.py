import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.wire.answer_facts import asked_schema, asks_for_json, is_json, messages_facts, openai_facts, streamed_text


def chat(finish_reason="stop", **message):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}).encode()


def message(*content, stop="end_turn"):
    return json.dumps({"type": "message", "content": content, "stop_reason": stop}).encode()


@pytest.mark.parametrize(
    ("body", "empty", "refused"),
    [
        (chat(content="hello"), False, False),
        (chat(content=""), True, False),
        (chat(content=" \n"), True, False),
        (chat(content=None), True, False),
        (chat(content=None, tool_calls=[{"id": "c"}]), False, False),
        (chat(content=None, refusal="No."), False, True),
        (chat(content="", finish_reason="content_filter"), True, True),
        (chat(content=[{"type": "text", "text": "x"}]), False, False),
        (b'{"choices": []}', True, False),
        (b'{"choices": [{"text": "x", "finish_reason": "length"}]}', False, False),
        (b'{"choices": [{"text": ""}]}', True, False),
    ],
)
def test_a_chat_says_something_or_nothing_or_that_it_will_not(body, empty, refused):
    facts = openai_facts(body)
    assert (facts.empty, facts.refused) == (empty, refused)


@pytest.mark.parametrize(
    ("body", "empty", "refused"),
    [
        (message({"type": "text", "text": "hello"}), False, False),
        (message(), True, False),
        (message({"type": "text", "text": " "}), True, False),
        (message({"type": "tool_use", "id": "t", "name": "n", "input": {}}, stop="tool_use"), False, False),
        (message(stop="refusal"), False, True),
    ],
)
def test_a_message_says_something_or_nothing_or_that_it_will_not(body, empty, refused):
    facts = messages_facts(body)
    assert (facts.empty, facts.refused) == (empty, refused)


def test_the_reason_of_the_end_is_in_the_upstreams_own_words():
    assert openai_facts(chat(content="x", finish_reason="length")).finish_reason == "length"
    assert messages_facts(message({"type": "text", "text": "x"}, stop="max_tokens")).finish_reason == "max_tokens"


@given(st.binary(max_size=30) | st.recursive(st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_what_is_of_another_shape_tells_nothing_and_breaks_nothing(body):
    assert openai_facts(body) is None
    assert messages_facts(body) is None
    assert asks_for_json(b'"response_format"' + body) is False
    assert asked_schema(b'"json_schema"' + body) is None
    assert streamed_text(b"data: " + body + b"\n\n") == ""


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, True),
        ({"output_config": {"format": {"type": "json_schema"}}}, True),
        ({"output_format": {"type": "json_schema"}}, True),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": None}, False),
        ({"messages": [{"content": '"response_format": {"type": "json_object"}'}]}, False),
    ],
)
def test_json_is_asked_for_in_either_dialect(fields, asked):
    assert asks_for_json(json.dumps(fields).encode()) is asked


SCHEMA = {"type": "object", "required": ["a"]}


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, SCHEMA),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, SCHEMA),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, SCHEMA),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, None),
        ({"response_format": {"type": "json_schema"}}, None),
        ({"response_format": {"type": "json_object"}, "metadata": {"k": "json_schema"}}, None),
        ({"messages": [{"content": '"json_schema"'}]}, None),
    ],
)
def test_the_schema_that_is_asked_for_is_found_in_either_dialect(fields, schema):
    found = asked_schema(json.dumps(fields).encode())
    assert (None if found is None else json.loads(found)) == schema


@pytest.mark.parametrize(("text", "valid"), [('{"a": 1}', True), (" [1]\n", True), ('{"a": ', False), ("", False)])
def test_the_whole_text_has_to_be_json(text, valid):
    assert is_json(text) is valid


def test_the_text_of_a_stream_is_its_content():
    events = [
        {"choices": [{"delta": {"role": "assistant", "reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"content": '{"a":'}}]},
        {"choices": [{"delta": {"content": " 1}"}}]},
        {"choices": [], "usage": None},
    ]
    stream = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    assert streamed_text(stream) == '{"a": 1}'
    deltas = ({"type": "text_delta", "text": "a"}, {"type": "thinking_delta", "thinking": "b"})
    blocks = b"".join(
        b"event: content_block_delta\ndata: %b\n\n" % json.dumps({"type": "content_block_delta", "delta": one}).encode()
        for one in deltas
    )
    assert streamed_text(blocks) == "a"
