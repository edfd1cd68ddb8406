"""Every error of the admin API in one shape.

    {"error": {"reason": "conflict", "message": "...", "hint": "...", "parameter": "...", "problems": [...]}}

`reason` is one of `AdminReason` or, for what the data plane knows too, of `podium.core.reasons.Reason`.
"""

import traceback
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import Meta

from podium.control.problems import InvalidDocuments, Problem, StateConflict
from podium.core.errors import Conflict, InternalError, NotFound, PodiumError
from podium.core.reasons import Reason

__all__ = ["AdminReason", "ErrorAnswer", "ErrorDetail", "exception_handlers"]

_log = structlog.get_logger("podium.web.admin")

_SERVER_ERROR = 500
_BODY_LIMIT_HINT = "the limit is `admin.max_body_bytes`"


class AdminReason(StrEnum):
    """Reasons that only the admin API has."""

    CONFLICT = "conflict"
    NOT_FOUND = "not_found"


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong."""

    reason: Annotated[str, Meta(description="Stable word, for programs.")]
    message: Annotated[str, Meta(description="A sentence, for people.")]
    hint: Annotated[str, Meta(description="What can be done about it.")] = ""
    parameter: Annotated[str, Meta(description="The field or key path in question.")] = ""
    problems: Annotated[tuple[Problem, ...], Meta(description="Each thing to mend, when there can be several.")] = ()


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer with a status of 400 and above."""

    error: ErrorDetail


_REASON_OF_STATUS = {
    400: Reason.INVALID_REQUEST,
    404: Reason.ROUTE_NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.REQUEST_TOO_LARGE,
    415: Reason.UNSUPPORTED_MEDIA_TYPE,
    503: Reason.NOT_READY,
}
_SENTENCE_OF_STATUS = {
    404: "there is nothing at this path",
    405: "this path does not know the method",
    413: "the body is too large",
}


def exception_handlers() -> ExceptionHandlersMap:
    """How the application renders what its handlers raise."""
    return {PodiumError: _podium_error, HTTPException: _framework_error, Exception: _bug}


def _podium_error(_: Request[Any, Any, Any], error: PodiumError) -> Response[ErrorAnswer]:
    problems = error.problems if isinstance(error, InvalidDocuments | StateConflict) else ()
    detail = ErrorDetail(
        reason=_reason(error),
        message=error.message,
        hint=error.hint,
        parameter=error.parameter or "",
        problems=problems,
    )
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"  # RFC 9110, section 11.6.1
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.status >= _SERVER_ERROR:
        _log.warning("admin request failed", reason=detail.reason, error=error.message)
    return _answer(error.status, detail, headers)


def _reason(error: PodiumError) -> str:
    if isinstance(error, Conflict):
        return AdminReason.CONFLICT
    if isinstance(error, NotFound):
        return AdminReason.NOT_FOUND
    return error.reason


def _framework_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorAnswer]:
    status = error.status_code
    if status >= _SERVER_ERROR:
        return _bug(_, error)
    parameter, message = _first_complaint(error)
    detail = ErrorDetail(
        reason=_REASON_OF_STATUS.get(status, Reason.INVALID_REQUEST),
        message=_SENTENCE_OF_STATUS.get(status) or message or error.detail,
        hint=_BODY_LIMIT_HINT if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else "",
        parameter=parameter,
    )
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _answer(status, detail, headers)


def _answer(status: int, detail: ErrorDetail, headers: dict[str, str]) -> Response[ErrorAnswer]:
    # Routes set this by themselves; an error may come from before any route was found.
    headers["cache-control"] = "no-store"
    return Response(ErrorAnswer(detail), status_code=status, headers=headers, media_type="application/json")


def _first_complaint(error: HTTPException) -> tuple[str, str]:
    """Parameter and message of the framework's first validation complaint."""
    extra = error.extra
    if not isinstance(extra, list) or not extra or not isinstance(extra[0], dict):
        return "", ""
    # `data` is what the framework calls the body.
    key = str(extra[0].get("key", "")).removeprefix("data").removeprefix(".")
    message = str(extra[0].get("message", ""))
    if message == "'data'":
        return "", "a JSON body is needed"
    return key, f"{key}: {message}" if key else message


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    # Formatted here: a renderer that shows local variables would show the caller's key.
    stack = "".join(traceback.format_exception(error))
    _log.error("admin request broke", method=request.method, path=request.url.path, stack=stack)
    return _podium_error(
        request, InternalError("something broke inside", hint="the log of the control process says what")
    )
