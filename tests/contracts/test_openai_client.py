"""The official `openai` client against a real Podium: the built-in models, and a scripted provider beside them."""

import asyncio
import base64
import json
import math
import struct
import time
from pathlib import Path

import openai
import pytest

from podium.testing.ports import free_port
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "openai-compatible.yaml"
HELLO = [{"role": "user", "content": "Say hello."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="session")
def client(podium_up):
    with openai.OpenAI(base_url=podium_up.url, api_key=podium_up.admin_key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def async_client(podium_up):
    async with openai.AsyncOpenAI(
        base_url=podium_up.url, api_key=podium_up.admin_key, max_retries=0, timeout=60
    ) as client:
        yield client


@pytest.fixture(scope="session")
def scripted_port(podium_up, tmp_path_factory):
    """Where the provider of the example is declared to be; each test starts a server there when it needs it."""
    port = free_port()
    file = tmp_path_factory.mktemp("declared") / "example.yaml"
    file.write_text(EXAMPLE.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{port}"))
    podium_up.run("apply", "-f", str(file))
    return port


@pytest.fixture
async def scripted(scripted_port, async_client):
    """The example's provider, as the gateway knows it under the model `assistant`."""
    async with ScriptedUpstream(port=scripted_port) as upstream:
        deadline = time.monotonic() + 5
        while "assistant" not in [model.id async for model in async_client.models.list()]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        yield upstream


# Chat


@pytest.mark.parametrize("model", ["smollm2", "default"])
def test_a_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=12)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_with_usage(client):
    stream = client.chat.completions.create(
        model="smollm2", messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in {"stop", "length"}
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert 0 < chunks[-1].usage.completion_tokens <= 12


def test_a_streamed_chat_shows_no_usage_that_was_not_asked_for(client):
    chunks = list(client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=4, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert not any(chunk.usage for chunk in chunks)


def test_the_clients_own_stream_helper_puts_the_message_together(client):
    with client.chat.completions.stream(model="smollm2", messages=HELLO, max_tokens=8) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        message = stream.current_completion_snapshot.choices[0].message
    assert message.content == text != ""


def test_a_raw_text_completion(client):
    answer = client.completions.create(model="smollm2", prompt="One, two, three,", max_tokens=6, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    streamed = client.completions.create(
        model="smollm2", prompt="One, two, three,", max_tokens=6, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices)


def test_a_seed_makes_the_answer_repeatable(client):
    answers = {
        client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=10, seed=7, temperature=0.0)
        .choices[0]
        .message.content
        for _ in range(2)
    }
    assert len(answers) == 1


def test_n_choices(client):
    answer = client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=6, n=3, temperature=1)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)


def test_stop_ends_the_text_before_the_word(client):
    asked = {"model": "smollm2", "prompt": "1 2 3 4 5 6 7", "max_tokens": 20, "temperature": 0}
    text = client.completions.create(**asked).choices[0].text
    word = text.split()[2]
    stopped = client.completions.create(**asked, stop=[word]).choices[0]
    assert word not in stopped.text
    assert stopped.finish_reason == "stop"


def test_logprobs(client):
    answer = client.chat.completions.create(
        model="smollm2", messages=HELLO, max_tokens=3, logprobs=True, top_logprobs=4
    )
    tokens = answer.choices[0].logprobs.content
    assert 1 <= len(tokens) <= 3
    assert all(len(token.top_logprobs) == 4 and token.logprob <= 0 for token in tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_json_schema_output_is_of_the_schema(client, stream):
    asked = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Name a city and how many people live in it. Answer in JSON."}],
        "max_tokens": 80,
        "response_format": {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}},
    }
    if stream:
        chunks = client.chat.completions.create(**asked, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content
    value = json.loads(text)
    assert set(value) == {"city", "people"}
    assert isinstance(value["city"], str)
    assert isinstance(value["people"], int)


# Tools


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}])
async def test_tools_are_called(async_client, scripted, choice):
    answer = await async_client.chat.completions.create(
        model="assistant", messages=HELLO, tools=[WEATHER], tool_choice=choice
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    assert scripted.requests[-1].json()["tool_choice"] == choice
    assert scripted.requests[-1].json()["tools"] == [WEATHER]


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}])
async def test_tools_are_called_in_a_stream(async_client, scripted, choice):
    async with async_client.chat.completions.stream(
        model="assistant", messages=HELLO, tools=[WEATHER], tool_choice=choice
    ) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})


