"""Flags that the gateway itself goes by."""

import httpx
import msgspec
import pytest

from podium.core.flags import Flag
from podium.testing.gateway import gateway_snapshot, running_gateway
from podium.testing.openai_requests import chat_body
from podium.testing.upstream import ScriptedUpstream

LENGTH = {
    "type": "number",
    "variants": {"all": 10**7, "short": 100, "tiny": 5.5},
    "default": "short",
    "off": "all",
    "rules": [
        {"when": [{"attribute": "user", "in": ["ann"]}], "variant": "all"},
        {"when": [{"attribute": "tag:team", "in": ["ops"]}, {"attribute": "endpoint", "in": ["chat.completions"]}], "variant": "all"},
        {"when": [{"attribute": "targetingKey", "in": ["chat-7"]}, {"attribute": "model", "in": ["test-model"]}], "variant": "tiny"},
    ],
}  # fmt: skip


@pytest.fixture
async def upstream():
    async with ScriptedUpstream() as running:
        yield running


def snapshot(upstream, spec):
    flags = {} if spec is None else {"max_context_length": msgspec.convert(spec, Flag)}
    return gateway_snapshot(upstream.url, flags=flags)


async def ask(gateway, words, path="/v1/chat/completions", user=None, **headers):
    body = {"model": "test-model", "messages": [{"role": "user", "content": "word " * words}], "max_tokens": 9}
    if user:
        body["user"] = user
    sent = {"authorization": f"Bearer {gateway.api_key}"} | headers
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(gateway.url + path, json=body, headers=sent)


async def test_a_request_that_is_too_long_is_refused_before_it_costs_anything(upstream):
    async with running_gateway(snapshot(upstream, LENGTH)) as gateway:
        assert (await ask(gateway, 20)).status_code == 200
        refused = await ask(gateway, 1000)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"
        assert refused.json()["error"]["type"] == "invalid_request_error"
        assert "at most 100 are allowed" in refused.json()["error"]["message"]
        assert [one.reason for one in gateway.events] == ["ok", "context_length_exceeded"]
        assert gateway.events[1].attempts == 0
        anthropic = await ask(gateway, 1000, "/v1/messages")
        assert (anthropic.status_code, anthropic.json()["type"]) == (400, "error")
        assert gateway.flight.flag_counts.totals() == {("max_context_length", "short", "gateway"): 3}


async def test_the_flag_knows_user_tags_session_model_and_endpoint(upstream):
    async with running_gateway(snapshot(upstream, LENGTH)) as gateway:
        assert (await ask(gateway, 1000, user="ann")).status_code == 200
        assert (await ask(gateway, 1000, **{"x-podium-tags": "team=ops"})).status_code == 200
        assert (await ask(gateway, 20, **{"x-podium-session": "chat-7"})).status_code == 400
        assert (await ask(gateway, 20, user="bob", **{"x-podium-session": "chat-7"})).status_code == 200


@pytest.mark.parametrize(
    "spec",
    [None, LENGTH | {"enabled": False}, LENGTH | {"rules": [{"split": {"tiny": 100}, "by": "device"}]}],
    ids=["not declared", "not enabled", "cannot be evaluated"],
)
async def test_without_it_nothing_is_too_long(upstream, spec):
    async with running_gateway(snapshot(upstream, spec)) as gateway:
        assert (await ask(gateway, 1000)).status_code == 200


async def test_other_flags_are_not_evaluated_in_exchanges(upstream):
    flags = {"beta": msgspec.convert({"type": "boolean"}, Flag)}
    async with running_gateway(gateway_snapshot(upstream.url, flags=flags)) as gateway:
        async with httpx.AsyncClient(trust_env=False) as http:
            sent = {"authorization": f"Bearer {gateway.api_key}", "content-type": "application/json"}
            answer = await http.post(
                f"{gateway.url}/v1/chat/completions", content=chat_body("test-model"), headers=sent
            )
        assert answer.status_code == 200
        assert gateway.flight.flag_counts.uses() == ()
