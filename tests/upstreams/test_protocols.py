"""Every protocol, spoken to the simulator: chats and Messages in, the same dialect out, whatever is behind."""

import asyncio
import base64
import json
import struct

import pytest

from podium.core.errors import InvalidRequest, UpstreamError, UpstreamFailed, UpstreamTimeout
from podium.core.reasons import Reason
from podium.core.resources import Aws, Provider, SecretRef, Timeouts
from podium.testing.behaviour import Behaviour
from podium.testing.upstream.credentials import AWS_KEY, AWS_SECRET
from podium.testing.upstream.modes import Mode
from podium.testing.upstream.simulator import Simulator
from podium.testing.waiting import eventually
from podium.upstreams.account import Account
from podium.upstreams.bedrock import BedrockUpstream
from podium.upstreams.providers import LocalWorkers, Providers
from podium.wire.sse import event_data, split_events

CHAT, MESSAGES = "chat.completions", "messages"
KINDS = ("openai", "mistral", "azure", "azure-dated", "anthropic", "gemini", "bedrock", "bedrock-key")
TRANSLATED = ("anthropic", "gemini", "bedrock")
QUICK = Timeouts(connect_s=2, first_byte_s=2, between_bytes_s=2, total_s=5)
WORDS = "".join(f"word{number} " for number in range(8))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "x", "parameters": SCHEMA}}]


@pytest.fixture
async def simulator():
    async with Simulator() as running:
        yield running
        await eventually(lambda: running.open_connections == 0)


@pytest.fixture
async def providers(simulator, monkeypatch):
    for name, value in {"KEY": "provider-key", "AWS_ID": AWS_KEY, "AWS_SECRET": AWS_SECRET, "TOKEN": "token"}.items():
        monkeypatch.setenv(f"TEST_{name}", value)
    made = Providers(LocalWorkers({}, ""))
    yield made
    made.close()


def declared(url, kind, **fields):
    """A provider of a kind at a server's root URL."""
    key = SecretRef(env="TEST_KEY")
    signed = Aws(
        region="eu-west-1",
        access_key_id=SecretRef(env="TEST_AWS_ID"),
        secret_access_key=SecretRef(env="TEST_AWS_SECRET"),
    )
    of_kind = {
        "openai": {"base_url": f"{url}/v1", "api_key": key},
        "mistral": {"base_url": f"{url}/v1", "preset": "mistral", "api_key": key},
        "azure": {"base_url": url, "preset": "azure", "api_key": key},
        "azure-dated": {"base_url": url, "preset": "azure", "api_key": key, "api_version": "2024-10-21"},
        "anthropic": {"protocol": "anthropic", "base_url": url, "api_key": key},
        "gemini": {"protocol": "gemini", "base_url": url, "api_key": key},
        "bedrock": {"protocol": "bedrock", "base_url": url, "aws": signed},
        "bedrock-key": {"protocol": "bedrock", "base_url": url, "api_key": key},
    }[kind]
    return Provider(**{"protocol": "openai", "timeouts": QUICK} | of_kind | fields)


@pytest.fixture
def upstream_of(simulator, providers):
    def make(kind, model="m", **fields):
        made = providers.upstream("p", declared(simulator.base_url().removesuffix("/v1"), kind, **fields), model)
        assert made is not None
        return made

    return make


async def ask(upstream, endpoint=CHAT, headers=b"traceparent: 00-1\r\n", **fields):
    """One request; `fields` go over a plain one of the endpoint."""
    plain = {"model": upstream.model, "messages": [{"role": "user", "content": "hello"}]}
    if endpoint == MESSAGES:
        plain["max_tokens"] = 64
    if endpoint == CHAT and fields.get("stream") and upstream.reports_stream_usage:
        plain["stream_options"] = {"include_usage": True}
    body = json.dumps(plain | fields).encode()
    deadline_s = asyncio.get_running_loop().time() + 5
    return await upstream.call(endpoint, body, headers=headers, deadline_s=deadline_s)


async def relayed(answer):
    """The data of all events of a stream, decoded but for [DONE]."""
    assert (answer.status, answer.streamed) == (200, True)
    pieces = []

    def take(piece):
        pieces.append(piece)
        return True

    await answer.relay(take)
    data = [event_data(event) for event in split_events(b"".join(pieces))]
    return [one if one == b"[DONE]" else json.loads(one) for one in data if one is not None]


