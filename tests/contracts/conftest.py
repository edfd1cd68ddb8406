"""Both official clients behind one face, so that one contract holds for both, whatever answers them."""

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest

from podium.core.resources import Aws, BackendSpec, Model, Provider, SecretRef, Version
from podium.core.serving import FailureHandling, Retries
from podium.testing.gateway import gateway_snapshot, running_gateway
from podium.testing.upstream import Simulator, UpstreamProtocol
from podium.testing.upstream.credentials import AWS_KEY, AWS_SECRET
from podium.testing.waiting import eventually

# The model's name as each provider knows it: what a model can do is told by it.
UPSTREAM_MODELS = {
    UpstreamProtocol.OPENAI: "gpt-4o",
    UpstreamProtocol.AZURE: "gpt-4o",
    UpstreamProtocol.ANTHROPIC: "claude-sonnet-4-5",
    UpstreamProtocol.GEMINI: "gemini-2.5-flash",
    UpstreamProtocol.BEDROCK: "anthropic.claude-sonnet-4-5-20250929-v1:0",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the model."""

    id: str
    name: str
    arguments: Any


@dataclass(slots=True)
class Heard:
    """An answer, in words that both clients share. `stop` is the client's own word."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    stop: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0  # of text and arguments, when it was streamed


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation: words, with an image perhaps, or calls, or their results by id."""

    role: str
    text: str = ""
    png: str = ""  # base64
    calls: tuple[Call, ...] = ()
    results: tuple[tuple[str, str], ...] = ()


class OpenAiSpeaker:
    """The `openai` client."""

    module = openai
    stops = {"end": "stop", "length": "length", "calls": "tool_calls", "filtered": "content_filter"}  # noqa: RUF012

    def __init__(self, url, key, http):
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60, http_client=http)

    def asked(self, model, turns, *, system=None, tools=(), choice=None, schema=None, max_tokens=64, **more):
        """The client's arguments for a chat."""
        messages = [{"role": "system", "content": system}] if system else []
        for turn in turns:
            messages += self._messages(turn)
        asked = {"model": model, "messages": messages, "max_tokens": max_tokens}
        if tools:
            asked["tools"] = [{"type": "function", "function": {"name": n, "parameters": s}} for n, s in tools]
        if choice:
            named = {"type": "function", "function": {"name": choice}}
            asked["tool_choice"] = "required" if choice == "any" else named
        if schema:
            wanted = {"name": "answer", "strict": True, "schema": schema}
            asked["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return asked | more

    def _messages(self, turn):
        if turn.results:
            return [{"role": "tool", "tool_call_id": call, "content": text} for call, text in turn.results]
        if turn.calls:
            calls = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}}
                for c in turn.calls
            ]
            return [{"role": "assistant", "content": turn.text or None, "tool_calls": calls}]
        if turn.png:
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{turn.png}"}}
            return [{"role": turn.role, "content": [{"type": "text", "text": turn.text}, image]}]
        return [{"role": turn.role, "content": turn.text}]

    async def say(self, model, *turns, **options):
        """A whole answer."""
        answer = await self.client.chat.completions.create(**self.asked(model, turns, **options))
        assert answer.object == "chat.completion"
        return self._heard(answer.choices[0], answer.usage)

    async def stream(self, model, *turns, **options):
        """A streamed answer, put together by the client itself."""
        asked = self.asked(model, turns, **options) | {"stream_options": {"include_usage": True}}
        pieces = 0
        async with self.client.chat.completions.stream(**asked) as events:
            async for event in events:
                if event.type == "content.delta":
                    pieces += bool(event.delta)
                elif event.type == "tool_calls.function.arguments.delta":
                    pieces += bool(event.arguments_delta)
            answer = events.current_completion_snapshot
        heard = self._heard(answer.choices[0], answer.usage)
        heard.pieces = pieces
        return heard

    async def pieces(self, model, *turns, **options):
        """The pieces of a streamed text as they come; closing the iterator hangs up."""
        stream = await self.client.chat.completions.create(**self.asked(model, turns, **options), stream=True)
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield choice.delta.content

    def _heard(self, choice, usage):
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or ()
        ]
        counts = usage.prompt_tokens, usage.completion_tokens
        return Heard(choice.message.content or "", calls, choice.finish_reason, *counts)


