"""What an upstream's whole answer means for the caller."""

from podium.core.errors import PodiumError, UpstreamError, UpstreamFailed
from podium.core.reasons import Fault, Reason
from podium.gateway.ports import Answer
from podium.traffic.account_backoff import speaks_of_limits

__all__ = ["RejectedByUpstream", "is_plain_success", "refusal"]

_OK = 200
_CREDENTIALS = (401, 403)
_TOO_MANY = 429
_FIRST_CALLER_ERROR = 400
_FIRST_SERVER_ERROR = 500
_OVERLOADED = (503, 529)  # 529: Anthropic's word for overloaded


class RejectedByUpstream(PodiumError):
    """The model's server says that the request is wrong: its own words are the best ones.

    `body` is what it said, passed on when it is JSON, else empty.
    """

    fault = Fault.CALLER
    status = 400
    default_reason = Reason.UPSTREAM_REJECTED

    def __init__(self, answer: Answer) -> None:
        super().__init__("The model's server rejected the request.", status=answer.status)
        json = answer.headers.get(b"content-type", b"").startswith(b"application/json")
        self.body = answer.body if json and answer.body.startswith(b"{") else b""


def is_plain_success(answer: Answer, *, streamed: bool) -> bool:
    """True when an answer is what was asked for and says nothing about limits: most of them, told quickly."""
    return (
        answer.status == _OK
        and answer.streamed == streamed
        and b"content-encoding" not in answer.headers
        and not speaks_of_limits(answer.headers)
    )


def refusal(answer: Answer, *, streamed: bool, retry_after_s: float | None = None) -> PodiumError | None:
    """None when the answer is what was asked for, else what to make of it. `retry_after_s`: what the upstream said."""
    error = _refusal(answer, streamed=streamed)
    if error is not None:
        error.retry_after_s = retry_after_s
    if isinstance(error, UpstreamError):
        error.upstream_status = answer.status
    return error


def _refusal(answer: Answer, *, streamed: bool) -> PodiumError | None:
    status = answer.status
    if status == _OK and answer.streamed == streamed and b"content-encoding" not in answer.headers:
        return None
    if status < _FIRST_CALLER_ERROR:
        return UpstreamFailed(
            "The model's server answered in another form than was asked for.",
            reason=Reason.UPSTREAM_INVALID,
            hint="Redirects are not followed: correct the provider's `base_url`.",
        )
    if status == _TOO_MANY:
        return UpstreamError(
            "The model's server has too many requests.",
            reason=Reason.UPSTREAM_RATE_LIMITED,
            status=_TOO_MANY,
        )
    if status in _CREDENTIALS:
        return UpstreamError(
            "The model's server refused Podium's credentials.",
            hint="Check the provider's `api_key` and `headers`.",
        )
    if status < _FIRST_SERVER_ERROR:
        return RejectedByUpstream(answer)
    return UpstreamError(
        "The model's server failed.",
        status=503 if status in _OVERLOADED else None,
    )