def chunks_of(events):
    """The chunks of a streamed chat, which has ended properly."""
    assert events[-1] == b"[DONE]"
    return events[:-1]


def deltas(chunks):
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


# Chats.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_chat_is_answered(upstream_of, simulator, kind):
    answer = await ask(upstream_of(kind))
    said = json.loads(answer.body)
    assert (answer.status, answer.streamed, answer.notes, simulator.refused()) == (200, False, b"", [])
    (choice,) = said["choices"]
    assert (said["object"], said["model"], choice["finish_reason"]) == ("chat.completion", "m", "stop")
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", WORDS)
    assert (said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]) == (25, 8)
    assert said["id"] and simulator.requests[0].header("traceparent") == "00-1"


@pytest.mark.parametrize("mode", [Mode.PLAIN, Mode.SINGLE_BYTES])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_streamed_chat_is_answered(upstream_of, simulator, kind, mode):
    simulator.behave(mode)
    answer = await ask(upstream_of(kind), stream=True)
    chunks = chunks_of(await relayed(answer))
    assert simulator.refused() == []
    words = WORDS if mode is Mode.PLAIN else "word0 word1 word2 "
    assert "".join(delta.get("content") or "" for delta in deltas(chunks)) == words
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "stop"
    if kind != "mistral":  # it reports its usage unasked, the simulator's stand-in for it does not
        assert chunks[-1]["usage"]["prompt_tokens"] == 25
        assert chunks[-1]["usage"]["completion_tokens"] == len(words.split())


@pytest.mark.parametrize("kind", KINDS)
async def test_tools_are_called_and_their_results_go_back(upstream_of, simulator, kind):
    upstream = upstream_of(kind)
    simulator.behave(Mode.PARALLEL_TOOLS)
    answer = await ask(upstream, tools=TOOLS)
    (choice,) = json.loads(answer.body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Zürich"}] * 2
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    history = [{"role": "user", "content": "hello"}, choice["message"], *results]
    again = json.loads((await ask(upstream, messages=history, tools=TOOLS)).body)
    assert (again["choices"][0]["message"]["content"], simulator.refused()) == (WORDS, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_streamed_tool_calls_can_be_put_together(upstream_of, simulator, kind):
    simulator.behave(Mode.PARALLEL_TOOLS)
    chunks = chunks_of(await relayed(await ask(upstream_of(kind), stream=True, tools=TOOLS)))
    calls = {}
    for piece in (piece for delta in deltas(chunks) for piece in delta.get("tool_calls") or ()):
        call = calls.setdefault(piece["index"], {"arguments": ""})
        call |= {"id": piece["id"], "name": piece["function"]["name"]} if piece.get("id") else {}
        call["arguments"] += piece["function"].get("arguments") or ""
    assert [json.loads(call["arguments"]) for call in calls.values()] == [{"city": "Zürich"}] * 2
    assert len({call["id"] for call in calls.values()}) == 2
    assert {call["name"] for call in calls.values()} == {"get_weather"}


# Errors.

TROUBLES = [
    (Mode.BAD_REQUEST, {400}),
    (Mode.UNAUTHORIZED, {401, 403}),
    (Mode.NOT_FOUND, {404}),
    (Mode.RATE_LIMITED_RETRY_AFTER, {429}),
    (Mode.SERVER_ERROR, {500}),
    (Mode.OVERLOADED, {503, 529}),
]


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES])
@pytest.mark.parametrize(("mode", "statuses"), TROUBLES)
@pytest.mark.parametrize("kind", KINDS)
async def test_errors_come_in_the_dialect_of_the_endpoint(upstream_of, simulator, kind, mode, statuses, endpoint):
    simulator.behave(mode)
    answer = await ask(upstream_of(kind), endpoint, stream=True)
    assert answer.status in statuses and not answer.streamed
    assert answer.headers[b"content-type"].startswith(b"application/json")
    said = json.loads(answer.body)
    assert isinstance(said["error"]["message"], str) and said["error"]["message"]
    assert said.get("type") == ("error" if endpoint == MESSAGES else None)
    if mode is Mode.RATE_LIMITED_RETRY_AFTER:
        assert answer.headers[b"retry-after"] == b"7"
    answer.close()


