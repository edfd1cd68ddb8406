"""The official `anthropic` client against a real Podium: `/v1/messages` with the built-in model behind it."""

import time

import anthropic
import pytest

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
    },
}


@pytest.fixture(scope="session")
def client(podium_up):
    root = podium_up.url.removesuffix("/v1")  # where this client wants to begin
    with anthropic.Anthropic(base_url=root, api_key=podium_up.admin_key, max_retries=0, timeout=60) as client:
        yield client


def test_a_message(client):
    answer = client.messages.create(model="smollm2", messages=HELLO, max_tokens=8, system="Be brief.")
    assert (answer.type, answer.role) == ("message", "assistant")
    assert answer.content[0].text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 8
    assert answer._request_id


def test_a_streamed_message_of_several_turns_with_usage(client):
    turns = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again."}]
    with client.messages.stream(model="smollm2", messages=turns, max_tokens=8) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == answer.content[0].text != ""
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 8


def test_a_tool_that_must_be_called_is_called(client):
    asked = [{"role": "user", "content": "The weather in Paris?"}]
    with client.messages.stream(
        model="smollm2", messages=asked, max_tokens=40, tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}
    ) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.id
    assert call.name == "weather"
    assert isinstance(call.input["city"], str)


def test_errors_are_the_clients_own(client):
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").messages.create(model="smollm2", messages=HELLO, max_tokens=1)
    assert refused.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nothing", messages=HELLO, max_tokens=1)
    assert unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="smollm2", messages=[], max_tokens=1)


def test_a_cancelled_stream_frees_the_model(client):
    stream = client.messages.create(model="smollm2", messages=HELLO, max_tokens=800, stream=True)
    next(event for event in stream if event.type == "content_block_delta")
    stream.close()
    started = time.monotonic()
    client.messages.create(model="smollm2", messages=HELLO, max_tokens=1)
    assert time.monotonic() - started < 10
