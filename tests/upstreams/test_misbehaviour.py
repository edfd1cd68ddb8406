"""A gateway in front of an upstream that answers in every way there is, and in many that there should not be."""

import json
import socket
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.core.resources import Timeouts
from podium.testing.behaviour import BAD, GOOD, Behaviour, Cut
from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually


@dataclass(frozen=True)
class Told:
    """What the caller must be told."""

    status: int
    code: str
    attempts: int = 1
    retry_after: str | None = None


TIMEOUT = Told(504, "upstream_timeout")
BROKEN = Told(502, "upstream_broken", attempts=2)
INVALID = Told(502, "upstream_invalid")
FAILED = Told(502, "upstream_error")

WHOLE = {
    "silent": TIMEOUT,
    "slow-head": TIMEOUT,
    "stalls-after-head": TIMEOUT,
    "stalls-midway": TIMEOUT,
    "resets-at-start": BROKEN,
    "resets-after-head": BROKEN,
    "resets-midway": BROKEN,
    "resets-before-usage": BROKEN,
    "resets-before-end": BROKEN,
    "closes-at-start": BROKEN,
    "closes-after-head": BROKEN,
    "closes-midway": BROKEN,
    "closes-before-usage": BROKEN,
    "closes-before-end": BROKEN,
    "cuts-without-length": INVALID,
    "garbled": INVALID,
    "oversized": INVALID,
    "html": INVALID,
    "gzip": INVALID,
    "redirect": INVALID,
    "bad-request": Told(400, "scripted_400"),
    "unauthorized": FAILED,
    "forbidden": FAILED,
    "not-found": Told(404, "scripted_404"),
    "unprocessable": Told(422, "scripted_422"),
    "rate-limited": Told(429, "upstream_rate_limited"),
    "rate-limited-retry-after": Told(429, "upstream_rate_limited", retry_after="7"),
    "server-error": FAILED,
    "unavailable": Told(503, "upstream_error", attempts=2),
    "unavailable-retry-after": Told(503, "upstream_error", retry_after="7"),
    "overloaded": Told(503, "upstream_error", attempts=2),
    "html-error": Told(502, "upstream_error", attempts=2),
    "empty-error": FAILED,
}

# After the first content a stream cannot be retried, and its status is sent: it ends with an error event.
BROKEN_OFF = {
    "stalls-midway": "upstream_timeout",
    "resets-midway": "upstream_broken",
    "resets-before-usage": "upstream_broken",
    "resets-before-end": "upstream_broken",
    "closes-midway": "upstream_broken",
    "closes-before-usage": "upstream_broken",
    "closes-before-end": "upstream_broken",
    "cuts-without-length": "upstream_broken",
    "error-event": "upstream_error",
    "garbled": "upstream_invalid",
    "oversized": "upstream_invalid",
}
NOT_BEGUN = {name: told for name, told in WHOLE.items() if name not in BROKEN_OFF}


def test_every_bad_behaviour_has_its_expectation():
    assert set(WHOLE) | {"error-event"} == set(BAD)
    assert set(NOT_BEGUN) | set(BROKEN_OFF) == set(BAD)


async def all_calls_over(upstream):
    """No call of the gateway is left hanging at the upstream."""
    await eventually(lambda: all(one.finished_at_s or one.disconnected_at_s for one in upstream.requests))


async def check_told(answer, told, gateway, upstream):
    assert answer.status == told.status
    error = openai_error(answer)
    assert error["code"] == told.code
    assert answer.header("retry-after") == told.retry_after
    assert answer.header("location") is None
    assert len(upstream.requests) == told.attempts
    await eventually(lambda: gateway.events)
    (event,) = gateway.events
    assert (event.status, event.attempts) == (told.status, told.attempts)
    assert event.reason == (told.code if told.code.startswith("upstream") else "upstream_rejected")
    assert event.fault == ("caller" if event.reason == "upstream_rejected" else "upstream")
    await all_calls_over(upstream)


@pytest.mark.parametrize("name", WHOLE)
async def test_a_bad_whole_answer_becomes_an_honest_error(exchange, gateway, upstream, name):
    answer = await exchange(body=chat_body(f"scripted-{name}"))
    await check_told(answer, WHOLE[name], gateway, upstream)


@pytest.mark.parametrize("name", NOT_BEGUN)
async def test_a_stream_that_breaks_before_its_first_content_becomes_an_honest_error(exchange, gateway, upstream, name):
    answer = await exchange(body=chat_body(f"scripted-{name}", stream=True))
    await check_told(answer, NOT_BEGUN[name], gateway, upstream)