async def test_an_error_of_a_service_with_an_accent_comes_as_openais(upstream, providers):
    upstream.behaviour = Behaviour(status=400, body=b'{"code":"Client specified an invalid argument","error":"No."}')
    spec = declared(upstream.url.removesuffix("/v1"), "openai", preset="xai")
    answer = await ask(providers.upstream("p", spec, "m"))
    assert answer.status == 400
    error = {"message": "No.", "type": "invalid_request_error", "param": None}
    assert json.loads(answer.body) == {"error": error | {"code": "Client specified an invalid argument"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES])
async def test_a_stream_that_is_cut_off_fails_or_lacks_its_end(upstream_of, simulator, kind, endpoint):
    simulator.behave(Mode.CLOSES_MIDWAY)
    with pytest.raises(UpstreamFailed) as raised:
        await relayed(await ask(upstream_of(kind), endpoint, stream=True))
    assert raised.value.reason is Reason.UPSTREAM_BROKEN
    simulator.behave(Mode.ENDS_EARLY)
    events = await relayed(await ask(upstream_of(kind), endpoint, stream=True))
    assert events[-1] != b"[DONE]" and events[-1].get("type") not in {"message_delta", "message_stop"}


@pytest.mark.parametrize("kind", TRANSLATED)
async def test_an_error_within_a_stream_is_raised(upstream_of, simulator, kind):
    simulator.behave(Mode.ERROR_MIDWAY)
    with pytest.raises(UpstreamError):
        await relayed(await ask(upstream_of(kind), stream=True))


@pytest.mark.parametrize("mode", [Mode.HTML, Mode.EMPTY, Mode.MALFORMED_JSON])
@pytest.mark.parametrize("kind", TRANSLATED)
async def test_a_whole_answer_that_cannot_be_read_is_an_error(upstream_of, simulator, kind, mode):
    simulator.behave(mode)
    with pytest.raises(UpstreamFailed) as raised:
        await ask(upstream_of(kind))
    assert raised.value.reason is Reason.UPSTREAM_INVALID


@pytest.mark.parametrize("kind", TRANSLATED)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_in_another_form_shows_it(upstream_of, simulator, kind, stream):
    """The gateway compares `streamed` with what was asked for."""
    simulator.behave(Mode.WRONG_CONTENT_TYPE)
    answer = await ask(upstream_of(kind), stream=stream)
    assert (answer.status, answer.streamed) == (200, not stream)
    answer.close()


# Messages.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_message_is_answered(upstream_of, simulator, kind):
    answer = await ask(upstream_of(kind), MESSAGES)
    said = json.loads(answer.body)
    assert (answer.status, answer.streamed, answer.notes, simulator.refused()) == (200, False, b"", [])
    assert (said["type"], said["role"], said["stop_reason"]) == ("message", "assistant", "end_turn")
    assert [(block["type"], block["text"]) for block in said["content"]] == [("text", WORDS)]
    assert (said["usage"]["input_tokens"], said["usage"]["output_tokens"]) == (25, 8)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_streamed_message_is_answered(upstream_of, simulator, kind):
    events = await relayed(await ask(upstream_of(kind), MESSAGES, stream=True))
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert (text, simulator.refused()) == (WORDS, [])
    if kind != "mistral":  # as above
        assert events[-2]["usage"]["output_tokens"] == 8


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_with_tools_go_there_and_back(upstream_of, simulator, kind):
    upstream = upstream_of(kind)
    tools = [{"name": "get_weather", "input_schema": SCHEMA}]
    said = json.loads((await ask(upstream, MESSAGES, tools=tools)).body)
    assert said["stop_reason"] == "tool_use"
    (block,) = said["content"]
    assert (block["type"], block["input"]) == ("tool_use", {"city": "Zürich"})
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": said["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}]},
    ]
    again = json.loads((await ask(upstream, MESSAGES, messages=history, tools=tools)).body)
    assert (again["content"][0]["text"], simulator.refused()) == (WORDS, [])


async def test_messages_reach_their_own_protocol_as_they_came(upstream_of, simulator):
    body = b'{"max_tokens":9, "model":"m" ,"messages":[{"content":"x","role":"user"}],"thinking":{"type":"disabled"}}'
    upstream = upstream_of("anthropic")
    headers = b"anthropic-beta: b\r\n"
    await upstream.call(MESSAGES, body, headers=headers, deadline_s=asyncio.get_running_loop().time() + 5)
    (request,) = simulator.requests
    assert (request.path, request.body) == ("/v1/messages", body)
    assert request.header("x-api-key") == "provider-key" and request.header("authorization") is None
    assert (request.header("anthropic-version"), request.header("anthropic-beta")) == ("2023-06-01", "b")


