"""Google's `google-genai` client takes the simulator for Gemini."""

import pytest

from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import UpstreamProtocol

SCHEMA = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
WORDS = "".join(f"word{number} " for number in range(8))
NO_AUTOMATIC = {"automatic_function_calling": {"disable": True}}


@pytest.fixture(scope="module")
def genai():
    return pytest.importorskip("google.genai")


@pytest.fixture
async def client(genai, simulator):
    url = simulator.base_url(UpstreamProtocol.GEMINI)
    options = genai.types.HttpOptions(base_url=url, timeout=10_000)
    client = genai.Client(api_key="k", http_options=options, vertexai=False)
    yield client.aio
    await client.aio.aclose()
    client.close()
    assert [one.refused for one in simulator.refused()] == []


@pytest.fixture
def tools(genai):
    declarations = [{"name": name, "parameters": SCHEMA} for name in ("weather", "time")]
    return {"tools": [{"function_declarations": declarations}]} | NO_AUTOMATIC


async def test_content(client):
    answer = await client.models.generate_content(model="gemini", contents="Hello?")
    usage = answer.usage_metadata
    assert answer.text == WORDS
    assert answer.candidates[0].finish_reason == "STOP"
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (25, 8, 33)
    assert answer.model_version == "gemini"


async def test_a_stream(client):
    stream = await client.models.generate_content_stream(model="gemini", contents="Hello?")
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text or "" for chunk in chunks) == WORDS
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert chunks[-1].usage_metadata.candidates_token_count == 8
    assert [chunk.usage_metadata.candidates_token_count for chunk in chunks[:3]] == [1, 2, 3]


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_and_parallel_calls_and_their_results(genai, client, simulator, tools, streamed):
    simulator.behave(Mode.PARALLEL_TOOLS)
    config = tools | {"thinking_config": {"include_thoughts": True}}
    asked = {"model": "gemini", "contents": "Hello?", "config": config}
    if streamed:
        stream = await client.models.generate_content_stream(**asked)
        chunks = [chunk async for chunk in stream]
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        usage = chunks[-1].usage_metadata
    else:
        answer = await client.models.generate_content(**asked)
        parts, usage = answer.candidates[0].content.parts, answer.usage_metadata
    assert "".join(part.text for part in parts if part.thought) == "thought0 thought1 thought2 "
    calls = [part for part in parts if part.function_call]
    assert [part.function_call.name for part in calls] == ["weather", "time"]
    assert {part.function_call.args["city"] for part in calls} == {"Zürich"}
    assert [bool(part.thought_signature) for part in calls] == [True, False]
    assert usage.thoughts_token_count == 3
    types = genai.types
    results = [
        types.Part.from_function_response(name=part.function_call.name, response={"result": "fine"}) for part in calls
    ]
    turns = [
        types.Content(role="user", parts=[types.Part(text="Hello?")]),
        types.Content(role="model", parts=calls),
        types.Content(role="user", parts=results),
    ]
    again = await client.models.generate_content(model="gemini", contents=turns, config=tools)
    assert again.text == WORDS


async def test_output_by_a_schema(client):
    for schema in ({"response_schema": SCHEMA}, {"response_json_schema": {"type": "object", "properties": {}}}):
        config = {"response_mime_type": "application/json"} | schema
        answer = await client.models.generate_content(model="gemini", contents="Hello?", config=config)
        assert answer.text == ('{"city": "Zürich"}' if "response_schema" in schema else "{}")


async def test_what_was_cached_is_part_of_the_prompt(client, simulator):
    simulator.behave(Mode.CACHED)
    usage = (await client.models.generate_content(model="gemini", contents="Hello?")).usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (165, 100)


@pytest.mark.parametrize(("mode", "reason"), [(Mode.LENGTH, "MAX_TOKENS"), (Mode.CONTENT_FILTER, "SAFETY")])
async def test_stop_reasons(client, simulator, mode, reason):
    simulator.behave(mode)
    answer = await client.models.generate_content(model="gemini", contents="Hello?")
    assert answer.candidates[0].finish_reason == reason


async def test_a_refused_prompt_has_no_candidate(client, simulator):
    simulator.behave(Mode.CONTENT_REFUSED)
    answer = await client.models.generate_content(model="gemini", contents="Hello?")
    assert answer.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
    assert not answer.candidates


async def test_tokens_are_counted(client):
    assert (await client.models.count_tokens(model="gemini", contents="Hello?")).total_tokens == 25


@pytest.mark.parametrize(
    ("mode", "code", "status"),
    [
        (Mode.BAD_REQUEST, 400, "INVALID_ARGUMENT"),
        (Mode.UNAUTHORIZED, 400, "INVALID_ARGUMENT"),
        (Mode.FORBIDDEN, 403, "PERMISSION_DENIED"),
        (Mode.NOT_FOUND, 404, "NOT_FOUND"),
        (Mode.RATE_LIMITED_RETRY_AFTER, 429, "RESOURCE_EXHAUSTED"),
        (Mode.SERVER_ERROR, 500, "INTERNAL"),
        (Mode.OVERLOADED, 503, "UNAVAILABLE"),
    ],
)
async def test_errors_are_those_of_the_client(genai, client, simulator, mode, code, status):
    simulator.behave(mode)
    with pytest.raises(genai.errors.APIError) as raised:
        await client.models.generate_content(model="gemini", contents="Hello?")
    assert (raised.value.code, raised.value.status) == (code, status)
    if mode is Mode.RATE_LIMITED_RETRY_AFTER:
        assert raised.value.details["error"]["details"][-1]["retryDelay"] == "7s"


async def test_an_error_in_a_stream(genai, client, simulator):
    simulator.behave(Mode.ERROR_MIDWAY)
    said = ""
    with pytest.raises(genai.errors.APIError) as raised:  # noqa: PT012 - what came before counts
        async for chunk in await client.models.generate_content_stream(model="gemini", contents="Hello?"):
            said += chunk.text or ""
    assert raised.value.code == 503
    assert said == "word0 word1 word2 word3 "
