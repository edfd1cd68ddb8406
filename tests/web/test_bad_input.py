"""Whatever a caller sends, the answer is a 4xx in OpenAI's error shape, and the gateway lives on.

The `gateway` fixture checks after each test that nothing is in flight and that the next caller is served.
"""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from podium.testing.behaviour import Behaviour
from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.web.settings import GatewayServerSettings

MESSAGES = b'"messages": [{"role": "user", "content": "hi"}]'

NOT_JSON = {
    "empty": b"",
    "blank": b"  \n",
    "truncated": chat_body()[:-5],
    "trailing": chat_body() + b"}",
    "two_values": chat_body() + chat_body(),
    "single_quotes": b"{'model': 'm', 'messages': []}",
    "comment": b'{"model": "m", /* hi */ ' + MESSAGES + b"}",
    "not_a_number": b'{"model": "m", "temperature": NaN, ' + MESSAGES + b"}",
    "raw_control_character": b'{"model": "m\n", ' + MESSAGES + b"}",
    "bad_escape": b'{"model": "\\x6d", ' + MESSAGES + b"}",
    "latin_1": '{"model": "m", "messages": [{"role": "user", "content": "caf\xe9"}]}'.encode("latin-1"),
    "utf_16": chat_body().decode().encode("utf-16"),
    "overlong_utf_8": b'{"model": "m", "messages": [{"role": "user", "content": "\xc0\xaf"}]}',
    "cut_utf_8": b'{"model": "m", "messages": [{"role": "user", "content": "\xf0\x9f\x92"}]}',
    "form": b"model=m&messages=hi",
    "nul": b"\x00" * 100,
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00",
    "deep_array": b'{"model": "m", "messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep_object": b'{"model": "m", "messages": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}",
    "deep_unknown_field": b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b", " + MESSAGES + b"}",
    "endless_opening": b'{"model": "m", "messages": ' + b"[" * 1_000_000,
}

MISTYPED = {
    "array": b"[]",
    "number": b"1",
    "null": b"null",
    "text": b'"hi"',
    "no_fields": b"{}",
    "no_model": b"{" + MESSAGES + b"}",
    "empty_model": b'{"model": "", ' + MESSAGES + b"}",
    "null_model": b'{"model": null, ' + MESSAGES + b"}",
    "number_model": b'{"model": 7, ' + MESSAGES + b"}",
    "list_model": b'{"model": ["m"], ' + MESSAGES + b"}",
    "no_messages": b'{"model": "m"}',
    "no_message": b'{"model": "m", "messages": []}',
    "text_messages": b'{"model": "m", "messages": "hi"}',
    "text_stream": b'{"model": "m", "stream": "yes", ' + MESSAGES + b"}",
    "number_stream": b'{"model": "m", "stream": 1, ' + MESSAGES + b"}",
    "text_max_tokens": b'{"model": "m", "max_tokens": "many", ' + MESSAGES + b"}",
    "text_stream_options": b'{"model": "m", "stream": true, "stream_options": "usage", ' + MESSAGES + b"}",
    "text_include_usage": b'{"model": "m", "stream": true, "stream_options": {"include_usage": "x"}, '
    + MESSAGES
    + b"}",
}

DUPLICATES = {
    "model": b'{"model": "m", "model": "other", ' + MESSAGES + b"}",
    "escaped_model": b'{"model": "m", "mod\\u0065l": "other", ' + MESSAGES + b"}",
    "stream": b'{"model": "m", "stream": false, ' + MESSAGES + b', "stream": true}',
    "max_tokens": b'{"model": "m", "max_tokens": 1, "max_tokens": 9, ' + MESSAGES + b"}",
    "messages": b'{"model": "m", ' + MESSAGES + b", " + MESSAGES + b"}",
}


@pytest.mark.parametrize("case", NOT_JSON)
async def test_a_body_that_is_not_json_is_refused(exchange, upstream, case):
    answer = await exchange(body=NOT_JSON[case])
    assert answer.status == 400
    assert openai_error(answer)["code"] == "invalid_json"
    assert not upstream.requests


@pytest.mark.parametrize("case", MISTYPED)
async def test_a_field_of_the_wrong_type_is_refused(exchange, upstream, case):
    answer = await exchange(body=MISTYPED[case])
    assert answer.status == 400
    error = openai_error(answer)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert not upstream.requests


async def test_a_number_that_no_model_can_mean_is_the_upstreams_to_judge(exchange):
    body = b'{"model": "m", "max_tokens": 1' + b"0" * 400 + b", " + MESSAGES + b"}"
    assert (await exchange(body=body)).status == 200


async def test_a_mistyped_field_is_named(exchange):
    error = openai_error(await exchange(body=MISTYPED["number_model"]))
    assert error["param"] == "model"


@pytest.mark.parametrize("case", DUPLICATES)
async def test_a_duplicate_key_is_refused_because_two_readers_may_read_two_things(exchange, upstream, case):
    answer = await exchange(body=DUPLICATES[case])
    assert answer.status == 400
    openai_error(answer)
    assert not upstream.requests


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", b'{"prompt": "x"}'),
        ("/v1/completions", b'{"model": "m", "prompt": "x", "stream": "x"}'),
        ("/v1/embeddings", b'{"model": "m"}'),
        ("/v1/embeddings", b'{"input": "x"}'),
        ("/v1/embeddings", b'{"model": "m", "input": "\xff"}'),
    ],
)
async def test_the_other_endpoints_check_too(exchange, path, body):
    answer = await exchange(body=body, path=path)
    assert answer.status == 400
    openai_error(answer)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        "x" * 500,
    ],
)
async def test_another_content_type_is_refused(exchange, upstream, content_type):
    answer = await exchange(content_type=content_type)
    assert answer.status == 415
    assert openai_error(answer)["code"] == "unsupported_media_type"
    assert not upstream.requests


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_taken_under_its_usual_names(exchange, content_type):
    assert (await exchange(content_type=content_type)).status == 200


