"""Google's errors as OpenAI's. Reference: google.rpc.Status in JSON (https://google.aip.dev/193)."""

import math

import msgspec

from podium.core.errors import UpstreamError
from podium.core.reasons import Reason

__all__ = ["openai_status", "retry_delay_s", "stream_error", "translate_error"]

_BAD_REQUEST, _UNAUTHENTICATED, _TOO_MANY, _UNAVAILABLE = 400, 401, 429, 503
_CREDENTIALS = (401, 403)
_FIRST_SERVER_ERROR = 500
_LONGEST_BARE_ERROR_BYTES = 64 * 1024  # longer ones are not looked for among what is no event
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class _Detail(msgspec.Struct):
    kind: str = msgspec.field(default="", name="@type")
    reason: str | None = None  # of an ErrorInfo
    retry_delay: str | None = msgspec.field(default=None, name="retryDelay")  # of a RetryInfo: "17.5s"


class _Error(msgspec.Struct):
    message: str = ""
    code: int | None = None
    status: str = ""
    details: list[_Detail] = []


class _Wrapped(msgspec.Struct):
    error: _Error


_decode = msgspec.json.Decoder(_Wrapped | list[_Wrapped]).decode
_encode = msgspec.json.Encoder().encode


def _read(body: bytes) -> _Error | None:
    """The error in a body, also as the only one of a list; None: there is none."""
    try:
        found: _Wrapped | list[_Wrapped] = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if isinstance(found, list):
        return found[0].error if found else None
    return found.error


def translate_error(status: int, body: bytes) -> bytes:
    """OpenAI's error body for an answer with this status; without Google's words when they cannot be read."""
    error = _read(body) or _Error()
    status = _status(status, error)
    kind = _TYPES.get(status) or ("server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error")
    message = error.message or "The model's server gave no reason."
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": _code(status, error)}})


def openai_status(status: int, body: bytes) -> int:
    """The status that OpenAI would have used: Google refuses an API key with 400."""
    error = _read(body)
    return _status(status, error) if error is not None else status


def retry_delay_s(body: bytes) -> float | None:
    """How long Google asks to wait before the next try; None: it does not say."""
    error = _read(body)
    return _retry_delay_s(error) if error is not None else None


def stream_error(data: bytes) -> UpstreamError | None:
    """The error that a stream reports; None: there is none."""
    if len(data) > _LONGEST_BARE_ERROR_BYTES:
        return None
    error = _read(data)
    if error is None:
        return None
    status = _status(error.code or 500, error)
    failure = _failure(status, _retry_delay_s(error))
    failure.upstream_status = status
    return failure


def _failure(status: int, retry_after_s: float | None) -> UpstreamError:
    """The same words as for an answer that is an error as a whole."""
    if status == _TOO_MANY:
        return UpstreamError(
            "The model's server has too many requests.",
            reason=Reason.UPSTREAM_RATE_LIMITED,
            status=_TOO_MANY,
            retry_after_s=retry_after_s,
        )
    if status in _CREDENTIALS:
        return UpstreamError("The model's server refused Podium's credentials.", hint="Check the provider's key.")
    return UpstreamError(
        "The model's server reported an error within the stream.",
        status=_UNAVAILABLE if status == _UNAVAILABLE else None,
        retry_after_s=retry_after_s,
    )


def _status(status: int, error: _Error) -> int:
    refused_key = status == _BAD_REQUEST and any(detail.reason == "API_KEY_INVALID" for detail in error.details)
    return _UNAUTHENTICATED if refused_key else status


def _code(status: int, error: _Error) -> str | None:
    if status == _BAD_REQUEST and _is_too_long(error.message):
        return "context_length_exceeded"
    return _CODES.get(status) or error.status.lower() or None


def _is_too_long(message: str) -> bool:
    """As in "The input token count (1054016) exceeds the maximum number of tokens allowed (1048576)."."""
    words = message.lower()
    return "token" in words and "exceed" in words and "maximum" in words


def _retry_delay_s(error: _Error) -> float | None:
    for detail in error.details:
        if detail.kind.endswith("google.rpc.RetryInfo") and detail.retry_delay:
            try:
                seconds = float(detail.retry_delay.removesuffix("s"))
            except ValueError:
                return None
            return seconds if math.isfinite(seconds) and seconds >= 0 else None
    return None
