"""Requests to an OpenAI-compatible server as bytes, and the shape that its errors must have."""

import json
from typing import Any

from podium.testing.raw_http import RawResponse

__all__ = ["chat_body", "openai_error", "request_bytes"]

_ERROR_FIELDS = {"message", "type", "param", "code"}


def chat_body(model: str = "m", content: str = "one two three", **fields: Any) -> bytes:
    """The body of a chat."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **fields}).encode()


def request_bytes(
    body: bytes | None = None,
    *,
    method: str | None = None,
    path: str = "/v1/chat/completions",
    key: str | None = None,
    content_type: str | None = "application/json",
    headers: dict[str, str] | None = None,
    version: str = "1.1",
) -> bytes:
    """A whole request: POST when there is a body, else GET. `headers` replace those that are set otherwise."""
    lines = {"host": "podium.test"}
    if key is not None:
        lines["authorization"] = f"Bearer {key}"
    if body is not None:
        lines["content-length"] = str(len(body))
        if content_type is not None:
            lines["content-type"] = content_type
    lines |= headers or {}
    method = method or ("GET" if body is None else "POST")
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode("latin-1") + b"\r\n" + (body or b"")


def openai_error(response: RawResponse) -> dict[str, Any]:
    """The error object of an answer; AssertionError when it is not shaped as OpenAI's."""
    assert (response.header("content-type") or "").startswith("application/json"), response
    content = response.json()
    assert set(content) == {"error"}, content
    error: dict[str, Any] = content["error"]
    assert set(error) == _ERROR_FIELDS, error
    for name in ("message", "type", "code"):
        assert isinstance(error[name], str), error
        assert error[name], error
    assert error["param"] is None or isinstance(error["param"], str), error
    return error