@pytest.mark.parametrize(
    ("kind", "limit"), [("openai", "max_tokens"), ("azure", "max_completion_tokens"), ("mistral", "max_tokens")]
)
async def test_the_limit_of_a_message_has_the_name_that_the_service_knows(upstream_of, simulator, kind, limit):
    await ask(upstream_of(kind), MESSAGES)
    fields = simulator.requests[0].json()
    assert {name for name in fields if name.startswith("max_")} == {limit} and fields[limit] == 64


async def test_a_provider_that_must_not_be_asked_for_usage_is_not(upstream_of, simulator):
    await relayed(await ask(upstream_of("openai", report_stream_usage=False), MESSAGES, stream=True))
    assert "stream_options" not in simulator.requests[0].json()


# What cannot be said.


@pytest.mark.parametrize("kind", TRANSLATED)
async def test_a_field_that_is_left_out_is_named(upstream_of, kind):
    answer = await ask(upstream_of(kind, unsupported="drop"), logit_bias={"1": 2}, **{"x\r\nset-cookie: a": 1})
    assert (answer.status, answer.notes) == (200, b"x-podium-dropped: logit_bias, other\r\n")
    streamed = await ask(upstream_of(kind, unsupported="drop"), logit_bias={"1": 2}, stream=True)
    assert streamed.notes == b"x-podium-dropped: logit_bias\r\n"
    await relayed(streamed)


@pytest.mark.parametrize("kind", TRANSLATED)
async def test_a_field_that_cannot_be_said_is_an_error_otherwise(upstream_of, simulator, kind):
    with pytest.raises(InvalidRequest) as raised:
        await ask(upstream_of(kind), logit_bias={"1": 2})
    assert (raised.value.reason, raised.value.parameter) == (Reason.UNSUPPORTED_PARAMETER, "logit_bias")
    assert not simulator.requests


async def test_what_two_translations_leave_out_adds_up(upstream_of):
    upstream = upstream_of("gemini", unsupported="drop")
    answer = await ask(upstream, MESSAGES, container="c", logit_bias={"1": 2})
    assert (answer.status, answer.notes) == (200, b"x-podium-dropped: container, logit_bias\r\n")


async def test_what_a_service_refuses_is_left_out_and_named_when_the_provider_says_so(upstream_of, simulator):
    answer = await ask(upstream_of("mistral", unsupported="drop"), logit_bias={"1": 2}, store=False)
    assert (answer.status, answer.notes) == (200, b"x-podium-dropped: logit_bias\r\n")
    assert simulator.requests[0].json().keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("kind", "endpoints"),
    [
        ("openai", {CHAT, "completions", "embeddings", MESSAGES}),
        ("anthropic", {CHAT, MESSAGES}),
        ("gemini", {CHAT, "embeddings", MESSAGES}),
        ("bedrock", {CHAT, MESSAGES}),
    ],
)
async def test_a_protocol_has_its_endpoints_and_no_others(upstream_of, simulator, kind, endpoints):
    upstream = upstream_of(kind)
    assert upstream.endpoints == endpoints
    for missing in {CHAT, "completions", "embeddings", MESSAGES, "images"} - endpoints:
        with pytest.raises(InvalidRequest) as raised:
            await ask(upstream, missing)
        assert raised.value.reason is Reason.ENDPOINT_NOT_SUPPORTED
    assert not simulator.requests


# Where a request goes and who sends it.


async def test_azure_is_called_by_deployment(upstream_of, simulator):
    for kind in ("azure", "azure-dated"):
        for endpoint, fields in ((CHAT, {}), ("embeddings", {"input": "x"})):
            await ask(upstream_of(kind, model="my deployment/1"), endpoint, **fields)
    assert [request.path for request in simulator.requests] == [
        "/openai/v1/chat/completions",
        "/openai/v1/embeddings",
        "/openai/deployments/my%20deployment%2F1/chat/completions?api-version=2024-10-21",
        "/openai/deployments/my%20deployment%2F1/embeddings?api-version=2024-10-21",
    ]
    assert {request.header("api-key") for request in simulator.requests} == {"provider-key"}
    assert {request.header("authorization") for request in simulator.requests} == {None}


