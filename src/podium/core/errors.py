"""Every error that Podium raises on purpose.

The tree::

    PodiumError
      * CallerError            the caller has to change something
        + InvalidRequest         400
        + RequestTooLarge        413
        + UnsupportedMediaType   415
        + RequestTimeout         408
        + Unauthenticated        401
        + BudgetExhausted        402
        + Forbidden              403
        + NotFound               404
        + MethodNotAllowed       405
        + Conflict               409
        + RateLimited            429
        + ClientGone             499
      * ServiceError           Podium cannot serve right now
        + InternalError          500
        + Unavailable            503
        + Overloaded             503
      * UpstreamError          the model's server failed
        + UpstreamFailed         502
        + UpstreamTimeout        504
      * OperatorError          set-up, configuration or data on disk is wrong

An error knows whose fault it is, whether the same request may succeed when it is repeated, the HTTP
status, a stable `reason`, a sentence for the caller and a hint for the operator. `web` renders it in
the caller's wire format; the command line prints sentence and hint.
"""

from typing import ClassVar

from podium.core.reasons import Fault, Reason

__all__ = [
    "BudgetExhausted",
    "CallerError",
    "ClientGone",
    "Conflict",
    "Forbidden",
    "InternalError",
    "InvalidRequest",
    "MethodNotAllowed",
    "NotFound",
    "OperatorError",
    "Overloaded",
    "PodiumError",
    "RateLimited",
    "RequestTimeout",
    "RequestTooLarge",
    "ServiceError",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedMediaType",
    "UpstreamError",
    "UpstreamFailed",
    "UpstreamTimeout",
]


class PodiumError(Exception):
    """Base of the tree; never raised itself.

    `message` is shown to the caller and holds nothing secret; `hint` is for the operator; `parameter`
    names the offending request field; `retry_after_s` is how long to wait before a repeat can help.
    """

    fault: ClassVar[Fault]
    status: int
    retryable: ClassVar[bool] = False
    default_reason: ClassVar[Reason]

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        status: int | None = None,
        hint: str = "",
        parameter: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        if status is not None:
            self.status = status
        self.hint = hint
        self.parameter = parameter
        self.retry_after_s = retry_after_s


class CallerError(PodiumError):
    """The caller has to change something."""

    fault = Fault.CALLER
    status = 400
    default_reason = Reason.INVALID_REQUEST


class InvalidRequest(CallerError):
    """The request's content is wrong."""


class RequestTooLarge(CallerError):
    """The body or the head is over the size limit."""

    status = 413
    default_reason = Reason.REQUEST_TOO_LARGE


class UnsupportedMediaType(CallerError):
    """The content type is not one that the endpoint reads."""

    status = 415
    default_reason = Reason.UNSUPPORTED_MEDIA_TYPE


class RequestTimeout(CallerError):
    """The caller sent head or body too slowly."""

    status = 408
    retryable = True
    default_reason = Reason.REQUEST_TIMEOUT


class Unauthenticated(CallerError):
    """Who calls is not known."""

    status = 401
    default_reason = Reason.INVALID_API_KEY


class BudgetExhausted(CallerError):
    """A budget has no room for the exchange; `retry_after_s` is None when waiting does not help."""

    status = 402
    default_reason = Reason.BUDGET_EXHAUSTED


class Forbidden(CallerError):
    """Who calls is known, and may not do this."""

    status = 403
    default_reason = Reason.MODEL_NOT_ALLOWED


class NotFound(CallerError):
    """What the request names does not exist, or not for this caller."""

    status = 404
    default_reason = Reason.ROUTE_NOT_FOUND


class MethodNotAllowed(CallerError):
    """The path exists, the method does not; `allowed` are those that do."""

    status = 405
    default_reason = Reason.METHOD_NOT_ALLOWED

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Conflict(CallerError):
    """The state has changed, or forbids the change."""

    status = 409


class RateLimited(CallerError):
    """A limit of the caller's key or tenant is used up."""

    status = 429
    retryable = True
    default_reason = Reason.REQUESTS_LIMITED


class ClientGone(CallerError):
    """The caller closed the connection; 499 is nginx's word for it and is only ever recorded."""

    status = 499
    default_reason = Reason.CLIENT_GONE


class ServiceError(PodiumError):
    """Podium cannot serve right now."""

    fault = Fault.PODIUM
    status = 500
    default_reason = Reason.INTERNAL_ERROR


class InternalError(ServiceError):
    """A bug."""


class Unavailable(ServiceError):
    """A part that the exchange needs is missing; it will be back."""

    status = 503
    retryable = True
    default_reason = Reason.NOT_READY


class Overloaded(ServiceError):
    """More is asked than can be served; it was refused before it cost anything."""

    status = 503
    retryable = True
    default_reason = Reason.OVERLOADED


class UpstreamError(PodiumError):
    """The model's server failed. `upstream_status` is what it answered; None: nothing that can be read.

    `partial` is good content of a stream that came in the same piece as the failure: whole events as the caller
    reads them.
    """

    fault = Fault.UPSTREAM
    status = 502
    retryable = True
    default_reason = Reason.UPSTREAM_ERROR
    upstream_status: int | None = None
    partial: bytes = b""


class UpstreamFailed(UpstreamError):
    """No connection, a broken one, or an answer that cannot be read."""

    default_reason = Reason.UPSTREAM_UNREACHABLE


class UpstreamTimeout(UpstreamError):
    """The answer did not come in time."""

    status = 504
    default_reason = Reason.UPSTREAM_TIMEOUT


class OperatorError(PodiumError):
    """Set-up, configuration or data on disk is wrong; the command line prints it and exits non-zero."""

    fault = Fault.PODIUM
    status = 500
    default_reason = Reason.INTERNAL_ERROR
