"""Errors as Anthropic's API says them. Reference: https://docs.claude.com/en/api/errors."""

import msgspec

from podium.core.errors import InvalidRequest, PodiumError
from podium.core.reasons import Fault
from podium.wire.openai import encode_json

__all__ = ["error_body", "error_event", "error_type", "mistyped"]

# By status; 503, which is ours, means what 529 means there.
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIRST_SERVER_ERROR = 500


def error_type(status: int) -> str:
    """Anthropic's word for an error with this status."""
    usual = "api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    return _TYPES.get(status, usual)


def _error_object(error: PodiumError) -> dict[str, object]:
    """Anthropic's error object, and two fields of ours: `code` is our stable reason, `param` the request's field."""
    kind = _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.fault is Fault.CALLER else "api_error"
    said: dict[str, object] = {"type": kind, "message": error.message, "code": str(error.reason)}
    if error.parameter is not None:
        said["param"] = error.parameter
    return said


def error_body(error: PodiumError, request_id: str) -> bytes:
    """The body of an error answer."""
    return encode_json({"type": "error", "error": _error_object(error), "request_id": request_id})


def error_event(error: PodiumError) -> bytes:
    """The event that ends a broken stream; no `message_stop` follows it."""
    return b"event: error\ndata: " + encode_json({"type": "error", "error": _error_object(error)}) + b"\n\n"


def mistyped(error: msgspec.ValidationError, within: str = "") -> InvalidRequest:
    """What the caller hears of a field with the wrong type; `within` is the path of what was decoded."""
    message, _, path = str(error).partition(" - at `$")
    return InvalidRequest(f"{message}.", parameter=(within + path.removesuffix("`")).strip(".") or None)
