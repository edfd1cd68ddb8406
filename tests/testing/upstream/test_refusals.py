"""A request that its provider would not take is refused in the provider's words, whatever was ordered."""

import json

import pytest

from podium.testing.raw_http import RawConnection
from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import UpstreamProtocol

OPENAI, AZURE, ANTHROPIC, GEMINI, BEDROCK = UpstreamProtocol

USER = {"role": "user", "content": "Hello?"}
O_TOOLS = [{"type": "function", "function": {"name": "f"}}]
O_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
A_TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
A_USE = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
A_RESULT = {"type": "tool_result", "tool_use_id": "1", "content": "fine"}
TEXT = {"type": "text", "text": "and"}
G_CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
G_RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
G_USER = {"role": "user", "parts": [{"text": "Hello?"}]}
B_TOOLS = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}
B_USER = {"role": "user", "content": [{"text": "Hello?"}]}
B_USE = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}]}
B_RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"text": "fine"}]}}]}


def openai(messages=(USER,), **fields):
    return {"model": "m", "messages": list(messages)} | fields


def anthropic(messages=(USER,), **fields):
    return {"model": "m", "max_tokens": 4096, "messages": list(messages)} | fields


def gemini(contents=(G_USER,), **fields):
    return {"contents": list(contents)} | fields


def bedrock(messages=(B_USER,), **fields):
    return {"messages": list(messages)} | fields


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


