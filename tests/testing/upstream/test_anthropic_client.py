"""The official `anthropic` client takes the simulator for Anthropic."""

import pytest

from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import UpstreamProtocol

HELLO = [{"role": "user", "content": "Hello?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "input_schema": SCHEMA} for name in ("weather", "time")]
WORDS = "".join(f"word{number} " for number in range(8))
ASKED = {"model": "m", "max_tokens": 2000, "messages": HELLO}


@pytest.fixture(scope="module")
def anthropic():
    return pytest.importorskip("anthropic")


@pytest.fixture
async def client(anthropic, simulator):
    url = simulator.base_url(UpstreamProtocol.ANTHROPIC)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, timeout=10) as made:
        yield made
    assert [one.refused for one in simulator.refused()] == []


async def test_a_message(client):
    answer = await client.messages.create(**ASKED)
    assert [block.text for block in answer.content] == [WORDS]
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == ("end_turn", 25, 8)


async def test_a_stream_is_put_together_to_the_same_message(client):
    whole = await client.messages.create(**ASKED)
    async with client.messages.stream(**ASKED) as stream:
        events = [event.type async for event in stream]
        assert (await stream.get_final_message()).content[0].text == WORDS
        message = await stream.get_final_message()
    assert message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens
    assert (events[0], events[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_and_parallel_tools_and_their_results(client, simulator, streamed):
    simulator.behave(Mode.PARALLEL_TOOLS)
    asked = ASKED | {"tools": TOOLS, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    if streamed:
        async with client.messages.stream(**asked) as stream:
            answer = await stream.get_final_message()
    else:
        answer = await client.messages.create(**asked)
    thinking, *calls = answer.content
    assert (thinking.type, thinking.thinking) == ("thinking", "thought0 thought1 thought2 ")
    assert [(call.name, call.input) for call in calls] == [
        ("weather", {"city": "Zürich"}),
        ("time", {"city": "Zürich"}),
    ]
    assert answer.stop_reason == "tool_use"
    assert answer.usage.output_tokens_details.thinking_tokens == 3
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    turns = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    again = await client.messages.create(**asked | {"messages": turns})
    assert again.content[-1].text == WORDS


async def test_output_by_a_schema(client):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = await client.messages.create(**ASKED, output_config=form)
    assert answer.content[0].text == '{"city": "Zürich"}'


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_the_cache_did_is_counted_apart(client, simulator, streamed):
    simulator.behave(Mode.CACHED)
    if streamed:
        async with client.messages.stream(**ASKED) as stream:
            usage = (await stream.get_final_message()).usage
    else:
        usage = (await client.messages.create(**ASKED)).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (25, 100, 40)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(Mode.LENGTH, "max_tokens"), (Mode.CONTENT_FILTER, "refusal"), ("stop=stop-sequence", "stop_sequence")],
)
async def test_stop_reasons(client, simulator, mode, reason):
    simulator.behave(mode)
    assert (await client.messages.create(**ASKED)).stop_reason == reason


async def test_tokens_are_counted_and_models_listed(client):
    counted = await client.messages.count_tokens(model="m", messages=HELLO)
    assert counted.input_tokens == 25
    assert [model.id async for model in client.models.list()] == ["simulated"]


@pytest.mark.parametrize(
    ("mode", "status", "kind"),
    [
        (Mode.BAD_REQUEST, 400, "invalid_request_error"),
        (Mode.CONTEXT_TOO_LONG, 400, "invalid_request_error"),
        (Mode.UNAUTHORIZED, 401, "authentication_error"),
        (Mode.FORBIDDEN, 403, "permission_error"),
        (Mode.NOT_FOUND, 404, "not_found_error"),
        (Mode.TOO_LARGE, 413, "request_too_large"),
        (Mode.RATE_LIMITED, 429, "rate_limit_error"),
        (Mode.SERVER_ERROR, 500, "api_error"),
        (Mode.OVERLOADED, 529, "overloaded_error"),
    ],
)
async def test_errors_are_those_of_the_client(anthropic, client, simulator, mode, status, kind):
    simulator.behave(mode)
    with pytest.raises(anthropic.APIStatusError) as raised:
        await client.messages.create(**ASKED)
    assert raised.value.status_code == status
    assert raised.value.body["error"]["type"] == kind
    assert raised.value.request_id is None or raised.value.request_id == "req_simulated"


async def test_an_error_in_a_stream(anthropic, client, simulator):
    simulator.behave(Mode.ERROR_MIDWAY)
    said = ""
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):  # noqa: PT012 - what came before counts
        async with client.messages.stream(**ASKED) as stream:
            async for text in stream.text_stream:
                said += text
    assert said == "word0 word1 word2 word3 "
