"""Answers that no model made, as the official clients' own types read them."""

import json

import anthropic.types
import openai.types
import openai.types.chat
import pytest
from pydantic import TypeAdapter

from podium.testing.raw_http import RawResponse
from podium.wire.fixed import FixedAnswer, streamed, whole

ANSWER = FixedAnswer(id="abc", model="m", created_unix_s=1_800_000_000, text='Sorry, "no"\n…', reason="no_backend")
MARK = {"degraded": True, "reason": "no_backend"}
_CHAT, _CHUNK = openai.types.chat.ChatCompletion, openai.types.chat.ChatCompletionChunk
_COMPLETION, _MESSAGE = openai.types.Completion, anthropic.types.Message
_EVENT = TypeAdapter(anthropic.types.RawMessageStreamEvent)


def events(endpoint):
    return [json.loads(event) for event in RawResponse("", 200, (), streamed(endpoint, ANSWER)).events()]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize(
    ("endpoint", "kind"), [("chat.completions", _CHAT), ("completions", _COMPLETION), ("messages", _MESSAGE)]
)
def test_a_whole_answer_is_one_of_its_endpoint_and_says_what_it_is(endpoint, kind):
    body = json.loads(whole(endpoint, ANSWER))
    assert body["podium"] == MARK
    answer = kind.model_validate(body)
    assert answer.model == "m"


def test_a_whole_chat_ends_properly():
    (choice,) = _CHAT.model_validate_json(whole("chat.completions", ANSWER)).choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", ANSWER.text, "stop")


def test_a_whole_message_ends_properly():
    message = _MESSAGE.model_validate_json(whole("messages", ANSWER))
    assert (message.role, message.content[0].text, message.stop_reason) == ("assistant", ANSWER.text, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)


def test_ids_are_of_the_kind_that_each_endpoint_has():
    assert _CHAT.model_validate_json(whole("chat.completions", ANSWER)).id == "chatcmpl-abc"
    assert _COMPLETION.model_validate_json(whole("completions", ANSWER)).id == "cmpl-abc"
    assert _MESSAGE.model_validate_json(whole("messages", ANSWER)).id == "msg_abc"


def test_a_streamed_chat_is_marked_and_ends_properly():
    decoded = events("chat.completions")
    assert decoded[0]["podium"] == MARK
    chunks = [_CHUNK.model_validate(event) for event in decoded]
    assert text_of(chunks) == ANSWER.text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert chunks[0].choices[0].delta.role == "assistant"


def test_a_streamed_completion_is_marked_and_ends_properly():
    (event,) = events("completions")
    assert event["podium"] == MARK
    (choice,) = _COMPLETION.model_validate(event).choices
    assert (choice.text, choice.finish_reason) == (ANSWER.text, "stop")


def test_a_streamed_message_is_marked_and_lacks_only_its_end():
    decoded = events("messages")
    assert decoded[0]["message"]["podium"] == MARK
    read = [_EVENT.validate_python(event) for event in decoded]
    assert [event.type for event in read] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
    ]
    assert read[2].delta.text == ANSWER.text
    assert read[4].delta.stop_reason == "end_turn"


def test_events_of_messages_have_their_names():
    blocks = streamed("messages", ANSWER).decode().removesuffix("\n\n").split("\n\n")
    for block in blocks:
        name, data = block.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_embeddings_cannot_be_made_up():
    with pytest.raises(KeyError):
        whole("embeddings", ANSWER)