@pytest.mark.parametrize("asks_for_usage", [False, True])
@pytest.mark.parametrize("name", BROKEN_OFF)
async def test_a_stream_that_breaks_later_ends_with_an_error_event(exchange, gateway, upstream, name, asks_for_usage):
    fields = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    answer = await exchange(body=chat_body(f"scripted-{name}", stream=True, **fields))
    assert answer.status == 200
    *events, last = answer.events()
    assert json.loads(last)["error"]["code"] == BROKEN_OFF[name]
    assert set(json.loads(last)["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in events
    chunks = [json.loads(event) for event in events]
    assert [text for text in map(text_of, chunks) if text][:4] == ["word0 ", "word1 ", "word2 ", "word3 "]
    if not name.endswith(("before-usage", "before-end")):  # there the upstream had said so itself
        assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    await eventually(lambda: gateway.events)
    (event,) = gateway.events
    assert (event.reason, event.fault, event.attempts) == (BROKEN_OFF[name], "upstream", 1)
    assert event.output_tokens >= 4
    await all_calls_over(upstream)


def text_of(chunk):
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", GOOD)
async def test_every_good_form_of_answer_is_understood(exchange, gateway, upstream, name, stream):
    for _ in range(2):  # the second over a kept connection, where there is one
        answer = await exchange(body=chat_body(f"scripted-{name}", stream=stream, max_tokens=3))
        assert answer.status == 200
        if stream:
            *events, last = answer.events()
            assert last == "[DONE]"
            assert "".join(map(text_of, map(json.loads, events))) == "word0 word1 word2 "
        else:
            assert answer.json()["choices"][0]["message"]["content"] == "word0 word1 word2 "
    await eventually(lambda: len(gateway.events) == 2)
    assert {(event.status, event.reason) for event in gateway.events} == {(200, "ok")}
    assert {event.tokens_estimated for event in gateway.events} == {name == "no-usage"}
    if name != "no-usage":
        assert {event.output_tokens for event in gateway.events} == {3}
    await all_calls_over(upstream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["resets-at-start", "closes-after-head", "unavailable"])
async def test_one_retry_before_the_first_content_saves_the_answer(exchange, gateway, upstream, name, stream):
    upstream.script(BAD[name])
    answer = await exchange(body=chat_body(stream=stream))
    assert answer.status == 200
    assert b"word7" in answer.body
    await eventually(lambda: gateway.events)
    assert [(event.reason, event.attempts, event.output_tokens) for event in gateway.events] == [("ok", 2, 8)]


@pytest.mark.parametrize("name", ["silent", "server-error", "garbled", "bad-request"])
async def test_what_a_retry_would_make_worse_is_not_retried(exchange, upstream, name):
    upstream.script(BAD[name])
    assert (await exchange()).status >= 400
    assert len(upstream.requests) == 1


async def test_a_stream_is_never_retried_after_its_first_content(exchange, upstream):
    upstream.script(BAD["resets-midway"])
    answer = await exchange(body=chat_body(stream=True))
    assert "error" in json.loads(answer.events()[-1])
    assert len(upstream.requests) == 1


async def test_a_kept_connection_that_the_upstream_was_closing_costs_the_caller_nothing(gateway, exchange, upstream):
    upstream.behaviour = GOOD["resets-on-reuse"]
    assert [(await exchange()).status for _ in range(4)] == [200] * 4
    assert len(gateway.events) == 4


def refusing_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_is_not_there_is_told_at_once(open_gateway, upstream, stream):
    gateway = await open_gateway(upstream_url=refusing_url())
    async with await RawConnection.open(gateway.port, timeout_s=3) as client:
        await client.send(request_bytes(chat_body(stream=stream), key=gateway.api_key))
        answer = await client.read_response()
    assert answer.status == 502
    assert openai_error(answer)["code"] == "upstream_unreachable"
    await eventually(lambda: gateway.events)
    (event,) = gateway.events
    assert (event.attempts, event.input_tokens, event.output_tokens, event.cost_nanousd) == (2, 0, 0, 0)
    assert not upstream.requests


@pytest.mark.parametrize("name", ["resets-at-start", "rate-limited", "unavailable"])
async def test_another_backend_takes_over(open_gateway, upstream, name):
    async with ScriptedUpstream(BAD[name]) as bad:
        gateway = await open_gateway(upstream_url=[bad.url, upstream.url])
        for number in range(4):
            async with await RawConnection.open(gateway.port) as client:
                await client.send(request_bytes(chat_body(stream=bool(number % 2)), key=gateway.api_key))
                assert (await client.read_response()).status == 200
        await eventually(lambda: len(gateway.events) == 4)
    assert {event.backend for event in gateway.events} == {"provider-1/m"}
    assert {event.attempts for event in gateway.events} <= {1, 2}


@pytest.mark.parametrize("at", ["start", "head", "middle", "end"])
async def test_broken_calls_leave_no_connection_behind(gateway, exchange, upstream, at):
    for how in ("reset", "close") * 5:
        upstream.script(Behaviour(cut=Cut(at, how)), Behaviour(cut=Cut(at, how)))
        await exchange(body=chat_body(stream=True))
        upstream._script.clear()
    await eventually(lambda: upstream.connections <= 1)


async def test_a_redirect_is_not_followed(exchange, upstream):
    upstream.script(Behaviour(status=307, headers=(("location", f"{upstream.url}/chat/completions"),), body=b""))
    assert (await exchange()).status == 502
    assert len(upstream.requests) == 1


SECOND_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{"stolen": true}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "surplus",
    [
        b"x",
        SECOND_ANSWER,
        SECOND_ANSWER[:30],
        b"\r\n" + SECOND_ANSWER,
    ],
)
async def test_what_an_upstream_sends_unasked_is_nobodys_answer(exchange, gateway, upstream, surplus, stream):
    upstream.behaviour = Behaviour(surplus=surplus)
    for _ in range(3):
        answer = await exchange(body=chat_body(stream=stream))
        assert b"stolen" not in answer.body
        if answer.status == 200:
            assert b"word7" in answer.body
        else:
            assert openai_error(answer)["code"].startswith("upstream")
    assert len({request.connection for request in upstream.requests}) == len(upstream.requests)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_head_without_end_is_not_kept_in_memory(exchange, gateway, upstream, stream):
    upstream.behaviour = Behaviour(headers=tuple((f"x-{number}", "y" * 50_000) for number in range(200)))
    answer = await exchange(body=chat_body(stream=stream))
    assert answer.status == 502
    assert openai_error(answer)["code"] == "upstream_invalid"
    await all_calls_over(upstream)


async def test_a_stream_without_end_is_cut_at_the_providers_total_time(open_gateway, upstream):
    upstream.behaviour = Behaviour(chunks=1000, between_chunks_s=0.02)
    timeouts = Timeouts(connect_s=1, first_byte_s=1, between_bytes_s=1, total_s=0.5)
    gateway = await open_gateway(timeouts=timeouts)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(request_bytes(chat_body(stream=True), key=gateway.api_key))
        *_, last = (await client.read_response()).events()
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    await all_calls_over(upstream)
    assert upstream.requests[0].disconnected_at_s


FORMS = st.builds(
    Behaviour,
    text=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=4).map(" ".join),
    write_size=st.none() | st.integers(1, 64),
    line_end=st.sampled_from(["\n", "\r\n"]),
    framing=st.sampled_from(["natural", "close"]),
    comments=st.booleans(),
    multi_line=st.booleans(),
    usage=st.booleans(),
    done=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(behaviour=FORMS, asks_for_usage=st.booleans())
async def test_any_good_stream_arrives_whole_however_it_is_cut(exchange, upstream, behaviour, asks_for_usage):
    upstream.behaviour = behaviour
    options = {"include_usage": asks_for_usage}
    *events, last = (await exchange(body=chat_body(stream=True, stream_options=options))).events()
    chunks = [json.loads(event) for event in events]
    assert "".join(map(text_of, chunks)) == behaviour.text
    assert last == "[DONE]"
    assert any(chunk.get("usage") for chunk in chunks) == (asks_for_usage and behaviour.usage)
    upstream.behaviour = Behaviour()


async def test_many_events_in_one_read_and_one_event_in_many_reads_arrive_whole(exchange, upstream):
    text = " ".join(f"w{number}" for number in range(2000))
    for behaviour in (
        Behaviour(text=text),
        Behaviour(text=text, write_size=1000),
        Behaviour(text=text, write_size=70_001),
    ):
        upstream.behaviour = behaviour
        *events, last = (await exchange(body=chat_body(stream=True))).events()
        assert "".join(map(text_of, map(json.loads, events))) == text
        assert last == "[DONE]"


async def test_the_upstreams_words_about_a_wrong_request_reach_the_caller(exchange):
    answer = await exchange(body=chat_body("scripted-bad-request"))
    assert openai_error(answer)["message"] == "scripted 400"


async def test_the_callers_key_does_not_reach_the_upstream(exchange, gateway, upstream):
    await exchange()
    secret = gateway.api_key.rsplit("_", 1)[1]
    (request,) = upstream.requests
    assert secret not in repr(request.headers)
    assert secret.encode() not in request.body


async def test_a_body_that_nothing_changes_goes_up_as_it_came(exchange, upstream):
    body = (
        b'{ "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}],\n "new_field": {"a": [1.10, 1e3]}, "model":"m" }'
    )
    assert (await exchange(body=body)).status == 200
    assert upstream.requests[0].body == body
