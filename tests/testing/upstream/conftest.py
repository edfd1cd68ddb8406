"""Requests in each provider's own words, and a simulator to send them to."""

import json

import pytest

from podium.testing.raw_http import RawConnection
from podium.testing.upstream.protocols import UpstreamProtocol
from podium.testing.upstream.simulator import Simulator

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
KEYS = {
    UpstreamProtocol.OPENAI: {"authorization": "Bearer sk-test"},
    UpstreamProtocol.AZURE: {"api-key": "test"},
    UpstreamProtocol.ANTHROPIC: {"x-api-key": "test", "anthropic-version": "2023-06-01"},
    UpstreamProtocol.GEMINI: {"x-goog-api-key": "test"},
    UpstreamProtocol.BEDROCK: {"authorization": "Bearer test"},
}


def target(protocol, model, streamed):
    return {
        UpstreamProtocol.OPENAI: "/v1/chat/completions",
        UpstreamProtocol.AZURE: f"/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
        UpstreamProtocol.ANTHROPIC: "/v1/messages",
        UpstreamProtocol.GEMINI: f"/v1beta/models/{model}:"
        + ("streamGenerateContent?alt=sse" if streamed else "generateContent"),
        UpstreamProtocol.BEDROCK: f"/model/{model}/converse" + ("-stream" if streamed else ""),
    }[protocol]


def chat(protocol, model, streamed, *, tools):
    """A question with two tools, or none."""
    names = ("weather", "time") if tools else ()
    match protocol:
        case UpstreamProtocol.ANTHROPIC:
            tools = [{"name": name, "input_schema": SCHEMA} for name in names]
            body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
            return body | ({"stream": True} if streamed else {}) | ({"tools": tools} if tools else {})
        case UpstreamProtocol.GEMINI:
            tools = [{"name": name, "parameters": SCHEMA} for name in names]
            body = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
            return body | ({"tools": [{"functionDeclarations": tools}]} if tools else {})
        case UpstreamProtocol.BEDROCK:
            tools = [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in names]
            body = {"messages": [{"role": "user", "content": [{"text": "Hello?"}]}]}
            return body | ({"toolConfig": {"tools": tools}} if tools else {})
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in names]
    body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}]}
    options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    return body | options | ({"tools": tools} if tools else {})


def make_request(protocol, *, streamed=False, tools=False, model="m", headers=None, body=None, path=None):
    """(target, headers, body) of a good request; what is given replaces its parts."""
    sent = {"content-type": "application/json"} | KEYS[protocol] | (headers or {})
    content = json.dumps(chat(protocol, model, streamed, tools=tools) if body is None else body).encode()
    return path or target(protocol, model, streamed), sent, content


def make_bytes(*request, **parts):
    path, headers, content = make_request(*request, **parts)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nhost: up\r\n{lines}content-length: {len(content)}\r\n\r\n".encode() + content


@pytest.fixture
def request_parts():
    return make_request


@pytest.fixture
def request_bytes():
    return make_bytes


@pytest.fixture
async def simulator():
    async with Simulator() as running:
        yield running


@pytest.fixture
def ask(simulator):
    """Sends one request on a connection of its own and returns the answer; takes what `make_request` takes."""

    async def send(*request, **parts):
        async with await RawConnection.open(simulator.port) as connection:
            await connection.send(make_bytes(*request, **parts))
            return await connection.read_response()

    return send