async def test_a_tools_result_goes_back(async_client, scripted):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sun"},
    ]
    answer = await async_client.chat.completions.create(model="assistant", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content.startswith("word0")
    assert scripted.requests[-1].json()["messages"] == messages


def built_in_message(client, *, stream, **asked):
    asked = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "The weather in Paris?"}],
        "max_tokens": 60,
    } | asked
    if not stream:
        return client.chat.completions.create(**asked).choices[0]
    with client.chat.completions.stream(**asked) as events:
        events.until_done()
        return events.current_completion_snapshot.choices[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_the_built_in_model_calls_a_tool_when_it_must(client, choice, stream):
    other = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    tools = [WEATHER] if choice == "required" else [other, WEATHER]
    said = built_in_message(client, stream=stream, tools=tools, tool_choice=choice)
    (call,) = said.message.tool_calls
    assert call.id
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    assert not said.message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_the_built_in_model_may_answer_instead(client, choice, stream):
    """It is too small to be relied on for which of the two; what it says is well formed either way."""
    message = built_in_message(client, stream=stream, tools=[WEATHER], tool_choice=choice).message
    assert message.content or message.tool_calls
    assert choice == "auto" or not message.tool_calls
    for call in message.tool_calls or ():
        assert call.function.name == "weather"


# Embeddings


def test_embeddings_the_way_the_client_asks_for_them(client):
    near, far = "A cat sits on the mat.", "Interest rates rose again."
    answer = client.embeddings.create(model="minilm", input=["The cat is on the mat.", near, far])
    vectors = [item.embedding for item in answer.data]
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert {len(vector) for vector in vectors} == {384}
    assert all(math.isclose(sum(value * value for value in vector), 1.0, abs_tol=1e-3) for vector in vectors)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.3
    assert answer.usage.prompt_tokens > 0


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_as_floats_and_as_base64_are_the_same(client):
    floats = client.embeddings.create(model="minilm", input="hello", encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model="minilm", input="hello", encoding_format="base64").data[0].embedding
    unpacked = struct.unpack("<384f", base64.b64decode(packed))
    assert all(math.isclose(one, other, abs_tol=1e-6) for one, other in zip(floats, unpacked, strict=True))


# Models


def test_models_are_listed_and_found(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"smollm2", "minilm"} <= set(listed)
    found = client.models.retrieve("smollm2")
    assert (found.id, found.object) == ("smollm2", "model")
    assert found.owned_by == listed["smollm2"].owned_by


# Errors become the client's own exceptions.


def test_a_wrong_key_is_an_authentication_error(podium_up, client):
    for key in ("sk-wrong", podium_up.admin_key[:-1] + "!"):
        with pytest.raises(openai.AuthenticationError) as raised:
            client.with_options(api_key=key).models.list()
        assert raised.value.code == "invalid_api_key"


def test_an_unknown_model_is_a_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nothing", messages=HELLO)
    assert raised.value.code == "model_not_found"
    assert raised.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_a_wrong_request_is_a_bad_request_error(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="smollm2", messages=[])
    assert raised.value.param == "messages"
    assert raised.value.type == "invalid_request_error"


def test_a_prompt_that_the_model_finds_too_long_is_a_bad_request_error_too(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="smollm2", messages=[{"role": "user", "content": "word " * 20_000}])
    assert raised.value.body["message"]


def test_a_model_that_cannot_do_it_says_so(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model="smollm2", input="hello")
    assert raised.value.code == "endpoint_not_supported"


def test_a_key_without_the_scope_is_a_permission_error(podium_up, client):
    _, key = podium_up.new_key("narrow", "--model", "minilm")
    narrow = client.with_options(api_key=key)
    with_patience(lambda: narrow.embeddings.create(model="minilm", input="hello"))
    with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
        narrow.chat.completions.create(model="smollm2", messages=HELLO)


def test_a_used_up_limit_is_a_rate_limit_error_with_a_time_to_wait(podium_up, client, tmp_path):
    key_id, key = podium_up.new_key("slow")
    spec = {"per": ["key"], "where": {"key": [key_id]}, "limits": [{"what": "requests", "amount": 1}]}
    policy = {"kind": "LimitPolicy", "name": "slow", "spec": spec}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    podium_up.run("apply", "-f", str(tmp_path / "policy.json"))
    slow = client.with_options(api_key=key)

    def use_up():
        for _ in range(100):
            with_patience(lambda: slow.embeddings.create(model="minilm", input="hello"))
            time.sleep(0.05)

    with pytest.raises(openai.RateLimitError) as raised:
        use_up()
    assert raised.value.code == "requests_limited"
    assert 0 < int(raised.value.response.headers["retry-after"]) <= 60


def with_patience(call):
    """A key made just now is known to the gateway within two seconds."""
    deadline = time.monotonic() + 2
    while True:
        try:
            return call()
        except openai.AuthenticationError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_an_unreachable_provider_is_an_internal_server_error(client, scripted_port):
    deadline = time.monotonic() + 5
    while True:
        with pytest.raises((openai.InternalServerError, openai.NotFoundError)) as raised:
            client.chat.completions.create(model="assistant", messages=HELLO)
        if raised.value.status_code == 502 or time.monotonic() > deadline:
            break
    assert raised.value.code == "upstream_unreachable"


async def test_an_error_in_a_stream_is_raised_and_not_taken_for_the_end(async_client, scripted):
    from podium.testing.behaviour import BAD

    scripted.script(BAD["resets-midway"])
    stream = await async_client.chat.completions.create(model="assistant", messages=HELLO, stream=True)
    words = []

    async def read():
        async for chunk in stream:
            words.extend(choice.delta.content for choice in chunk.choices if choice.delta.content)

    with pytest.raises(openai.APIError) as raised:
        await read()
    assert words == ["word0 ", "word1 ", "word2 ", "word3 "]
    assert raised.value.code == "upstream_broken"


# What goes both ways


def test_the_request_id_is_visible_and_can_be_given(client):
    assert client.models.list()._request_id
    answer = client.chat.completions.create(
        model="smollm2", messages=HELLO, max_tokens=1, extra_headers={"x-request-id": "mine-1"}
    )
    assert answer._request_id == "mine-1"


async def test_fields_that_podium_does_not_know_go_through(async_client, scripted):
    await async_client.chat.completions.create(
        model="assistant",
        messages=HELLO,
        temperature=0.9,
        logit_bias={"1": -100},
        parallel_tool_calls=False,
        metadata={"a": "b"},
        service_tier="flex",
        extra_body={"future_field": {"deep": [1, None]}},
    )
    sent = scripted.requests[-1].json()
    assert sent["model"] == "scripted"
    assert sent["temperature"] == 0.9
    assert (sent["logit_bias"], sent["parallel_tool_calls"], sent["metadata"]) == ({"1": -100}, False, {"a": "b"})
    assert (sent["service_tier"], sent["future_field"]) == ("flex", {"deep": [1, None]})


async def test_a_versions_parameters_hold_where_the_caller_sets_none(async_client, scripted):
    await async_client.chat.completions.create(model="assistant", messages=HELLO)
    assert scripted.requests[-1].json()["temperature"] == 0.2


async def test_a_cancelled_stream_cancels_the_call(async_client, scripted):
    from podium.testing.behaviour import Behaviour

    scripted.script(Behaviour(chunks=1000, between_chunks_s=0.01))
    stream = await async_client.chat.completions.create(model="assistant", messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices and "word5" in (chunk.choices[0].delta.content or ""):
            break
    await stream.close()
    await eventually(lambda: scripted.requests[-1].disconnected_at_s, timeout_s=2)


def test_a_cancelled_stream_of_the_built_in_model_frees_it(client):
    stream = client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=800, stream=True)
    next(iter(stream))
    stream.close()
    started = time.monotonic()
    client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=1)
    assert time.monotonic() - started < 10


async def test_many_at_once(async_client):
    async def one(number):
        answer = await async_client.chat.completions.create(
            model="smollm2", messages=HELLO, max_tokens=4, user=f"user-{number}"
        )
        return answer.usage.completion_tokens

    assert all(0 < tokens <= 4 for tokens in await asyncio.gather(*(one(number) for number in range(12))))
