"""`/v1/models`, and the probes beside it."""

import json
from urllib.parse import quote

import msgspec
import pytest

from podium.core.resources import Model, Tenant
from podium.testing.gateway import TEST_KEY, gateway_snapshot, running_gateway
from podium.testing.openai_requests import openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.waiting import eventually

MODELS = {
    "small": Model(version="v", aliases=("gpt-4o", "org/small:latest")),
    "org/large": Model(version="v", owned_by="acme"),
    "b@d:name_.-": Model(version="v"),
}
ALL = ["b@d:name_.-", "org/large", "small", "gpt-4o", "org/small:latest"]


def snapshot_of(*, key_models=("*",), tenant_models=("*",), **key):
    snapshot = gateway_snapshot()
    entry = msgspec.structs.replace(next(iter(snapshot.keys)), models=key_models, **key)
    tenants = {"test": Tenant(models=tenant_models)}
    return msgspec.structs.replace(snapshot, models=MODELS, keys=(entry,), tenants=tenants, published_unix_s=77.9)


async def get(gateway, path, *, key=TEST_KEY.text, method="GET"):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(request_bytes(method=method, path=path, key=key))
        return await client.read_response(method=method)


def ids(answer):
    return [model["id"] for model in answer.json()["data"]]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/v1/models?limit=1"])
async def test_all_models_and_aliases_are_listed(path):
    async with running_gateway(snapshot_of()) as gateway:
        answer = await get(gateway, path)
        assert answer.status == 200 and answer.json()["object"] == "list"
        assert ids(answer) == ALL
        large = next(model for model in answer.json()["data"] if model["id"] == "org/large")
        assert large == {"id": "org/large", "object": "model", "created": 77, "owned_by": "acme"}
        await eventually(lambda: gateway.events)
        (event,) = gateway.journal.events
        assert (event.endpoint, event.status, event.reason, event.bytes_out) == ("models", 200, "ok", len(answer.body))
        assert (event.model, event.cost_nanousd, event.attempts) == ("", 0, 0)


@pytest.mark.parametrize(
    ("key_models", "tenant_models", "shown"),
    [
        (("small",), ("*",), ["small", "gpt-4o", "org/small:latest"]),
        (("*",), ("org/*",), ["org/large", "org/small:latest"]),
        (("gpt-*",), ("*",), ["gpt-4o"]),
        (("gpt-4o",), ("small",), []),
        (("none",), ("*",), []),
        ((), ("*",), []),
    ],
)
async def test_what_is_listed_is_what_can_be_asked_for(key_models, tenant_models, shown):
    async with running_gateway(snapshot_of(key_models=key_models, tenant_models=tenant_models)) as gateway:
        assert ids(await get(gateway, "/v1/models")) == shown
        for name in ALL:
            answer = await get(gateway, f"/v1/models/{quote(name, safe='')}")
            assert answer.status == (200 if name in shown else 404), name


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("safe", ["", "/", "/:@"])
async def test_one_model_is_found_by_its_name_however_it_is_encoded(name, safe):
    async with running_gateway(snapshot_of()) as gateway:
        answer = await get(gateway, f"/v1/models/{quote(name, safe=safe)}?x=1")
        assert answer.status == 200
        assert answer.json()["id"] == name


@pytest.mark.parametrize("path", ["Small", "small/", "%73mall%00", "%ff%fe", "%", "..%2Fsmall", "unknown", "x" * 5000])
async def test_a_model_that_is_not_there_is_not_found(path):
    async with running_gateway(snapshot_of()) as gateway:
        answer = await get(gateway, f"/v1/models/{path}")
        assert answer.status == 404
        assert openai_error(answer)["code"] == "model_not_found"
        assert len(answer.body) < 1000
        await eventually(lambda: gateway.events)
        assert len(gateway.events[0].model) <= 128


async def test_a_hidden_model_and_a_missing_one_look_the_same():
    async with running_gateway(snapshot_of(key_models=("small",))) as gateway:
        hidden, missing = await get(gateway, "/v1/models/org%2Flarge"), await get(gateway, "/v1/models/org%2Fnone1")
        assert hidden.body.replace(b"org/large", b"") == missing.body.replace(b"org/none1", b"")


async def test_models_need_a_key_that_may_list_them():
    async with running_gateway(snapshot_of(endpoints=("chat.completions",))) as gateway:
        assert (await get(gateway, "/v1/models", key=None)).status == 401
        answer = await get(gateway, "/v1/models/small")
        assert (answer.status, openai_error(answer)["code"]) == (403, "endpoint_not_allowed")


async def test_head_is_get_without_the_body():
    async with running_gateway(snapshot_of()) as gateway:
        whole, head = await get(gateway, "/v1/models"), await get(gateway, "/v1/models", method="HEAD")
        assert head.status == 200 and head.body == b""
        assert head.header("content-length") == str(len(whole.body))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/small"])
@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_models_cannot_be_changed_here(path, method):
    async with running_gateway(snapshot_of()) as gateway:
        answer = await get(gateway, path, method=method)
        assert (answer.status, openai_error(answer)["code"]) == (405, "method_not_allowed")


async def test_a_path_that_only_begins_alike_is_none():
    async with running_gateway(snapshot_of()) as gateway:
        for path in ("/v1/modelsx", "/v1", "/", "/v1/chat/completions/", "//v1/models", "/V1/models"):
            answer = await get(gateway, path)
            assert (answer.status, openai_error(answer)["code"]) == (404, "route_not_found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_need_no_key_and_leave_no_event(path):
    async with running_gateway(snapshot_of()) as gateway:
        assert (await get(gateway, path, key=None)).status == 200
        assert (await get(gateway, f"{path}?x=1", key=None)).status == 200
        head = await get(gateway, path, key=None, method="HEAD")
        assert head.status == 200 and head.body == b""
        assert gateway.events == [] and gateway.journal.events == []


async def test_readiness_says_what_is_there():
    async with running_gateway(snapshot_of()) as gateway:
        answer = json.loads((await get(gateway, "/readyz", key=None)).body)
        assert answer == {"ready": True, "parts": [{"name": "test", "ready": True}]}


async def test_healthz_holds_while_nothing_else_does():
    async with running_gateway(snapshot_of()) as gateway:
        gateway.follower.current = None
        gateway.journal.accepting = False
        assert (await get(gateway, "/healthz", key=None)).status == 200
        assert (await get(gateway, "/v1/models")).status == 503
