"""The life of an exchange: every way out ends in one event, and gives back what it took."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest

from podium.core.event import encode_event
from podium.core.registry import Tool
from podium.core.resources import Model, Tenant, Timeouts
from podium.core.snapshot import KeyEntry, KeySecret
from podium.gateway.fleet import Fleet
from podium.gateway.settings import GatewaySettings
from podium.gateway.world import World
from podium.identity.keys import ApiKey, digest_secret
from podium.testing.behaviour import BAD, Behaviour, Cut
from podium.testing.clock import TestClock
from podium.testing.gateway import TEST_KEY, gateway_snapshot, limit_policy, running_gateway
from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually

HIGH = limit_policy(requests=1000, tokens=1_000_000, concurrency=100)
BROADCAST = Timeouts(connect_s=1.0, first_byte_s=2.0, between_bytes_s=2.0, total_s=5.0)


def snapshot_of(url, **declared):
    return gateway_snapshot(url, **{"models": ("m",), "timeouts": BROADCAST, "limits": {"all": HIGH}} | declared)


@asynccontextmanager
async def gateway_for(snapshot, **options):
    """A gateway that has nothing running and has told nothing twice when the block ends."""
    async with running_gateway(snapshot, **options) as gateway:
        yield gateway
        await eventually(lambda: gateway.in_flight == 0)
        ids = [event.id for event in gateway.events]
        assert len(set(ids)) == len(ids)
        assert {event.id for event in gateway.journal.events} <= set(ids)


async def ask(gateway, body=None, *, key=TEST_KEY.text, **request):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(request_bytes(chat_body() if body is None else body, key=key, **request))
        return await client.read_response()


async def only_event(gateway):
    await eventually(lambda: gateway.events)
    (event,) = gateway.events
    return event


def running(gateway):
    """Exchanges that hold a place in a limit."""
    limiter = gateway.flight.admitter.limits
    return sum(state.flying + len(getattr(state, "_leases", ())) for state in limiter._states.values())


def used(gateway):
    """Requests and tokens that are charged now, in whole units."""
    debts = {
        state.bucket.what: state._debt / state._unit
        for state in gateway.flight.admitter.limits._states.values()
        if state.bucket.what != "concurrency"
    }
    return round(debts.get("requests", 0)), debts.get("tokens", 0)


def key_entry(**changes):
    secret = KeySecret(digest=digest_secret(bytes(32), TEST_KEY.secret))
    return msgspec.structs.replace(KeyEntry(id=TEST_KEY.id, tenant="test", name="test", secrets=(secret,)), **changes)


# Each stage's refusal.

UNKNOWN = ApiKey("unknownkey00", "s" * 40).text
WRONG = ApiKey(TEST_KEY.id, "t" * 40).text


@pytest.mark.parametrize(
    ("key", "status", "reason"),
    [
        (None, 401, "missing_api_key"),
        ("sk-proj-something", 401, "invalid_api_key"),
        ("", 401, "invalid_api_key"),
        (UNKNOWN, 401, "invalid_api_key"),
        (WRONG, 401, "invalid_api_key"),
        ("pk_\u00e9", 401, "invalid_api_key"),
    ],
)
async def test_who_is_not_identified_is_counted_but_not_kept(upstream, key, status, reason):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway, key=key)
        assert answer.status == status
        assert openai_error(answer)["code"] == reason
        assert answer.header("www-authenticate") == "Bearer"
        event = await only_event(gateway)
        assert (event.status, event.reason, event.fault, event.tenant, event.key_id) == (
            status,
            reason,
            "caller",
            "",
            "",
        )
        assert gateway.journal.events == []
        assert not upstream.requests


@pytest.mark.parametrize(
    ("entry", "tenants", "status", "reason", "kept"),
    [
        (key_entry(revoked_unix_s=1.0), None, 401, "revoked_api_key", False),
        (key_entry(expires_unix_s=1.0), None, 401, "expired_api_key", False),
        (key_entry(endpoints=("embeddings",)), None, 403, "endpoint_not_allowed", True),
        (key_entry(), {"test": Tenant(suspended=True)}, 403, "tenant_suspended", True),
        (key_entry(), {}, 403, "tenant_suspended", True),
        (key_entry(models=("other",)), None, 404, "model_not_found", True),
        (key_entry(), {"test": Tenant(models=("other",))}, 404, "model_not_found", True),
    ],
)
async def test_what_a_key_may_not_do_ends_with_the_reason(upstream, entry, tenants, status, reason, kept):
    snapshot = snapshot_of(upstream.url, key=entry)
    if tenants is not None:
        snapshot = msgspec.structs.replace(snapshot, tenants=tenants)
    async with gateway_for(snapshot) as gateway:
        answer = await ask(gateway)
        assert (answer.status, openai_error(answer)["code"]) == (status, reason)
        event = await only_event(gateway)
        assert (event.status, event.reason, event.fault) == (status, reason, "caller")
        assert gateway.journal.events == ([event] if kept else [])
        assert not upstream.requests


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"body": b"{"}, 400, "invalid_json"),
        ({"body": b'{"model":"m","messages":[]}'}, 400, "invalid_request"),
        ({"content_type": "text/plain"}, 415, "unsupported_media_type"),
        ({"body": chat_body("unknown")}, 404, "model_not_found"),
        ({"body": b'{"model":"m","input":"x"}', "path": "/v1/embeddings"}, 400, "endpoint_not_supported"),
        ({"headers": {"content-length": "99999999999"}}, 413, "request_too_large"),
    ],
)
async def test_what_a_request_gets_wrong_ends_with_the_reason(upstream, request_, status, reason):
    snapshot = snapshot_of(upstream.url)
    models = {"m": msgspec.structs.replace(snapshot.models["m"], endpoints=("chat.completions",))}
    async with gateway_for(msgspec.structs.replace(snapshot, models=models)) as gateway:
        answer = await ask(gateway, **request_)
        assert (answer.status, openai_error(answer)["code"]) == (status, reason)
        event = await only_event(gateway)
        assert gateway.journal.events == [event]
        assert (event.status, event.reason, event.fault, event.attempts) == (status, reason, "caller", 0)
        assert (event.admitted_ns, event.upstream_ns, event.first_byte_ns) == (-1, -1, -1)
        assert event.cost_nanousd == 0 and not upstream.requests


async def test_without_a_snapshot_nothing_is_served(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        gateway.follower.current = None
        answer = await ask(gateway)
        assert (answer.status, openai_error(answer)["code"], answer.header("retry-after")) == (503, "not_ready", "1")
        assert (await only_event(gateway)).fault == "podium"


async def test_a_version_without_a_backend_gives_the_limits_back(upstream):
    snapshot = msgspec.structs.replace(snapshot_of(upstream.url), providers={})
    async with gateway_for(snapshot) as gateway:
        answer = await ask(gateway)
        assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
        assert (await only_event(gateway)).reason == "no_backend"
        assert used(gateway) == (0, 0) and running(gateway) == 0


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (limit_policy(requests=1), "requests_limited"),
        (limit_policy(tokens=300), "tokens_limited"),
    ],
)
async def test_a_used_up_limit_refuses_and_says_when_to_come_back(upstream, policy, reason):
    upstream.behaviour = Behaviour(chunks=250)
    async with gateway_for(snapshot_of(upstream.url, limits={"tight": policy})) as gateway:
        first = await ask(gateway, chat_body(max_tokens=200))
        assert first.status == 200
        answer = await ask(gateway, chat_body(max_tokens=200))
        assert (answer.status, openai_error(answer)["code"]) == (429, reason)
        assert 1 <= int(answer.header("retry-after")) <= 60
        await eventually(lambda: len(gateway.events) == 2)
        assert [event.reason for event in gateway.events] == ["ok", reason]
        assert len(upstream.requests) == 1


async def test_concurrency_is_a_limit_until_the_last_byte(upstream):
    upstream.behaviour = Behaviour(cut=Cut("middle", "stall"))
    async with gateway_for(snapshot_of(upstream.url, limits={"one": limit_policy(concurrency=1)})) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body(stream=True), key=TEST_KEY.text))
            await client.read_head()
            answer = await ask(gateway)
            assert (answer.status, openai_error(answer)["code"]) == (429, "concurrency_limited")
        await eventually(lambda: running(gateway) == 0)
        upstream.behaviour = Behaviour()
        assert (await ask(gateway)).status == 200


# Limits, settled.


@pytest.mark.parametrize("stream", [False, True])
async def test_limits_are_corrected_to_what_was_used(upstream, stream):
    async with gateway_for(snapshot_of(upstream.url), clock=TestClock()) as gateway:
        answer = await ask(gateway, chat_body(stream=stream, max_tokens=1000))
        assert answer.status == 200
        event = await only_event(gateway)
        assert used(gateway) == (1, event.input_tokens + event.output_tokens)
        assert running(gateway) == 0
        assert answer.header("x-ratelimit-limit-requests") == "1000"
        assert answer.header("x-ratelimit-remaining-requests") == "999"
        assert int(answer.header("x-ratelimit-remaining-tokens")) <= 1_000_000 - 1000
        assert answer.header("x-ratelimit-reset-tokens")


@pytest.mark.parametrize("name", ["rate-limited", "unauthorized", "bad-request", "redirect", "unavailable"])
async def test_a_refusing_upstream_costs_nothing_of_the_limits(upstream, name):
    upstream.behaviour = BAD[name]
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        assert (await ask(gateway)).status >= 400
        event = await only_event(gateway)
        assert (event.input_tokens, event.output_tokens, event.cost_nanousd) == (0, 0, 0)
        assert used(gateway) == (0, 0) and running(gateway) == 0


async def test_a_busy_upstream_costs_nothing_of_the_limits(upstream, monkeypatch):
    monkeypatch.setattr("podium.upstreams.pool._MAX_WAITING", 0)
    snapshot = snapshot_of(upstream.url)
    providers = {name: msgspec.structs.replace(one, max_connections=1) for name, one in snapshot.providers.items()}
    upstream.behaviour = Behaviour(cut=Cut("middle", "stall"))
    async with (
        gateway_for(msgspec.structs.replace(snapshot, providers=providers), clock=TestClock()) as gateway,
        await RawConnection.open(gateway.port) as client,
    ):
        await client.send(request_bytes(chat_body(stream=True), key=TEST_KEY.text))
        await client.read_head()
        answer = await ask(gateway)
        assert answer.status == 503 and answer.header("retry-after") == "1"
        assert used(gateway)[0] == 1
        assert len(upstream.requests) == 1
        client.close()


async def test_a_broken_stream_is_counted_by_what_it_gave(upstream):
    upstream.behaviour = Behaviour(cut=Cut("middle", "reset"), chunks=100)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        await ask(gateway, chat_body(stream=True))
        event = await only_event(gateway)
        assert event.tokens_estimated and event.output_tokens > 40 and event.input_tokens > 0
        assert event.cost_nanousd == event.input_tokens * 1000 + event.output_tokens * 2000
        assert event.price == "test"
        assert running(gateway) == 0


# The journal.


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_recorded_is_withheld(upstream, stream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        gateway.journal.failure = OSError("disk full")
        answer = await ask(gateway, chat_body(stream=stream))
        if stream:
            *_, last = answer.events()
            assert json.loads(last)["error"]["code"] == "journal_unavailable"
            assert "[DONE]" not in answer.body.decode()
        else:
            assert (answer.status, openai_error(answer)["code"]) == (503, "journal_unavailable")
        event = await only_event(gateway)
        assert (event.status, event.reason, event.fault) == (503, "journal_unavailable", "podium")
        assert running(gateway) == 0


async def test_while_nothing_can_be_recorded_nothing_is_begun(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        gateway.journal.accepting = False
        answer = await ask(gateway)
        assert (answer.status, openai_error(answer)["code"]) == (503, "journal_unavailable")
        assert answer.header("retry-after")
        assert gateway.journal.events == [] and not upstream.requests
        assert (await only_event(gateway)).reason == "journal_unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_last_byte_waits_for_the_journal(upstream, stream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        waiting = []
        gateway.journal.append = lambda record, written: waiting.append(written)
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body(stream=stream), key=TEST_KEY.text))
            await eventually(lambda: waiting)
            assert gateway.events == []
            if stream:
                await client.read_until(b'"finish_reason": "stop"')
                assert b"[DONE]" not in client._buffer
            waiting[0](None)
            if stream:
                await client.read_until(b"data: [DONE]\n\n")
            else:
                assert (await client.read_response()).status == 200
        assert len(gateway.events) == 1


# Callers that go away.


@pytest.mark.parametrize("goes", ["close", "reset"])
async def test_a_caller_that_goes_during_its_body_leaves_an_event(upstream, goes):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        client = await RawConnection.open(gateway.port)
        await client.send(request_bytes(b"{", key=TEST_KEY.text, headers={"content-length": "100"}))
        await eventually(lambda: gateway.in_flight)
        getattr(client, goes)()
        event = await only_event(gateway)
        assert (event.status, event.reason, event.fault, event.cost_nanousd) == (499, "client_gone", "caller", 0)
        assert gateway.journal.events == [event]
        assert not upstream.requests


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_while_the_model_works_is_charged_for_its_request(upstream, stream):
    upstream.behaviour = Behaviour(cut=Cut("start", "stall"))
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        client = await RawConnection.open(gateway.port)
        await client.send(request_bytes(chat_body(stream=stream), key=TEST_KEY.text))
        await eventually(lambda: upstream.requests)
        client.close()
        event = await only_event(gateway)
        assert (event.status, event.reason, event.attempts) == (499, "client_gone", 1)
        assert event.input_tokens > 0 and event.output_tokens == 0 and event.tokens_estimated
        assert running(gateway) == 0
        await eventually(lambda: upstream.requests[0].disconnected_at_s)


async def test_a_caller_that_goes_within_a_stream_is_charged_for_what_was_made(upstream):
    upstream.behaviour = Behaviour(cut=Cut("middle", "stall"), chunks=40)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        client = await RawConnection.open(gateway.port)
        await client.send(request_bytes(chat_body(stream=True), key=TEST_KEY.text))
        await client.read_until(b"word15")
        client.close()
        event = await only_event(gateway)
        assert (event.status, event.reason) == (499, "client_gone")
        assert event.output_tokens >= 15 and event.tokens_estimated and event.first_byte_ns > 0
        assert gateway.journal.events == [event]
        await eventually(lambda: upstream.requests[0].disconnected_at_s)
        await eventually(lambda: upstream.connections == 0)


async def test_a_caller_that_goes_before_the_last_byte_loses_nothing_of_the_record(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        waiting = []
        gateway.journal.append = lambda record, written: waiting.append((record, written))
        client = await RawConnection.open(gateway.port)
        await client.send(request_bytes(chat_body(), key=TEST_KEY.text))
        await eventually(lambda: waiting)
        client.close()
        await eventually(lambda: gateway.connections == 0)
        ((record, written),) = waiting
        written(None)
        event = await only_event(gateway)
        assert event.reason == "ok" and encode_event(event) == record


# Bugs, and answers that look like none we know.


async def test_a_bug_of_ours_is_an_answer_with_a_request_id(upstream, monkeypatch):
    def broken(**_):
        raise ZeroDivisionError

    monkeypatch.setattr("podium.gateway.call.Change", broken)
    async with gateway_for(snapshot_of(upstream.url, upstream_model="other")) as gateway:
        answer = await ask(gateway, headers={"x-request-id": "mine"})
        assert (answer.status, openai_error(answer)["code"]) == (500, "internal_error")
        assert answer.header("x-request-id") == "mine"
        event = await only_event(gateway)
        assert gateway.journal.events == [event] and event.fault == "podium"
        assert running(gateway) == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 502),
        (b"[1,2]", 502),
        (b'"text"', 502),
        (b"null", 502),
        (b"{}", 200),
        (b'{"choices":7}', 200),
        (b'{"choices":[1,null]}', 200),
        (b'{"choices":[{"message":"\xff"}]}', 200),
        (b'{"choices":[{"message":' + b"[" * 400 + b"]" * 400 + b"}]}", 200),
        (b'{"usage":{"prompt_tokens":1' + b"0" * 30 + b"}}", 200),
        (b'{"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807}}', 200),
    ],
)
async def test_an_odd_answer_never_loses_the_event(upstream, body, status):
    upstream.behaviour = Behaviour(body=body)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway)
        assert answer.status == status
        assert status != 200 or answer.body == body
        event = await only_event(gateway)
        assert gateway.journal.events == [event]
        assert running(gateway) == 0


@pytest.mark.parametrize("status", [402, 409, 418, 451])
async def test_a_client_error_of_the_upstream_is_passed_on(upstream, status):
    upstream.behaviour = Behaviour(status=status)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway)
        assert (answer.status, openai_error(answer)["code"]) == (status, f"scripted_{status}")
        assert (await only_event(gateway)).reason == "upstream_rejected"


async def test_a_status_that_no_standard_names_is_passed_on():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 499 Odd\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as odd:
        port = odd.sockets[0].getsockname()[1]
        async with gateway_for(snapshot_of(f"http://127.0.0.1:{port}/v1")) as gateway:
            told = await ask(gateway)
            assert (told.status, openai_error(told)["code"]) == (499, "upstream_rejected")
            assert (await only_event(gateway)).reason == "upstream_rejected"


# Another backend.


async def test_an_unreachable_backend_is_left_for_another(upstream):
    async with gateway_for(snapshot_of(["http://127.0.0.1:9/v1", upstream.url])) as gateway:
        assert [(await ask(gateway)).status for _ in range(4)] == [200] * 4
        await eventually(lambda: len(gateway.events) == 4)
        assert {event.backend for event in gateway.events} == {"provider-1/m"}
        assert {event.attempts for event in gateway.events} <= {1, 2}


async def test_a_rejected_request_is_not_tried_elsewhere(upstream):
    async with ScriptedUpstream(Behaviour(status=400)) as other:
        upstream.behaviour = Behaviour(status=400)
        async with gateway_for(snapshot_of([other.url, upstream.url])) as gateway:
            assert (await ask(gateway)).status == 400
            assert len(upstream.requests) + len(other.requests) == 1


async def test_a_retry_is_one_exchange_with_one_charge(upstream):
    upstream.script(BAD["unavailable"])
    async with gateway_for(snapshot_of(upstream.url), clock=TestClock()) as gateway:
        assert (await ask(gateway)).status == 200
        event = await only_event(gateway)
        assert (event.attempts, event.reason, event.output_tokens) == (2, "ok", 8)
        assert used(gateway)[0] == 1


# What is recorded, and sent along.


async def test_a_whole_answer_is_recorded_with_its_facts(upstream):
    upstream.behaviour = Behaviour(cached_tokens=2, reasoning_tokens=3)
    async with gateway_for(snapshot_of(upstream.url), settings=GatewaySettings(name="here")) as gateway:
        body = chat_body(user="someone", seed=1)
        answer = await ask(gateway, body)
        event = await only_event(gateway)
        assert (event.gateway, event.tenant, event.key_id, event.user) == ("here", "test", TEST_KEY.id, "someone")
        assert (event.endpoint, event.model, event.provider, event.backend) == (
            "chat.completions",
            "m",
            "provider-0",
            "provider-0/m",
        )
        assert event.version.startswith("m-1@")
        usage = answer.json()["usage"]
        assert (event.input_tokens, event.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
        assert (event.cached_input_tokens, event.reasoning_tokens, event.tokens_estimated) == (2, 3, False)
        assert event.cost_nanousd == usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000
        assert (event.bytes_in, event.bytes_out) == (len(body), len(answer.body))
        assert 0 < event.admitted_ns <= event.upstream_ns < event.first_byte_ns <= event.ended_ns


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_nobody_reported_is_estimated(upstream, stream):
    upstream.behaviour = Behaviour(usage=False, chunks=200)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        assert (await ask(gateway, chat_body(stream=stream))).status == 200
        event = await only_event(gateway)
        assert event.tokens_estimated
        assert 400 <= event.output_tokens <= 800  # "word123 " is a word, digits and a blank
        assert 1 <= event.input_tokens <= 10
        assert event.cost_nanousd == event.input_tokens * 1000 + event.output_tokens * 2000


@pytest.mark.parametrize("given", ["mine", "a" * 128, "A-z0.9_:/+=@"])
async def test_a_callers_request_id_is_kept(upstream, given):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway, headers={"x-request-id": given})
        assert answer.header("x-request-id") == given
        assert (await only_event(gateway)).request_id == given


@pytest.mark.parametrize("given", [None, "", "a" * 129, "a b", "a\tb", "é", "<x>", '"'])
async def test_a_request_id_that_cannot_be_kept_is_replaced(upstream, given):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        headers = {} if given is None else {"x-request-id": given}
        answer = await ask(gateway, headers=headers)
        assert answer.header("x-request-id") == f"req_{gateway.events[0].id.hex()}"


async def test_errors_carry_the_request_id_too(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway, key=None, headers={"x-request-id": "mine"})
        assert answer.header("x-request-id") == "mine"


async def test_a_trace_goes_on_upstream_as_a_child_of_the_exchange(upstream):
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        await ask(gateway, headers={"traceparent": f"00-{trace}-{span}-01", "tracestate": "vendor=x"})
        event = await only_event(gateway)
        assert (event.trace_id, event.parent_span_id, event.trace_sampled) == (trace, span, True)
        version, sent_trace, sent_span, flags = upstream.requests[0].header("traceparent").split("-")
        assert (version, sent_trace, flags) == ("00", trace, "01")
        assert sent_span not in {span, event.span_id}
        assert upstream.requests[0].header("tracestate") == "vendor=x"


async def test_a_trace_that_is_none_is_not_passed_on(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        await ask(gateway, headers={"traceparent": "00-zz", "tracestate": "a=b"})
        assert (await only_event(gateway)).trace_id == ""
        assert upstream.requests[0].header("traceparent") is None
        assert upstream.requests[0].header("tracestate") is None


async def test_a_version_changes_the_request_as_declared(upstream):
    snapshot = snapshot_of(upstream.url, upstream_model="upstream-name")
    version = msgspec.structs.replace(
        snapshot.versions["m-1"], parameters={"temperature": 0.5, "seed": 7}, system_prompt="Be brief."
    )
    async with gateway_for(msgspec.structs.replace(snapshot, versions={"m-1": version})) as gateway:
        await ask(gateway, chat_body(seed=1))
        sent = upstream.requests[0].json()
        assert (sent["model"], sent["temperature"], sent["seed"]) == ("upstream-name", 0.5, 1)
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (await only_event(gateway)).backend == "provider-0/upstream-name"


async def test_a_version_offers_its_tools_where_the_caller_offers_none(upstream):
    snapshot = snapshot_of(upstream.url)
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    version = msgspec.structs.replace(
        snapshot.versions["m-1"], tools=(Tool(name="weather", description="Now.", parameters=schema),)
    )
    async with gateway_for(msgspec.structs.replace(snapshot, versions={"m-1": version})) as gateway:
        await ask(gateway, chat_body())
        own = [{"type": "function", "function": {"name": "mine"}}]
        await ask(gateway, chat_body(tools=own))
        await ask(gateway, chat_body(functions=[{"name": "old"}]))
        offered = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": schema}}
        sent = [request.json().get("tools") for request in upstream.requests]
        assert sent == [[offered], own, None]


async def test_a_null_where_stream_options_could_be_is_none(upstream):
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        answer = await ask(gateway, chat_body(stream=True, stream_options=None))
        assert answer.status == 200
        assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
        assert (await only_event(gateway)).tokens_estimated is False


# A new snapshot.


def revised(snapshot, **changes):
    return msgspec.structs.replace(snapshot, revision=snapshot.revision + 1, **changes)


async def test_a_running_stream_is_served_to_its_end_by_the_old_world(upstream):
    upstream.behaviour = Behaviour(chunks=20, between_chunks_s=0.02)
    snapshot = snapshot_of(upstream.url)
    async with ScriptedUpstream() as other, gateway_for(snapshot) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body(stream=True), key=TEST_KEY.text))
            head = await client.read_head()
            gateway.follower.install(revised(snapshot, keys=(), providers=snapshot_of(other.url).providers))
            assert (await ask(gateway)).status == 401
            answer = await client.read_body(head)
            assert answer.events()[-1] == "[DONE]" and b"word19" in answer.body
        await eventually(lambda: upstream.connections == 0)  # its account is retired
        assert not other.requests


async def test_an_exchange_that_began_before_the_swap_still_reaches_the_old_provider(upstream):
    snapshot = snapshot_of(upstream.url)
    body = chat_body()
    async with ScriptedUpstream() as other, gateway_for(snapshot) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(body, key=TEST_KEY.text)[:-1])
            await eventually(lambda: gateway.in_flight)
            gateway.follower.install(revised(snapshot, providers=snapshot_of(other.url).providers))
            await client.send(body[-1:])
            assert (await client.read_response()).status == 200
        assert (len(upstream.requests), len(other.requests)) == (1, 0)
        assert (await ask(gateway)).status == 200
        assert len(other.requests) == 1
        await eventually(lambda: upstream.connections == 0)


async def test_limits_outlive_a_new_snapshot(upstream):
    snapshot = snapshot_of(upstream.url, limits={"two": limit_policy(requests=2)})
    async with gateway_for(snapshot) as gateway:
        assert (await ask(gateway)).status == 200
        gateway.follower.install(revised(snapshot))
        assert [(await ask(gateway)).status for _ in range(2)] == [200, 429]
        assert len({request.connection for request in upstream.requests}) == 1


async def test_an_alias_is_the_model_under_another_name(upstream):
    snapshot = snapshot_of(upstream.url)
    models = {"m": msgspec.structs.replace(snapshot.models["m"], aliases=("gpt-4o", "org/m"))}
    async with gateway_for(msgspec.structs.replace(snapshot, models=models)) as gateway:
        for name in ("m", "gpt-4o", "org/m"):
            assert (await ask(gateway, chat_body(name))).status == 200
        await eventually(lambda: len(gateway.events) == 3)
        assert {event.model for event in gateway.events} == {"m"}
        assert {request.json()["model"] for request in upstream.requests} == {"m"}


class _NoUpstreams:
    def upstream(self, provider, spec, model):
        return None

    def retire_unused(self):
        pass


def test_the_world_keeps_a_bounded_number_of_compiled_keys(monkeypatch):
    monkeypatch.setattr("podium.gateway.world._MAX_PRINCIPALS", 4)
    world = World(gateway_snapshot(), _NoUpstreams(), Fleet(), 0)
    entries = [key_entry(id=f"key{number}") for number in range(10)]
    principals = [world.principal(entry) for entry in entries]
    assert 2 <= len(world._principals) <= 4
    assert world.principal(entries[9]) is principals[9]
    assert world.principal(entries[0]).entry is entries[0]


def test_a_world_knows_models_by_every_public_name():
    models = {"m": Model(version="v", aliases=("a",))}
    world = World(msgspec.structs.replace(gateway_snapshot(), models=models), _NoUpstreams(), Fleet(), 0)
    assert world.model("a") == world.model("m") == ("m", models["m"])
    assert world.model("A") is None
    assert world.upstreams() == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_while_its_tokens_are_counted_is_charged(upstream, monkeypatch, stream):
    counting, go_on = threading.Event(), threading.Event()

    def count(text):
        counting.set()
        assert go_on.wait(5)
        return len(text)

    monkeypatch.setattr("podium.gateway.settle._counter", SimpleNamespace(load=lambda: None, count=count))
    upstream.behaviour = Behaviour(usage=False)
    async with gateway_for(snapshot_of(upstream.url)) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body(stream=stream), key=TEST_KEY.text))
            await eventually(counting.is_set)
        await eventually(lambda: gateway.connections == 0)
        go_on.set()
        event = await only_event(gateway)
        assert event.tokens_estimated and event.input_tokens and event.output_tokens and event.cost_nanousd
        assert running(gateway) == 0
