"""Anthropic's dialect at each stage: its keys, its errors, its streams' ends. What OpenAI's callers see is in test_flight."""

import json

import msgspec
import pytest

from podium.core.resources import Tenant
from podium.gateway.faces import face_of
from podium.identity.keys import ApiKey
from podium.testing.gateway import TEST_KEY, limit_policy
from podium.testing.openai_requests import request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import Mode

MESSAGE = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
WRONG = ApiKey(TEST_KEY.id, "t" * 40).text


def said(answer):
    """Type, our reason and the field of an error, which must have Anthropic's shape."""
    body = answer.json()
    assert answer.header("content-type") == "application/json"
    assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
    assert body["request_id"] == answer.header("x-request-id")
    assert body["error"]["message"]
    return body["error"]["type"], body["error"].get("code"), body["error"].get("param")


async def send(stage, body=None, *, key=TEST_KEY.text, **request):
    data = json.dumps(MESSAGE).encode() if body is None else body
    async with await RawConnection.open(stage.gateway.port) as client:
        await client.send(request_bytes(data, path="/v1/messages", key=key, **request))
        return await client.read_response()


def change(stage, **parts):
    """Install the snapshot with other parts."""
    snapshot = stage.gateway.follower.current.snapshot
    stage.gateway.follower.install(msgspec.structs.replace(snapshot, **parts))


# Keys.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_may_come_as_anthropics_clients_send_it(stage, stream):
    await stage.serve(m="a")
    answer = await stage.ask(to="messages", key=None, headers={"x-api-key": TEST_KEY.text}, stream=stream)
    assert answer.status == 200
    assert (await stage.event()).key_id == TEST_KEY.id


async def test_a_key_in_anthropics_header_opens_the_other_endpoints_too(stage):
    await stage.serve(m="a")
    assert (await stage.ask(key=None, headers={"x-api-key": TEST_KEY.text})).status == 200


async def test_no_caller_header_with_a_key_goes_upstream(stage):
    await stage.serve(m="a", providers={"a": {"protocol": "anthropic"}})
    await stage.ask(to="messages", key=None, headers={"x-api-key": TEST_KEY.text})
    (request,) = stage["a"].requests
    assert TEST_KEY.secret not in repr(request.headers)


@pytest.mark.parametrize(
    ("key", "headers", "reason"),
    [
        (None, {}, "missing_api_key"),
        (None, {"x-api-key": "sk-ant-something"}, "invalid_api_key"),
        (None, {"x-api-key": WRONG}, "invalid_api_key"),
        (None, {"x-api-key": ""}, "invalid_api_key"),
        (WRONG, {"x-api-key": TEST_KEY.text}, "invalid_api_key"),  # the usual header counts
    ],
)
async def test_who_is_not_identified_hears_it_in_anthropics_words(stage, key, headers, reason):
    await stage.serve(m="a")
    answer = await send(stage, key=key, headers=headers)
    assert (answer.status, said(answer)) == (401, ("authentication_error", reason, None))


# Each stage's refusal.