GOOD = {
    "openai tool turns": (
        OPENAI,
        openai(
            [
                USER,
                {"role": "assistant", "tool_calls": [O_CALL]},
                {"role": "tool", "tool_call_id": "1", "content": "fine"},
            ],
            tools=O_TOOLS,
        ),
    ),
    "openai image": (OPENAI, openai([user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}})])),
    "azure without a model": (AZURE, {"messages": [USER]}),
    "anthropic tool turns": (ANTHROPIC, anthropic([USER, assistant(TEXT, A_USE), user(A_RESULT, TEXT)], tools=A_TOOLS)),
    "anthropic two users": (ANTHROPIC, anthropic([USER, USER])),
    "anthropic prefill": (ANTHROPIC, anthropic([USER, {"role": "assistant", "content": "The"}])),
    "gemini function turns": (
        GEMINI,
        gemini([G_USER, G_CALL, G_RESULT], tools=[{"functionDeclarations": [{"name": "f"}]}]),
    ),
    "bedrock tool turns": (BEDROCK, bedrock([B_USER, B_USE, B_RESULT], toolConfig=B_TOOLS)),
}
WRONG = {
    "openai no messages": (OPENAI, {"model": "m"}, "messages"),
    "openai no model": (OPENAI, {"messages": [USER]}, "model"),
    "openai empty messages": (OPENAI, openai([]), "length"),
    "openai anthropic's field": (OPENAI, openai(stop_sequences=["x"]), "stop_sequences"),
    "openai unknown role": (OPENAI, openai([{"role": "model", "content": "x"}]), "model"),
    "openai result without call": (
        OPENAI,
        openai([USER, {"role": "tool", "tool_call_id": "1", "content": ""}]),
        "preceeding",
    ),
    "openai call without result": (
        OPENAI,
        openai([USER, {"role": "assistant", "tool_calls": [O_CALL]}, USER], tools=O_TOOLS),
        "must be followed",
    ),
    "openai arguments not text": (
        OPENAI,
        openai([USER, {"role": "assistant", "tool_calls": [O_CALL | {"function": {"name": "f", "arguments": {}}}]}]),
        "arguments",
    ),
    "openai says nothing": (OPENAI, openai([USER, {"role": "assistant"}]), "content"),
    "openai choice without tools": (OPENAI, openai(tool_choice="auto"), "tool_choice"),
    "openai unknown choice": (OPENAI, openai(tools=O_TOOLS, tool_choice="any"), "any"),
    "openai usage without stream": (OPENAI, openai(stream_options={"include_usage": True}), "stream_options"),
    "openai too hot": (OPENAI, openai(temperature=3), "temperature"),
    "openai both limits": (OPENAI, openai(max_tokens=1, max_completion_tokens=1), "same time"),
    "openai json unmentioned": (OPENAI, openai(response_format={"type": "json_object"}), "json"),
    "anthropic no max_tokens": (ANTHROPIC, {"model": "m", "messages": [USER]}, "max_tokens: Field required"),
    "anthropic system message": (ANTHROPIC, anthropic([{"role": "system", "content": "x"}, USER]), "role"),
    "anthropic assistant first": (ANTHROPIC, anthropic([assistant(TEXT), USER]), "first message"),
    "anthropic openai's field": (ANTHROPIC, anthropic(stop=["x"]), "stop"),
    "anthropic empty text": (ANTHROPIC, anthropic([user({"type": "text", "text": ""})]), "text"),
    "anthropic blank text": (ANTHROPIC, anthropic([user({"type": "text", "text": " "})]), "non-whitespace"),
    "anthropic empty message": (ANTHROPIC, anthropic([USER, assistant(), USER]), "non-empty"),
    "anthropic result without use": (ANTHROPIC, anthropic([user(A_RESULT)], tools=A_TOOLS), "tool_use_id"),
    "anthropic use without result": (
        ANTHROPIC,
        anthropic([USER, assistant(A_USE), USER], tools=A_TOOLS),
        "immediately after",
    ),
    "anthropic result after text": (
        ANTHROPIC,
        anthropic([USER, assistant(A_USE), user(TEXT, A_RESULT)], tools=A_TOOLS),
        "immediately after",
    ),
    "anthropic use by the user": (ANTHROPIC, anthropic([user(A_USE)], tools=A_TOOLS), "assistant"),
    "anthropic turns without tools": (
        ANTHROPIC,
        anthropic([USER, assistant(A_USE), user(A_RESULT)]),
        "must define tools",
    ),
    "anthropic input as text": (
        ANTHROPIC,
        anthropic([USER, assistant(A_USE | {"input": "{}"}), user(A_RESULT)], tools=A_TOOLS),
        "input",
    ),
    "anthropic schema of no object": (
        ANTHROPIC,
        anthropic(tools=[{"name": "f", "input_schema": {"type": "string"}}]),
        "$.type",
    ),
    "anthropic openai's tool": (ANTHROPIC, anthropic(tools=O_TOOLS), "tools"),
    "anthropic openai's choice": (ANTHROPIC, anthropic(tools=A_TOOLS, tool_choice="auto"), "tool_choice"),
    "anthropic too hot": (ANTHROPIC, anthropic(temperature=1.5), "temperature"),
    "anthropic short budget": (
        ANTHROPIC,
        anthropic(thinking={"type": "enabled", "budget_tokens": 10}),
        "budget_tokens",
    ),
    "anthropic large budget": (ANTHROPIC, anthropic(thinking={"type": "enabled", "budget_tokens": 5000}), "max_tokens"),
    "anthropic warm thoughts": (
        ANTHROPIC,
        anthropic(temperature=0.5, thinking={"type": "enabled", "budget_tokens": 2000}),
        "temperature",
    ),
    "anthropic forged thought": (
        ANTHROPIC,
        anthropic([USER, assistant({"type": "thinking", "thinking": "x", "signature": "y"}), USER]),
        "signature",
    ),
    "gemini no contents": (GEMINI, {}, "contents"),
    "gemini assistant": (GEMINI, gemini([{"role": "assistant", "parts": [{"text": "x"}]}]), "valid role"),
    "gemini no parts": (GEMINI, gemini([{"role": "user", "parts": []}]), "parts"),
    "gemini part of two kinds": (
        GEMINI,
        gemini([{"role": "user", "parts": [{"text": "x", "functionCall": {"name": "f"}}]}]),
        "oneof",
    ),
    "gemini openai's field": (GEMINI, gemini(generationConfig={"maxTokens": 5}), "maxTokens"),
    "gemini call unanswered": (GEMINI, gemini([G_USER, G_CALL, G_USER]), "number of function response parts"),
    "gemini response unasked": (GEMINI, gemini([G_USER, G_RESULT]), "number of function response parts"),
    "gemini other name": (
        GEMINI,
        gemini([G_USER, G_CALL, {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {}}}]}]),
        "names",
    ),
    "gemini response as text": (
        GEMINI,
        gemini([G_USER, G_CALL, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]),
        "response",
    ),
    "gemini call first": (GEMINI, gemini([G_CALL, G_RESULT]), "immediately after"),
    "gemini JSON Schema": (
        GEMINI,
        gemini(tools=[{"functionDeclarations": [{"name": "f", "parameters": {"type": "object", "$schema": "x"}}]}]),
        "$schema",
    ),
    "gemini schema for text": (GEMINI, gemini(generationConfig={"responseSchema": {"type": "STRING"}}), "mime type"),
    "gemini allowed names": (
        GEMINI,
        gemini(toolConfig={"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}),
        "allowed_function_names",
    ),
    "bedrock no messages": (BEDROCK, {}, "start with a user message"),
    "bedrock assistant first": (BEDROCK, bedrock([B_USE]), "start with a user message"),
    "bedrock two users": (BEDROCK, bedrock([B_USER, B_USER]), "alternate"),
    "bedrock text as such": (BEDROCK, bedrock([USER]), "content"),
    "bedrock blank text": (BEDROCK, bedrock([{"role": "user", "content": [{"text": " "}]}]), "blank"),
    "bedrock block of two kinds": (
        BEDROCK,
        bedrock([{"role": "user", "content": [{"text": "x", "cachePoint": {"type": "default"}}]}]),
        "one of",
    ),
    "bedrock use without result": (
        BEDROCK,
        bedrock([B_USER, B_USE, B_USER], toolConfig=B_TOOLS),
        "Expected toolResult",
    ),
    "bedrock result without use": (BEDROCK, bedrock([B_RESULT], toolConfig=B_TOOLS), "exceeds"),
    "bedrock turns without tools": (BEDROCK, bedrock([B_USER, B_USE, B_RESULT]), "toolConfig"),
    "bedrock too hot": (BEDROCK, bedrock(inferenceConfig={"temperature": 1.5}), "temperature"),
    "bedrock openai's field": (BEDROCK, bedrock(max_tokens=5), "max_tokens"),
    "bedrock two choices": (
        BEDROCK,
        bedrock(toolConfig=B_TOOLS | {"toolChoice": {"auto": {}, "any": {}}}),
        "toolChoice",
    ),
}


def words_of(protocol, answer):
    body = answer.json()
    if protocol is BEDROCK:
        assert answer.header("x-amzn-errortype").startswith("ValidationException")
        return body["message"]
    if protocol is ANTHROPIC:
        assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    return body["error"]["message"]


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_request_is_refused(simulator, ask, name):
    protocol, body, words = WRONG[name]
    simulator.behave(Mode.UNAVAILABLE)
    answer = await ask(protocol, body=body)
    assert answer.status == 400
    assert words in words_of(protocol, answer)
    assert words in simulator.requests[0].refused


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_request_is_taken(simulator, ask, name):
    protocol, body = GOOD[name]
    assert (await ask(protocol, body=body)).status == 200
    assert simulator.refused() == []


@pytest.mark.parametrize(
    ("protocol", "missing", "status"),
    [
        (OPENAI, "authorization", 401),
        (AZURE, "api-key", 401),
        (ANTHROPIC, "x-api-key", 401),
        (ANTHROPIC, "anthropic-version", 400),
        (GEMINI, "x-goog-api-key", 400),
        (BEDROCK, "authorization", 403),
        (OPENAI, "content-type", 400),
        (BEDROCK, "content-type", 400),
    ],
)
async def test_a_request_without_credentials_or_type_is_refused(simulator, ask, protocol, missing, status):
    answer = await ask(protocol, headers={missing: ""})
    assert answer.status == status
    assert simulator.requests[0].refused


@pytest.mark.parametrize(
    "header",
    [
        "Basic abc",
        "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
    ],
)
async def test_credentials_of_another_form_are_refused(ask, header):
    assert (await ask(BEDROCK, headers={"authorization": header, "x-amz-date": "20260101T000000Z"})).status == 403


@pytest.mark.parametrize("path", ["/v2/chat/completions", "/openai/deployments/m/chat/completions", "/model/m/invoke"])
async def test_a_path_that_no_protocol_has_is_not_found(simulator, ask, path):
    assert (await ask(OPENAI, path=path)).status == 404
    assert simulator.requests[0].protocol is None


@pytest.mark.parametrize("protocol", UpstreamProtocol)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null", b'{"model": 1}'])
async def test_what_is_no_request_at_all_is_refused(simulator, request_parts, protocol, body):
    path, headers, _ = request_parts(protocol)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
    async with await RawConnection.open(simulator.port) as connection:
        await connection.send(head.encode() + body)
        answer = await connection.read_response()
    assert answer.status == 400
    assert json.loads(answer.body)


async def test_an_order_that_is_none_is_refused(ask):
    for answer in (await ask(OPENAI, headers={"x-simulate": "slwo"}), await ask(OPENAI, model="m+slwo")):
        assert answer.status == 400
        assert "slwo" in answer.json()["error"]["message"]
