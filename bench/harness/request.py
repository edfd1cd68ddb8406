"""The one request that all contestants get, and the one answer that the mock gives."""

import http.client
import json
from collections.abc import Mapping

import msgspec

__all__ = [
    "ANTHROPIC_MODEL",
    "COMPLETION",
    "KEY_CHECK_PATH",
    "MESSAGES_PATH",
    "MODEL",
    "PATH",
    "PEER_KEY",
    "Request",
    "chat_request",
    "messages_request",
    "post",
]

PATH = "/v1/chat/completions"
MESSAGES_PATH = "/v1/messages"  # Anthropic's
MODEL = "gpt-4o-mini"
ANTHROPIC_MODEL = "claude-haiku-4-5"
PEER_KEY = "sk-bench-0123456789abcdef"  # of contestants that ask a URL about a key: the mocks answer there
KEY_CHECK_PATH = "/bench/key"
_MESSAGES = [
    {"role": "system", "content": "You answer questions of customers about their orders, briefly and kindly."},
    {
        "role": "user",
        "content": "My parcel was to come on Tuesday and now it is Friday. Where is it, and what can I do?",
    },
]
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1767225600,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I am sorry for the wait. Your parcel left the depot today and comes tomorrow.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 46, "completion_tokens": 17, "total_tokens": 63},
    },
    separators=(",", ":"),
)


class Request(msgspec.Struct, frozen=True):
    """What a load generator sends, over and over."""

    port: int
    headers: dict[str, str]
    body: str
    path: str = PATH


def chat_request(
    port: int, headers: Mapping[str, str], *, stream: bool = False, usage: bool = False, model: str = MODEL
) -> Request:
    """A chat of about 330 bytes. `usage`: the caller asks for the usage event of a stream."""
    body: dict[str, object] = {"model": model, "messages": _MESSAGES, "temperature": 0.2, "max_tokens": 128}
    if stream:
        body["stream"] = True
    if usage:
        body["stream_options"] = {"include_usage": True}
    return Request(port, {"Content-Type": "application/json", **headers}, json.dumps(body, separators=(",", ":")))


def messages_request(port: int, headers: Mapping[str, str]) -> Request:
    """The same chat in Anthropic's words, streamed."""
    system, *messages = _MESSAGES
    body = {
        "model": MODEL,
        "system": system["content"],
        "messages": messages,
        "temperature": 0.2,
        "max_tokens": 128,
        "stream": True,
    }
    named = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", **headers}
    return Request(port, named, json.dumps(body, separators=(",", ":")), MESSAGES_PATH)


def post(request: Request, *, timeout_s: float = 30.0) -> tuple[int, bytes]:
    """Status and body of one call on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", request.port, timeout=timeout_s)
    try:
        connection.request("POST", request.path, request.body, request.headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
