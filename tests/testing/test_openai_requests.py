import json

import pytest

from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawResponse

ERROR = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "invalid_json"}


def answer(content, content_type="application/json"):
    return RawResponse("HTTP/1.1", 400, (("content-type", content_type),), json.dumps(content).encode())


def test_a_request_is_whole_and_its_headers_can_be_replaced():
    data = request_bytes(chat_body("m", n=2), key="k", headers={"host": "other", "x-a": "1"})
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert {b"host: other", b"x-a: 1", b"authorization: Bearer k", b"content-length: %d" % len(body)} <= set(lines)
    assert json.loads(body)["n"] == 2
    assert request_bytes(path="/x").startswith(b"GET /x HTTP/1.1\r\n")


def test_an_error_in_openais_shape_is_taken():
    assert openai_error(answer({"error": ERROR}))["code"] == "invalid_json"


@pytest.mark.parametrize(
    "content",
    [
        {"error": "No."},
        {"error": ERROR, "more": 1},
        {"error": ERROR | {"code": None}},
        {"error": ERROR | {"message": ""}},
        {"error": ERROR | {"param": 7}},
        {"error": {"message": "No."}},
        ERROR,
    ],
)
def test_any_other_is_not(content):
    with pytest.raises((AssertionError, TypeError)):
        openai_error(answer(content))
    with pytest.raises(AssertionError):
        openai_error(answer({"error": ERROR}, content_type="text/html"))
