"""Function calling from end to end: OpenAI's client, a gateway in this process, and a real worker."""

import asyncio
import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from podium.core.resources import Provider, Timeouts
from podium.testing.gateway import gateway_snapshot, running_gateway
from podium.testing.ports import free_port
from podium.testing.waiting import eventually
from podium.upstreams.providers import LocalWorkers

MODELS = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parents[2] / ".models")
KEY = "worker-key"
TIMES = 10
_SERVE = """
import sys
from pathlib import Path
from typing import Annotated
from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings
from podium.engine.worker import serve_worker
port, key, data, models = sys.argv[1:]
settings = EngineSettings(models_dir=models, threads=1, context_tokens=4096, parallel_slots=4)
sys.exit(serve_worker("smollm2", port=int(port), api_key=key, data=DataFolder(Path(data)), settings=settings))
"""


class Unit(StrEnum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Weather(BaseModel):
    """Current weather in a city"""

    model_config = ConfigDict(extra="forbid")
    city: str = Field(max_length=12)
    unit: Unit
    days: int = Field(ge=1, le=7)


class Add(BaseModel):
    """Adds numbers"""

    model_config = ConfigDict(extra="forbid")
    numbers: list[Annotated[int, Field(ge=0, le=99)]] = Field(min_length=1, max_length=3)
    negative: bool | None = None


FUNCTIONS = {"get_weather": Weather, "add": Add}
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "description": model.__doc__, "parameters": model.model_json_schema()},
    }
    for name, model in FUNCTIONS.items()
]
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.fixture(scope="module")
def worker_url(tmp_path_factory):
    """A worker in a process of its own."""
    folder, port = tmp_path_factory.mktemp("worker"), free_port()
    log = folder / "worker.log"
    command = [sys.executable, "-c", _SERVE, str(port), KEY, str(folder), str(MODELS)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            asyncio.run(eventually(lambda: _ready(process, port, log), timeout_s=90))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready(process, port, log):
    assert process.poll() is None, log.read_text()[-4000:]
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def gateway(worker_url):
    """A gateway in front of the worker."""
    provider = Provider(protocol="local", timeouts=Timeouts(first_byte_s=60, between_bytes_s=60, total_s=100))
    snapshot = msgspec.structs.replace(gateway_snapshot(models=("smollm2",)), providers={"provider-0": provider})
    async with running_gateway(snapshot, workers=LocalWorkers({"smollm2": worker_url}, KEY)) as running:
        yield running
        assert running.in_flight == 0


@pytest.fixture
async def client(gateway):
    """OpenAI's client, which never tries twice."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.api_key, max_retries=0) as opened:
        yield opened


async def ask(client, **fields):
    defaults = {"model": "smollm2", "messages": QUESTION, "tools": TOOLS, "max_tokens": 90, "temperature": 1}
    return await client.chat.completions.create(**defaults | fields)


async def streamed(client, **fields):
    """The chunks of a streamed answer."""
    chunks = [chunk async for chunk in await ask(client, stream=True, **fields)]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    return chunks


def pieced_together(chunks):
    """The calls, as (id, name, arguments), and why the answer ended."""
    calls, reason = [], None
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        reason = choice.finish_reason or reason
        for piece in choice.delta.tool_calls or ():
            if piece.id is not None:
                assert (piece.index, piece.type, piece.function.arguments) == (len(calls), "function", "")
                calls.append([piece.id, piece.function.name, ""])
            else:
                calls[piece.index][2] += piece.function.arguments
    return calls, reason


def check_call(call_id, name, arguments, *, only=None):
    assert call_id.startswith("call_")
    assert name == (only or name)
    FUNCTIONS[name].model_validate_json(arguments)


@pytest.mark.parametrize(("choice", "only"), [("required", None), (NAMED, "add")], ids=["required", "named"])
async def test_a_call_that_is_required_comes_every_time(client, choice, only):
    answers = await asyncio.gather(*(ask(client, tool_choice=choice) for _ in range(TIMES)))
    for answer in answers:
        (only_choice,) = answer.choices
        assert (only_choice.finish_reason, only_choice.message.content) == ("tool_calls", None)
        (call,) = only_choice.message.tool_calls
        check_call(call.id, call.function.name, call.function.arguments, only=only)
        assert answer.usage.completion_tokens > 0
    ids = {answer.choices[0].message.tool_calls[0].id for answer in answers}
    assert len(ids) == TIMES


@pytest.mark.parametrize(("choice", "only"), [("required", None), (NAMED, "add")], ids=["required", "named"])
async def test_a_streamed_call_that_is_required_comes_every_time(client, choice, only):
    asked = {"tool_choice": choice, "stream_options": {"include_usage": True}}
    for chunks in await asyncio.gather(*(streamed(client, **asked) for _ in range(TIMES))):
        calls, reason = pieced_together(chunks)
        assert reason == "tool_calls"
        ((call_id, name, arguments),) = calls
        check_call(call_id, name, arguments, only=only)
        assert len(chunks) > 8, "the arguments came in pieces"
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 8


async def test_a_model_that_may_choose_answers_with_text_or_with_a_valid_call(client):
    whole = await asyncio.gather(*(ask(client, max_tokens=14) for _ in range(TIMES // 2)))
    for choice in (answer.choices[0] for answer in whole):
        if choice.message.tool_calls:
            assert choice.finish_reason in ("tool_calls", "length")
        else:
            assert choice.message.content and "<tool_" not in choice.message.content[:6]
            assert choice.finish_reason in ("stop", "length")


def conversation(number, city):
    """An exchange in which the model called a function."""
    function = {"name": "get_weather", "arguments": json.dumps({"city": city, "unit": "celsius", "days": 1})}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return [
        {"role": "user", "content": f"Weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]


async def test_a_model_that_may_choose_and_saw_calls_before_calls_too(client):
    """This small model calls of its own accord only when it has examples, and is greedy."""
    history = [
        message
        for number, city in enumerate(("Rome", "Oslo", "Bern", "Wien"))
        for message in conversation(number, city)
    ]
    asked = {"messages": [*history, {"role": "user", "content": "Weather in Paris?"}], "temperature": 0}
    answer = await ask(client, **asked)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    check_call(call.id, call.function.name, call.function.arguments, only="get_weather")
    ((_, name, arguments),), reason = pieced_together(await streamed(client, **asked))
    assert (name, arguments, reason) == (call.function.name, call.function.arguments, "tool_calls")


async def test_several_calls_come_when_they_are_asked_for(client):
    answer = await ask(client, tool_choice="required", parallel_tool_calls=True, max_tokens=90)
    calls = answer.choices[0].message.tool_calls
    assert 1 <= len(calls) <= 8
    for call in calls if answer.choices[0].finish_reason == "tool_calls" else calls[:-1]:
        check_call(call.id, call.function.name, call.function.arguments)


async def test_a_call_that_is_cut_off_keeps_its_arguments(client):
    answer = await ask(client, tool_choice=NAMED, max_tokens=16)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "length"
    assert call.function.arguments.startswith("{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.function.arguments)
    calls, reason = pieced_together(await streamed(client, tool_choice=NAMED, max_tokens=16))
    assert (len(calls), reason) == (1, "length")


async def test_with_choice_none_the_answer_is_text(client):
    answer = await ask(client, tool_choice="none", max_tokens=5)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None
    assert answer.usage.prompt_tokens < 60, "the functions were not shown to the model"


async def test_each_choice_has_calls_of_its_own_and_counts(gateway, client):
    answer = await ask(client, tool_choice=NAMED, n=3, max_tokens=60)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        (call,) = choice.message.tool_calls
        check_call(call.id, call.function.name, call.function.arguments, only="add")
    assert answer.usage.completion_tokens >= 3 * 12
    assert gateway.events[-1].output_tokens == answer.usage.completion_tokens


async def test_all_choices_count(gateway, client):
    plain = {"tools": openai.omit, "n": 3, "max_tokens": 4, "extra_body": {"ignore_eos": True}}
    answer = await ask(client, **plain)
    assert answer.usage.completion_tokens == 12
    assert all(choice.message.content for choice in answer.choices)
    chunks = await streamed(client, stream_options={"include_usage": True}, **plain)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [12]
    assert [event.output_tokens for event in gateway.events] == [12, 12]


async def test_all_prompts_count(gateway, client):
    asked = {
        "model": "smollm2",
        "prompt": ["Once upon a time", "The"],
        "max_tokens": 3,
        "extra_body": {"ignore_eos": True},
    }
    answer = await client.completions.create(n=2, **asked)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.completion_tokens == 12
    stream = await client.completions.create(stream=True, stream_options={"include_usage": True}, **asked)
    chunks = [chunk async for chunk in stream]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)
    assert chunks[-1].usage.prompt_tokens == answer.usage.prompt_tokens
    assert [event.output_tokens for event in gateway.events] == [12, 6]


@pytest.mark.parametrize(
    ("fields", "parameter", "code"),
    [
        ({"functions": [{"name": "x"}]}, "functions", "invalid_request"),
        ({"messages": [{"role": "user", "content": "a b " * 2000}]}, "messages", "context_length_exceeded"),
        ({"n": 99}, "n", None),
        ({"tools": openai.omit, "extra_body": {"temperature": "x"}}, "temperature", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_refused_is_refused_in_openais_words(client, fields, parameter, code, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(client, stream=stream, **fields)
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
    assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", parameter, code)


SCHEMAS = [
    {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
    {"type": "string", "pattern": r"^[a-c]{2}\d$"},
    {"type": "string", "format": "date"},
    {"oneOf": [{"type": "integer", "multipleOf": 3, "maximum": 99, "minimum": 0}, {"const": None}]},
    {"type": "array", "prefixItems": [{"enum": ["x"]}], "items": False, "minItems": 1},
    {
        "type": "object",
        "patternProperties": {"^k": {"type": "null"}},
        "additionalProperties": False,
        "maxProperties": 1,
    },
    {"allOf": [{"type": "object", "properties": {"x": {"type": "boolean"}}}, {"required": ["x"]}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: next(iter(schema)))
async def test_the_worker_enforces_what_is_not_refused(client, schema):
    """A grammar that the worker cannot compile would be ignored, and the answer then be an error."""
    parameters = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}
    parameters["$defs"] = schema.pop("$defs", {}) | {"a": schema} if "$defs" in schema else {"a": schema}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    answer = await ask(client, tools=tools, tool_choice="required", max_tokens=40)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.arguments.startswith('{"a":')


async def test_a_schema_that_allows_nothing_is_the_callers_mistake(client):
    impossible = {"type": "string", "allOf": [{"minLength": 5}, {"maxLength": 3}]}
    parameters = {"type": "object", "properties": {"a": impossible}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(client, tools=tools, tool_choice="required", stream=stream, max_tokens=5)
        assert caught.value.param == "tools"


async def test_a_caller_that_leaves_ends_the_workers_work(gateway, client, worker_url):
    stream = await ask(client, stream=True, extra_body={"ignore_eos": True}, max_tokens=500)
    async for _ in stream:
        break
    await stream.close()
    await eventually(lambda: gateway.in_flight == 0)
    await eventually(lambda: not _busy(worker_url))
    assert gateway.events[-1].reason == "client_gone"


async def test_a_caller_that_leaves_before_a_whole_answer_ends_the_workers_work_too(gateway, client, worker_url):
    plain = {"model": "smollm2", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 1500}
    asking = asyncio.create_task(client.chat.completions.create(**plain, extra_body={"ignore_eos": True}))
    await eventually(lambda: _busy(worker_url))
    asking.cancel()
    await eventually(lambda: gateway.in_flight == 0)
    await eventually(lambda: not _busy(worker_url))
    assert gateway.events[-1].reason == "client_gone"


def _busy(worker_url):
    slots = httpx.get(f"{worker_url}/slots", headers={"authorization": f"Bearer {KEY}"}, timeout=5).json()
    return any(slot["is_processing"] for slot in slots)
