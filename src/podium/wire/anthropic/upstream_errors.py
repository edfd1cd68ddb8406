"""Anthropic's errors: as OpenAI's error body, and as our own error when a stream reports one.

Source: Anthropic's page "Errors".
"""

import msgspec

from podium.core.errors import UpstreamError
from podium.core.reasons import Reason

__all__ = ["ErrorDetail", "status_of", "stream_error", "translate_error"]

_encode = msgspec.json.Encoder().encode

# The status that goes with each type; a stream, whose status is long sent, has only the type.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# OpenAI's types by status, and its codes (or words like them) by Anthropic's type.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {
    "authentication_error": "invalid_api_key",
    "billing_error": "insufficient_quota",
    "permission_error": "permission_denied",
    "not_found_error": "not_found",
    "request_too_large": "request_too_large",
    "rate_limit_error": "rate_limit_exceeded",
    "api_error": "server_error",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
}
# What some messages are really about, told by their words.
_CODES_BY_WORDS = (
    ("prompt is too long", "context_length_exceeded"),
    ("exceed context limit", "context_length_exceeded"),
    ("content filtering policy", "content_policy_violation"),
)
_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429
_OVERLOADED = (503, 529)
_MOST_OF_A_HINT = 300


class ErrorDetail(msgspec.Struct):
    """What went wrong, in Anthropic's words."""

    type: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: ErrorDetail


_decode = msgspec.json.Decoder(_ErrorBody).decode


def translate_error(status: int, body: bytes) -> bytes:
    """OpenAI's error body for an answer with an error status; of a body that is not Anthropic's, only the status."""
    try:
        detail = _decode(body).error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        detail = ErrorDetail()
    kind = _TYPES.get(status, "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error")
    message = detail.message or f"The model's provider answered with status {status}."
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": _code(detail)}})


def _code(detail: ErrorDetail) -> str | None:
    words = detail.message.lower()
    for mark, code in _CODES_BY_WORDS:
        if mark in words:
            return code
    if detail.type == "not_found_error" and words.startswith("model"):
        return "model_not_found"
    return _CODES.get(detail.type)


def status_of(kind: str) -> int | None:
    """The status that goes with a type of error; None: the type is not known."""
    return _STATUS.get(kind)


def stream_error(detail: ErrorDetail) -> UpstreamError:
    """The error that an `error` event stands for."""
    status = _STATUS.get(detail.type)
    hint = f"It said: {detail.message[:_MOST_OF_A_HINT]}" if detail.message else ""
    if status == _TOO_MANY:
        error = UpstreamError(
            "The model's server has too many requests.", reason=Reason.UPSTREAM_RATE_LIMITED, status=status, hint=hint
        )
    else:
        error = UpstreamError("The model's server failed.", status=503 if status in _OVERLOADED else None, hint=hint)
    error.upstream_status = status
    return error
