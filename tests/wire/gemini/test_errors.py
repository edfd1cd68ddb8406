"""Google's errors in OpenAI's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.wire.gemini.errors import openai_status, retry_delay_s, translate_error

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def error(code, message, status="", details=()):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def body(value):
    return json.dumps(value).encode()


def translated(status, value):
    return json.loads(translate_error(status, body(value)))["error"]


@pytest.mark.parametrize(
    ("status", "word", "kind", "code"),
    [
        (400, "INVALID_ARGUMENT", "invalid_request_error", "invalid_argument"),
        (403, "PERMISSION_DENIED", "permission_error", "permission_denied"),
        (404, "NOT_FOUND", "not_found_error", "model_not_found"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit_error", "rate_limit_exceeded"),
        (500, "INTERNAL", "server_error", "internal"),
        (503, "UNAVAILABLE", "server_error", "unavailable"),
        (504, "DEADLINE_EXCEEDED", "server_error", "deadline_exceeded"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_each_status_has_its_type_and_code(status, word, kind, code, listed):
    given = error(status, "Words.", word)
    said = translated(status, [given] if listed else given)
    assert said == {"message": "Words.", "type": kind, "param": None, "code": code}


@pytest.mark.parametrize(
    "message",
    [
        "The input token count (1054016) exceeds the maximum number of tokens allowed (1048576).",
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        "The input token count exceeds the maximum number of tokens allowed.",
    ],
)
def test_a_context_that_is_too_long_has_openais_code(message):
    assert translated(400, error(400, message, "INVALID_ARGUMENT"))["code"] == "context_length_exceeded"


def test_a_refused_key_is_not_the_callers_mistake():
    refused = error(400, "API key not valid.", "INVALID_ARGUMENT", [{"@type": "x", "reason": "API_KEY_INVALID"}])
    assert openai_status(400, body(refused)) == 401
    assert translated(400, refused)["type"] == "authentication_error"
    assert openai_status(400, body(error(400, "x"))) == 400
    assert openai_status(502, b"<html>") == 502


@pytest.mark.parametrize(
    ("details", "delay"),
    [
        ([{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}, {"@type": RETRY_INFO, "retryDelay": "17s"}], 17.0),
        ([{"@type": RETRY_INFO, "retryDelay": "0.5s"}], 0.5),
        ([{"@type": RETRY_INFO, "retryDelay": "soon"}], None),
        ([{"@type": RETRY_INFO, "retryDelay": "-3s"}], None),
        ([{"@type": RETRY_INFO, "retryDelay": "infs"}], None),
        ([{"@type": RETRY_INFO}], None),
        ([], None),
    ],
)
def test_the_wait_that_google_asks_for_is_read(details, delay):
    given = error(429, "Quota.", "RESOURCE_EXHAUSTED", details)
    assert retry_delay_s(body(given)) == delay
    assert retry_delay_s(body([given])) == delay


@given(st.integers(400, 599), st.binary(max_size=60) | st.sampled_from([b"", b"[]", b'{"error":7}', b"<html>"]))
def test_a_body_that_is_no_error_of_google_still_makes_one_of_openai(status, raw):
    said = json.loads(translate_error(status, raw))["error"]
    assert set(said) == {"message", "type", "param", "code"}
    assert said["message"]
    assert retry_delay_s(raw) is None