async def test_a_suspended_tenant_is_refused(stage):
    await stage.serve(m="a")
    change(stage, tenants={"test": Tenant(suspended=True)})
    answer = await send(stage)
    assert (answer.status, said(answer)) == (403, ("permission_error", "tenant_suspended", None))


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"{", 400, ("invalid_request_error", "invalid_json", None)),
        (b"\xff", 400, ("invalid_request_error", "invalid_json", None)),
        (MESSAGE | {"messages": []}, 400, ("invalid_request_error", "invalid_request", "messages")),
        (MESSAGE | {"max_tokens": "9"}, 400, ("invalid_request_error", "invalid_request", "max_tokens")),
        (MESSAGE | {"model": "unknown"}, 404, ("not_found_error", "model_not_found", "model")),
        (MESSAGE | {"model": "e"}, 400, ("invalid_request_error", "endpoint_not_supported", "model")),
    ],
)
async def test_what_a_request_gets_wrong_is_told_in_anthropics_words(stage, body, status, error):
    await stage.serve(m="a", e=stage.model("a", endpoints=("embeddings",)))
    answer = await send(stage, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (answer.status, said(answer)) == (status, error)
    assert stage.calls("a") == [0]


async def test_other_stages_speak_anthropic_too(stage):
    await stage.serve(m="a", drained="a*0")
    answer = await send(stage, content_type="text/plain")
    assert (answer.status, said(answer)[:2]) == (415, ("invalid_request_error", "unsupported_media_type"))
    answer = await send(stage, headers={"content-length": "99999999999"})
    assert (answer.status, said(answer)[:2]) == (413, ("request_too_large", "request_too_large"))
    answer = await send(stage, method="PUT")
    assert (answer.status, said(answer)[:2]) == (405, ("invalid_request_error", "method_not_allowed"))
    answer = await send(stage, headers={"x-podium-timeout-ms": "soon"})
    assert (answer.status, said(answer)[:2]) == (400, ("invalid_request_error", "invalid_request"))
    stage.gateway.journal.accepting = False
    answer = await send(stage)
    assert (answer.status, said(answer)[:2]) == (503, ("overloaded_error", "journal_unavailable"))
    stage.gateway.journal.accepting = True
    stage.gateway.follower.current = None
    answer = await send(stage)
    assert (answer.status, said(answer)[:2]) == (503, ("overloaded_error", "not_ready"))


async def test_a_used_up_limit_speaks_anthropic(stage):
    await stage.serve(m="a")
    change(stage, limit_policies={"tight": limit_policy(requests=1)})
    assert (await send(stage)).status == 200
    answer = await send(stage)
    assert (answer.status, said(answer)) == (429, ("rate_limit_error", "requests_limited", None))
    assert answer.header("retry-after")


async def test_no_backend_speaks_anthropic(stage):
    await stage.serve(m="a*0")
    answer = await send(stage)
    assert (answer.status, said(answer)) == (503, ("overloaded_error", "no_backend", None))


async def test_a_bug_of_ours_speaks_anthropic(stage, monkeypatch):
    await stage.serve(m="a")

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("podium.gateway.call.Call._facts", broken)
    monkeypatch.setattr("podium.gateway.pool.Pool.only", broken)
    answer = await send(stage)
    assert (answer.status, said(answer)) == (500, ("api_error", "internal_error", None))


# What upstreams do.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    ("mode", "status", "error"),
    [
        (Mode.SERVER_ERROR, 502, ("api_error", "upstream_error", None)),
        (Mode.UNAVAILABLE, 503, ("overloaded_error", "upstream_error", None)),
        (Mode.RATE_LIMITED, 429, ("rate_limit_error", "upstream_rate_limited", None)),
        (Mode.HTML, 502, ("api_error", "upstream_invalid", None)),
        (Mode.CLOSES_AT_START, 502, ("api_error", "upstream_broken", None)),
    ],
)
async def test_a_failed_upstream_is_told_in_anthropics_words(stage, mode, status, error, protocol, stream):
    failure = {"retries": {"attempts": 1}}
    await stage.serve(m=stage.model("a", failure=failure), providers={"a": {"protocol": protocol}})
    stage["a"].behave(mode)
    answer = await stage.ask(to="messages", stream=stream)
    assert (answer.status, said(answer)) == (status, error)


@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini"])
async def test_the_upstreams_words_about_a_wrong_request_come_in_anthropics_shape(stage, protocol):
    await stage.serve(m="a", providers={"a": {"protocol": protocol}})
    stage["a"].behave(Mode.CONTEXT_TOO_LONG)
    answer = await stage.ask(to="messages")
    body = answer.json()
    assert (answer.status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert "token" in body["error"]["message"]


@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    ("mode", "reason"), [(Mode.RESETS_MIDWAY, "upstream_broken"), (Mode.ERROR_MIDWAY, "upstream_error")]
)
async def test_a_stream_that_breaks_ends_with_anthropics_error_event(stage, mode, reason, protocol):
    await stage.serve(m="a", providers={"a": {"protocol": protocol}})
    stage["a"].behave(f"{mode},between=2ms")  # else all comes at once, and nothing has begun
    answer = await stage.ask(to="messages", stream=True)
    assert answer.status == 200
    blocks = answer.body.decode().strip().split("\n\n")
    assert blocks[0].startswith("event: message_start\n")
    name, data = blocks[-1].split("\n")
    assert name == "event: error"
    error = json.loads(data.removeprefix("data: "))
    assert (error["type"], error["error"]["code"]) == ("error", reason)
    assert "message_stop" not in answer.body.decode()


async def test_an_answer_that_cannot_be_recorded_ends_with_anthropics_error_event(stage):
    await stage.serve(m="a")
    stage.gateway.journal.failure = OSError("disk full")
    answer = await stage.ask(to="messages", stream=True)
    assert json.loads(answer.events()[-1])["error"]["code"] == "journal_unavailable"


# The faces as such.


@pytest.mark.parametrize("endpoint", ["chat.completions", "completions", "embeddings", "messages"])
def test_each_endpoint_has_its_face(endpoint):
    face = face_of(endpoint)
    assert face is face_of(endpoint)
    assert (face is face_of("other")) == (endpoint == "chat.completions")


def test_each_stream_has_a_reader_of_its_own():
    face = face_of("messages")
    assert face.stream_reader() is not face.stream_reader()
