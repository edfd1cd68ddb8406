"""The official `openai` client takes the simulator for OpenAI, and for Azure."""

import json

import openai
import pytest

from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import UpstreamProtocol

HELLO = [{"role": "user", "content": "Hello?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "time")]
WORDS = "".join(f"word{number} " for number in range(8))


@pytest.fixture(params=["openai", "azure"])
async def client(request, simulator):
    if request.param == "openai":
        made = openai.AsyncOpenAI(base_url=simulator.base_url(), api_key="k", max_retries=0, timeout=10)
    else:
        made = openai.AsyncAzureOpenAI(
            azure_endpoint=simulator.base_url(UpstreamProtocol.AZURE),
            api_key="k",
            api_version="2024-10-21",
            max_retries=0,
            timeout=10,
        )
    async with made:
        yield made
    assert not [one.refused for one in simulator.refused() if one.status != 400]


async def test_a_chat(client):
    answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (25, 8, 33)


async def test_a_stream_with_usage(client):
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WORDS
    assert chunks[-1].usage.completion_tokens == 8
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


async def test_parallel_tool_calls_and_their_results(client, simulator):
    simulator.behave(Mode.PARALLEL_TOOLS)
    answer = await client.chat.completions.create(model="m", messages=HELLO, tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in message.tool_calls] == ["weather", "time"]
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"city": "Zürich"}] * 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in message.tool_calls]
    history = [*HELLO, message.to_dict(), *results]
    again = await client.chat.completions.create(model="m", messages=history, tools=TOOLS)
    assert again.choices[0].message.content == WORDS


async def test_streamed_tool_calls_come_in_pieces(client, simulator):
    simulator.behave(Mode.PARALLEL_TOOLS)
    stream = await client.chat.completions.create(model="m", messages=HELLO, tools=TOOLS, stream=True)
    said = {}
    pieces = 0
    async for chunk in stream:
        for call in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
            pieces += 1
            name, arguments = said.get(call.index, ("", ""))
            said[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    assert pieces > 4
    assert [(name, json.loads(arguments)) for name, arguments in said.values()] == [
        ("weather", {"city": "Zürich"}),
        ("time", {"city": "Zürich"}),
    ]


async def test_a_forced_tool_and_none_at_all(client):
    async def names(choice):
        answer = await client.chat.completions.create(model="m", messages=HELLO, tools=TOOLS, tool_choice=choice)
        return [call.function.name for call in answer.choices[0].message.tool_calls or ()]

    assert await names({"type": "function", "function": {"name": "time"}}) == ["time"]
    assert await names("required") == ["weather"]
    assert await names("none") == []


async def test_output_by_a_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
    answer = await client.chat.completions.create(model="m", messages=HELLO, response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"city": "Zürich"}


async def test_reasoning_and_the_cache_are_counted(client, simulator):
    simulator.behave("cached,reasoning")
    answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.reasoning_content == "thought0 thought1 thought2 "
    assert answer.usage.prompt_tokens_details.cached_tokens == 100
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (165, 11)


@pytest.mark.parametrize(("mode", "reason"), [(Mode.LENGTH, "length"), (Mode.CONTENT_FILTER, "content_filter")])
async def test_stop_reasons(client, simulator, mode, reason):
    simulator.behave(mode)
    assert (await client.chat.completions.create(model="m", messages=HELLO)).choices[0].finish_reason == reason


async def test_too_few_tokens_end_an_answer(client):
    answer = await client.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("word0 word1 ", "length")


async def test_completions_and_embeddings(client):
    assert (await client.completions.create(model="m", prompt="Say", max_tokens=3)).choices[0].text == WORDS[:18]
    stream = await client.completions.create(model="m", prompt="Say", max_tokens=3, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == WORDS[:18]
    vectors = await client.embeddings.create(model="m", input=["one", "other"], dimensions=4)
    assert [len(one.embedding) for one in vectors.data] == [4, 4]
    assert sum(value * value for value in vectors.data[0].embedding) == pytest.approx(1)


async def test_models_are_listed(client):
    assert [model.id async for model in client.models.list()] == ["simulated"]


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        (Mode.BAD_REQUEST, openai.BadRequestError),
        (Mode.CONTEXT_TOO_LONG, openai.BadRequestError),
        (Mode.CONTENT_REFUSED, openai.BadRequestError),
        (Mode.UNAUTHORIZED, openai.AuthenticationError),
        (Mode.FORBIDDEN, openai.PermissionDeniedError),
        (Mode.NOT_FOUND, openai.NotFoundError),
        (Mode.RATE_LIMITED_RETRY_AFTER, openai.RateLimitError),
        (Mode.QUOTA_EXHAUSTED, openai.RateLimitError),
        (Mode.SERVER_ERROR, openai.InternalServerError),
        (Mode.OVERLOADED, openai.InternalServerError),
        (Mode.RESETS_MIDWAY, openai.APIConnectionError),
    ],
)
async def test_errors_are_those_of_the_client(client, simulator, mode, error):
    simulator.behave(mode)
    with pytest.raises(error) as raised:
        await client.chat.completions.create(model="m", messages=HELLO)
    if mode is Mode.CONTEXT_TOO_LONG:
        assert raised.value.code == "context_length_exceeded"


async def test_an_error_in_a_stream(client, simulator):
    simulator.behave(Mode.ERROR_MIDWAY)
    said = ""
    with pytest.raises(openai.APIError, match="had an error"):  # noqa: PT012 - what came before counts
        async for chunk in await client.chat.completions.create(model="m", messages=HELLO, stream=True):
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert said == "word0 word1 word2 word3 "
