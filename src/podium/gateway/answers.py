"""What an upstream's whole answer means for the caller."""

import msgspec

from podium.core.errors import PodiumError, UpstreamError, UpstreamFailed
from podium.core.reasons import Fault, Reason
from podium.gateway.ports import Answer
from podium.traffic.account_backoff import speaks_of_limits
from podium.traffic.fallback import FallbackCause, cause_of

__all__ = ["RefusedByUpstream", "RejectedByUpstream", "cause_to_go_on", "is_plain_success", "refusal"]

_OK = 200
_CREDENTIALS = (401, 403)
_TOO_MANY = 429
_FIRST_CALLER_ERROR = 400
_FIRST_SERVER_ERROR = 500
_OVERLOADED = (503, 529)  # 529: Anthropic's word for overloaded


class _Said(msgspec.Struct):
    """The error object of either dialect."""

    message: str = ""
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Said = msgspec.field(default_factory=_Said)


_decode = msgspec.json.Decoder(_ErrorBody).decode


class RefusedByUpstream(UpstreamError):
    """The model's server answered with an error that is not the caller's. `said` is its body; callers do not see it."""

    said = b""


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
        self.said = answer.body
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
    if isinstance(error, RefusedByUpstream):
        error.said = answer.body
    return error


def cause_to_go_on(error: PodiumError) -> FallbackCause | None:
    """What another model may do better after this error; None: nothing."""
    if isinstance(error, RejectedByUpstream):
        return _cause(error.reason, error.status, error.said)
    if isinstance(error, RefusedByUpstream):
        return _cause(error.reason, error.upstream_status, error.said)
    return cause_of(error.reason, error.upstream_status if isinstance(error, UpstreamError) else None)


def _cause(reason: Reason, status: int | None, body: bytes) -> FallbackCause | None:
    try:
        said = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = _Said()
    return cause_of(reason, status, code=str(said.code or said.type or ""), message=said.message)


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
    if status >= _FIRST_SERVER_ERROR:
        return RefusedByUpstream("The model's server failed.", status=503 if status in _OVERLOADED else None)
    if status == _TOO_MANY:
        return UpstreamError(
            "The model's server has too many requests.",
            reason=Reason.UPSTREAM_RATE_LIMITED,
            status=_TOO_MANY,
        )
    if status not in _CREDENTIALS or _refuses_content(answer):
        return RejectedByUpstream(answer)
    return RefusedByUpstream(
        "The model's server refused Podium's credentials.",
        hint="Check the provider's `api_key` and `headers`.",
    )


def _refuses_content(answer: Answer) -> bool:
    """True for a prompt that a provider does not like; some say so with the status of wrong credentials (xAI's 403)."""
    return _cause(Reason.UPSTREAM_REJECTED, answer.status, answer.body) is FallbackCause.CONTENT_REFUSED