async def test_a_compressed_body_is_refused(exchange, upstream):
    answer = await exchange(body=NOT_JSON["gzip"], headers={"content-encoding": "gzip"})
    assert answer.status in {400, 415}
    openai_error(answer)
    assert not upstream.requests


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic dXNlcjpwYXNz", None),
        ("Bearer sk-something", "invalid_api_key"),
        ("Bearer pk_aaaaaaaaaaaa_" + "a" * 40, "invalid_api_key"),
        ("Bearer pk_aaaaaaaaaaaa_" + "a" * 30_000, "invalid_api_key"),
        ("Bearer p\xe4ss", "invalid_api_key"),
        ("Bearer \x01\x02", None),
    ],
)
async def test_who_is_not_known_is_refused(exchange, upstream, header, code):
    headers = {} if header is None else {"authorization": header}
    answer = await exchange(key=None, headers=headers)
    assert answer.status in ({401} if code else {400, 401})
    error = openai_error(answer)
    assert code is None or error["code"] == code
    assert not upstream.requests


async def test_the_keys_secret_is_checked_to_its_last_character(exchange, gateway):
    wrong = gateway.api_key[:-1] + ("a" if gateway.api_key[-1] != "a" else "b")
    assert (await exchange(key=wrong)).status == 401


@pytest.mark.parametrize(
    "model", ["nothing", "m ", "M", "../m", "m\u0000", "\u202em", "x" * 100_000, "*", "\ud83d\ude00"]
)
async def test_an_unknown_model_is_not_found(exchange, upstream, model):
    answer = await exchange(body=chat_body(model))
    assert answer.status == 404
    assert openai_error(answer)["code"] == "model_not_found"
    assert len(answer.body) < 2000  # what the caller sent is not sent back at length
    assert not upstream.requests


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/models", "/v1/chat", "/v1/chat/completions/", "/v1//models", "/%2e%2e/", "/v1/\x7f", "*"]
)
async def test_an_unknown_route_is_not_found(exchange, path):
    answer = await exchange(path=path)
    assert answer.status in {400, 404}
    openai_error(answer)


@pytest.mark.parametrize(
    "path", ["/v1/models/none", "/v1/models/%00", "/v1/models/" + "x" * 10_000, "/v1/models/a%2Fb"]
)
async def test_an_unknown_model_cannot_be_looked_up(exchange, gateway, path):
    answer = await exchange(request_bytes(path=path, key=gateway.api_key), method="GET")
    assert answer.status == 404
    openai_error(answer)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_oversized_body_is_refused_while_it_comes(open_gateway, upstream, chunked):
    gateway = await open_gateway(server=GatewayServerSettings(port=0, max_body_bytes=10_000))
    body = chat_body(content="x" * 1_000_000)
    headers = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
    head = request_bytes(key=gateway.api_key, method="POST", headers=headers | {"content-type": "application/json"})
    async with await RawConnection.open(gateway.port) as client:
        await client.send(head)
        if chunked:
            await client.send(b"4e20\r\n" + body[:20_000] + b"\r\n")
        answer = await client.read_response()
        assert answer.status == 413
        assert openai_error(answer)["code"] == "request_too_large"
    assert not upstream.requests


async def test_the_largest_allowed_body_is_taken(open_gateway):
    body = chat_body(content="x" * 9_000)
    gateway = await open_gateway(server=GatewayServerSettings(port=0, max_body_bytes=len(body)))
    async with await RawConnection.open(gateway.port) as client:
        await client.send(request_bytes(body, key=gateway.api_key))
        assert (await client.read_response()).status == 200


def fuzz(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "user",
        "tools",
        "input",
    ]
)


async def refused_or_served(exchange, upstream, body):
    """4xx in shape, or passed on and answered: a body that podium need not understand is the upstream's to judge."""
    upstream.behaviour = Behaviour(body=b'{"object": "chat.completion", "choices": []}')
    answer = await exchange(body=body)
    assert answer.status == 200 or 400 <= answer.status < 500
    if answer.status != 200:
        openai_error(answer)


@fuzz(60)
@given(body=st.binary(max_size=200))
@example(body=b"\xef\xbb\xbf{}")
async def test_any_bytes_are_refused_in_shape(exchange, upstream, body):
    await refused_or_served(exchange, upstream, body)


@fuzz(100)
@given(fields=st.dictionaries(FIELDS, JSON_VALUES, max_size=5))
async def test_any_values_in_known_fields_are_refused_or_passed_on(exchange, upstream, fields):
    base = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    await refused_or_served(exchange, upstream, json.dumps(base | fields).encode("utf-8", "surrogatepass"))


@fuzz(100)
@given(place=st.integers(0, 200), change=st.binary(max_size=4), cut=st.integers(0, 4))
async def test_any_small_damage_to_a_good_body_is_refused_or_passed_on(exchange, upstream, place, change, cut):
    good = chat_body(stream=False, max_tokens=5, stream_options={"include_usage": True}, user="alice")
    place %= len(good)
    await refused_or_served(exchange, upstream, good[:place] + change + good[place + cut :])
