"""What AWS Bedrock says when it fails -> OpenAI's errors.

Names and statuses are those of the service's own description (bedrock-runtime, 2023-09-30).
"""

import msgspec

from podium.core.errors import UpstreamError
from podium.core.reasons import Reason
from podium.wire.openai import encode_json

__all__ = ["caller_status", "stream_error", "translate_error"]

_BAD_REQUEST = 400
_TOO_MANY = 429
_FIRST_SERVER_ERROR = 500
_LAST_STATUS = 599

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# OpenAI's codes for what they have a code for; other errors keep Amazon's name.
_CODES = {
    "ThrottlingException": "rate_limit_exceeded",
    "ResourceNotFoundException": "model_not_found",
    "AccessDeniedException": "permission_denied",
}
# Sentences of several models behind Bedrock; collected from Amazon's own agent library, in lower case.
_TOO_LONG = (
    "input is too long for requested model",
    "prompt is too long",
    "input length and `max_tokens` exceed context limit",
    "too many total text bytes",
    "maximum context length",
    "exceeds the context window",
)
_STREAM_STATUSES = {
    "throttlingexception": 429,
    "modelstreamerrorexception": 502,  # Amazon calls it 424; its documentation says to repeat the request
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
    "validationexception": 400,
    "modeltimeoutexception": 504,
}
# Statuses that blame the caller for what the model did: a failed model, and one that took too long.
_MISLEADING = {424: 502, 408: 504}


class _Said(msgspec.Struct):
    """An error's body. Which of the names is used depends on the part of AWS that failed."""

    message: str | None = None
    capital: str | None = msgspec.field(default=None, name="Message")
    kind: str | None = msgspec.field(default=None, name="__type")
    original_status: int | None = msgspec.field(default=None, name="originalStatusCode")
    original_message: str | None = msgspec.field(default=None, name="originalMessage")

    @property
    def sentence(self) -> str:
        return self.message or self.capital or ""


_decode = msgspec.json.Decoder(_Said).decode


def _read(body: bytes) -> _Said:
    """What an error says; nothing when it comes from a proxy in between, say."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _Said()


def translate_error(status: int, body: bytes, error_type: str) -> bytes:
    """The body of OpenAI's error for an answer that is one.

    `error_type` is the header x-amzn-errortype as it came, or "".
    """
    said = _read(body)
    name = _name(error_type) or _name(said.kind or "")
    kind = _TYPES.get(status) or ("invalid_request_error" if status < _FIRST_SERVER_ERROR else "server_error")
    message = said.sentence or f"AWS Bedrock answered {status}{f' ({name})' if name else ''}."
    code = "context_length_exceeded" if _is_too_long(message) else _CODES.get(name, name or None)
    return encode_json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def caller_status(status: int) -> int:
    """The status that says the same to who knows HTTP only: 424 and 408 are the model's failures, not the caller's."""
    return _MISLEADING.get(status, status)


def stream_error(name: str, payload: bytes) -> UpstreamError:
    """The error for an exception inside a stream."""
    said = _read(payload)
    status = _STREAM_STATUSES.get(name.lower(), 500)
    original = said.original_status
    if name.lower() == "modelstreamerrorexception" and original and _BAD_REQUEST <= original <= _LAST_STATUS:
        status = caller_status(original)
    error = UpstreamError(
        "The model's server reported an error within the stream.",
        reason=_reason(status),
        status=status if status in (_TOO_MANY, 503) else None,
        hint=": ".join(part for part in (name, said.original_message or said.sentence) if part),
    )
    error.upstream_status = status
    return error


def _reason(status: int) -> Reason:
    if status == _TOO_MANY:
        return Reason.UPSTREAM_RATE_LIMITED
    return Reason.UPSTREAM_REJECTED if status < _FIRST_SERVER_ERROR else Reason.UPSTREAM_ERROR


def _name(error_type: str) -> str:
    """The bare name: `ThrottlingException:http://...` and `namespace#ThrottlingException` both occur."""
    return error_type.partition(":")[0].rpartition("#")[2].strip()


def _is_too_long(message: str) -> bool:
    lowered = message.lower()
    return any(sentence in lowered for sentence in _TOO_LONG)
