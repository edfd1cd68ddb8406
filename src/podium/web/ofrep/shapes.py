"""What OpenFeature's Remote Evaluation Protocol says on the wire (open-feature/protocol, service/openapi.yaml)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from podium.core.errors import InvalidRequest, PodiumError
from podium.core.reasons import Reason
from podium.delivery.flags.values import ErrorCode, Evaluation

__all__ = [
    "CONFIGURATION",
    "all_answers",
    "error_details",
    "failure_answer",
    "one_answer",
    "read_context",
    "status_of",
]

_MAX_ATTRIBUTES = 100
_MAX_ELEMENTS = 100
_MAX_TEXT = 1024


class InvalidContext(InvalidRequest):
    """The context is JSON, and none that flags can be evaluated for."""


class _Body(msgspec.Struct):
    context: dict[str, Any] | None = None


_read_body = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode

# `polling`: a client may ask for all flags every second; unchanged ones are not sent again.
CONFIGURATION = _encode(
    {
        "name": "podium",
        "capabilities": {
            "cacheInvalidation": {"polling": {"enabled": True, "minPollingIntervalMs": 1000}},
            "flagEvaluation": {"supportedTypes": ["boolean", "string", "int", "float", "object"]},
        },
    }
)


def read_context(body: bytes) -> dict[str, object]:
    """The attributes that a request says. InvalidRequest: no JSON; InvalidContext: not of a form, or too large.

    Values are texts, numbers, truths, or lists of these; what is null or nested is no attribute.
    """
    if not body.strip():
        return {}
    try:
        said = _read_body(body).context or {}
    except msgspec.ValidationError as error:
        raise InvalidContext(f"The request has no context that can be read: {error}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidRequest("The body is not valid JSON.", reason=Reason.INVALID_JSON) from None
    if len(said) > _MAX_ATTRIBUTES:
        raise InvalidContext(f"The context has more than {_MAX_ATTRIBUTES} attributes.")
    return {_checked(name): value for name, value in said.items() if _usable(name, value)}


def _usable(name: str, value: object) -> bool:
    if isinstance(value, list):
        if len(value) > _MAX_ELEMENTS:
            raise InvalidContext(f"The list {name[:64]!r} of the context has more than {_MAX_ELEMENTS} elements.")
        return all(_usable(name, element) and not isinstance(element, list) for element in value)
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise InvalidContext(f"{name[:64]!r} of the context is longer than {_MAX_TEXT} characters.")
    return isinstance(value, str | int | float)


def _checked(name: str) -> str:
    if len(name) > _MAX_TEXT:
        raise InvalidContext(f"A name in the context is longer than {_MAX_TEXT} characters.")
    return name


def one_answer(key: str, evaluation: Evaluation) -> bytes:
    """The body for one flag; it may be a failure."""
    return _encode(_answer(key, evaluation))


def all_answers(flags: Iterable[tuple[str, Evaluation]]) -> bytes:
    """The body for many flags."""
    return _encode({"flags": [_answer(key, evaluation) for key, evaluation in flags]})


def status_of(evaluation: Evaluation) -> int:
    """The HTTP status of an answer for one flag."""
    if evaluation.error is None:
        return 200
    return 404 if evaluation.error is ErrorCode.FLAG_NOT_FOUND else 400


def failure_answer(key: str | None, error: PodiumError) -> bytes:
    """The body for a request that cannot be read; `key` None: it was for all flags."""
    if isinstance(error, InvalidContext):
        code = ErrorCode.INVALID_CONTEXT
    else:
        code = ErrorCode.PARSE_ERROR if error.reason is Reason.INVALID_JSON else ErrorCode.GENERAL
    about = {} if key is None else {"key": key}
    return _encode({**about, "errorCode": code, "errorDetails": error.message})


def error_details(message: str) -> bytes:
    """The body of every other error."""
    return _encode({"errorDetails": message})


def _answer(key: str, evaluation: Evaluation) -> dict[str, object]:
    if evaluation.error is not None:
        return {"key": key, "errorCode": evaluation.error, "errorDetails": evaluation.detail}
    answer: dict[str, object] = {
        "key": key,
        "reason": evaluation.reason,
        "variant": evaluation.variant,
        "value": evaluation.value,
    }
    told = {"rule": evaluation.rule, "prerequisite": evaluation.prerequisite}
    metadata = {name: value for name, value in told.items() if value}
    return answer | {"metadata": metadata} if metadata else answer