class AnthropicSpeaker:
    """The `anthropic` client."""

    module = anthropic
    stops = {"end": "end_turn", "length": "max_tokens", "calls": "tool_use", "filtered": "refusal"}  # noqa: RUF012

    def __init__(self, url, key, http):
        self.client = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=60, http_client=http)

    def asked(self, model, turns, *, system=None, tools=(), choice=None, schema=None, max_tokens=64, **more):
        """The client's arguments for a message."""
        messages = [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        asked = {"model": model, "messages": messages, "max_tokens": max_tokens}
        if system:
            asked["system"] = system
        if tools:
            asked["tools"] = [{"name": name, "input_schema": given} for name, given in tools]
        if choice:
            asked["tool_choice"] = {"type": "any"} if choice == "any" else {"type": "tool", "name": choice}
        if schema:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return asked | more

    def _content(self, turn):
        if turn.results:
            return [{"type": "tool_result", "tool_use_id": call, "content": text} for call, text in turn.results]
        if turn.calls:
            calls = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in turn.calls]
            return [{"type": "text", "text": turn.text}, *calls] if turn.text else calls
        if turn.png:
            source = {"type": "base64", "media_type": "image/png", "data": turn.png}
            return [{"type": "text", "text": turn.text}, {"type": "image", "source": source}]
        return turn.text

    async def say(self, model, *turns, **options):
        """A whole answer."""
        answer = await self.client.messages.create(**self.asked(model, turns, **options))
        assert (answer.type, answer.role) == ("message", "assistant")
        return self._heard(answer)

    async def stream(self, model, *turns, **options):
        """A streamed answer, put together by the client itself."""
        pieces = 0
        async with self.client.messages.stream(**self.asked(model, turns, **options)) as events:
            async for event in events:
                if event.type == "text":
                    pieces += bool(event.text)
                elif event.type == "input_json":
                    pieces += bool(event.partial_json)
            answer = await events.get_final_message()
        heard = self._heard(answer)
        heard.pieces = pieces
        return heard

    async def pieces(self, model, *turns, **options):
        """The pieces of a streamed text as they come; closing the iterator hangs up."""
        stream = await self.client.messages.create(**self.asked(model, turns, **options), stream=True)
        async with stream:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    yield event.delta.text

    def _heard(self, answer):
        text = "".join(block.text for block in answer.content if block.type == "text")
        calls = [Call(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
        return Heard(text, calls, answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens)


SPEAKERS = {"openai": OpenAiSpeaker, "anthropic": AnthropicSpeaker}


@pytest.fixture(scope="session")
def turn():
    """Makes turns: `turn.user(text)`, `turn.assistant(text)`, `turn.called(calls)`, `turn.results(pairs)`."""

    class Turns:
        def user(self, text, png=""):
            return Turn("user", text, png)

        def assistant(self, text):
            return Turn("assistant", text)

        def called(self, calls, text=""):
            return Turn("assistant", text, calls=tuple(calls))

        def results(self, pairs):
            return Turn("user", results=tuple(pairs))

    return Turns()


@pytest.fixture
async def speaker_at():
    """Makes a client: `speaker_at("openai", url, key)`."""
    made = []

    def make(name, url, key):
        http = httpx2.AsyncClient(verify=False, timeout=60)  # loopback only, and reading the CAs takes its time
        made.append(http)
        return SPEAKERS[name](url, key, http)

    yield make
    for http in made:
        await http.aclose()


@pytest.fixture
async def simulator():
    """A provider that speaks every protocol, and finds no request wrong that a test does not mean to be."""
    async with Simulator() as running:
        yield running


@pytest.fixture
async def simulated(simulator, monkeypatch):
    """A gateway before the simulator: each protocol's name is a model that is called in it."""
    for name, value in {"KEY": "provider-key", "AWS_ID": AWS_KEY, "AWS_SECRET": AWS_SECRET}.items():
        monkeypatch.setenv(f"CONTRACT_{name}", value)
    names = list(UpstreamProtocol)
    snapshot = msgspec.structs.replace(
        gateway_snapshot(),
        providers={name.value: _provider(name, simulator.base_url(UpstreamProtocol.ANTHROPIC)) for name in names},
        versions={
            name.value: Version(backends=(BackendSpec(provider=name.value, model=UPSTREAM_MODELS[name]),))
            for name in names
        },
        models={
            name.value: Model(version=name.value, failure=FailureHandling(retries=Retries(attempts=1)))
            for name in names
        },
    )
    async with running_gateway(snapshot) as gateway:
        yield gateway
        await eventually(lambda: gateway.in_flight == 0)


def _provider(protocol, root):
    key = SecretRef(env="CONTRACT_KEY")
    match protocol:
        case UpstreamProtocol.OPENAI:
            return Provider(protocol="openai", base_url=f"{root}/v1", api_key=key)
        case UpstreamProtocol.AZURE:
            return Provider(protocol="openai", preset="azure", base_url=root, api_key=key, api_version="2024-10-21")
        case UpstreamProtocol.BEDROCK:
            keys = {name: SecretRef(env=f"CONTRACT_AWS_{word}") for name, word in _AWS_KEYS.items()}
            return Provider(protocol="bedrock", base_url=root, aws=Aws(region="eu-west-1", **keys))
    return Provider(protocol=protocol.value, base_url=root, api_key=key)


_AWS_KEYS = {"access_key_id": "ID", "secret_access_key": "SECRET"}