@pytest.mark.parametrize("root", ["", "/openai", "/openai/v1", "/openai/v1/"])
async def test_azures_base_url_may_be_given_in_every_usual_form(simulator, providers, root):
    url = simulator.base_url().removesuffix("/v1")
    await ask(providers.upstream("p", declared(url, "azure", base_url=url + root), "m"))
    assert simulator.requests[0].path == "/openai/v1/chat/completions"


async def test_gemini_is_called_by_model_and_method(upstream_of, simulator):
    upstream = upstream_of("gemini", model="gemini-2.5-flash")
    await ask(upstream)
    await relayed(await ask(upstream, stream=True))
    assert [request.path for request in simulator.requests] == [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    ]
    assert {request.header("x-goog-api-key") for request in simulator.requests} == {"provider-key"}


async def test_bedrock_is_called_by_model_and_signed(upstream_of, simulator):
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/x"
    await ask(upstream_of("bedrock", model=arn))
    await relayed(await ask(upstream_of("bedrock", model=arn), stream=True))
    encoded = "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Fx/"
    assert [request.path for request in simulator.requests] == [f"{encoded}converse", f"{encoded}converse-stream"]
    for request in simulator.requests:
        assert request.header("authorization").startswith(f"AWS4-HMAC-SHA256 Credential={AWS_KEY}/")
        assert "/eu-west-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, " in request.header("authorization")
        assert (request.refused, request.header("x-amz-security-token")) == (None, None)


async def test_bedrocks_temporary_keys_and_api_keys_are_sent(upstream_of, simulator):
    secrets = {name: SecretRef(env=f"TEST_{name}") for name in ("AWS_ID", "AWS_SECRET", "TOKEN")}
    temporary = Aws(
        region="us-east-1",
        access_key_id=secrets["AWS_ID"],
        secret_access_key=secrets["AWS_SECRET"],
        session_token=secrets["TOKEN"],
    )
    await ask(upstream_of("bedrock", aws=temporary))
    assert simulator.requests[0].header("x-amz-security-token") == "token"
    assert "host;x-amz-date;x-amz-security-token" in simulator.requests[0].header("authorization")
    await ask(upstream_of("bedrock-key"))
    assert simulator.requests[1].header("authorization") == "Bearer provider-key"
    assert simulator.refused() == []


class NoCredentials:
    """A signer that waits for credentials forever (podium.upstreams.aws_signature.Signer)."""

    async def ready(self):
        await asyncio.get_running_loop().create_future()

    def headers(self, method, path, body, unix_s):
        raise AssertionError


async def test_credentials_that_do_not_come_cost_no_more_than_the_exchange_may_take():
    account = Account(pool=None, base_path=b"", head=b"", total_s=1.0, signer=NoCredentials())
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    deadline_s = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(UpstreamTimeout) as raised:
        await BedrockUpstream("p", "m", account).call(CHAT, body, headers=b"", deadline_s=deadline_s)
    assert raised.value.reason is Reason.UPSTREAM_UNREACHABLE, "nothing was sent: another backend may be asked"


# Gemini's embeddings, which the simulator does not have.


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_of_gemini_come_as_openais(upstream, providers, encoding):
    vectors = [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}]
    answered = {"embeddings": vectors, "usageMetadata": {"promptTokenCount": 3}}
    upstream.behaviour = Behaviour(body=json.dumps(answered).encode())
    spec = declared(upstream.url.removesuffix("/v1"), "gemini")
    one = providers.upstream("p", spec, "gemini-embedding-001")
    answer = await ask(one, "embeddings", input=["a", "b"], encoding_format=encoding, messages=None)
    said = json.loads(answer.body)
    assert upstream.requests[0].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert [text["content"]["parts"] for text in upstream.requests[0].json()["requests"]] == [
        [{"text": "a"}],
        [{"text": "b"}],
    ]
    got = [entry["embedding"] for entry in said["data"]]
    if encoding == "base64":
        got = [list(struct.unpack("<2f", base64.b64decode(packed))) for packed in got]
    assert got == [vector["values"] for vector in vectors]
    upstream.behaviour = Behaviour(body=b'{"embeddings":[]}')
    with pytest.raises(UpstreamFailed):
        await ask(one, "embeddings", input="a")
    upstream.behaviour = Behaviour(
        status=400, body=b'{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}'
    )
    assert json.loads((await ask(one, "embeddings", input="a")).body)["error"]["message"] == "no"
