"""Whether a failed upstream call may be tried once more."""

from enum import StrEnum

from podium.core.reasons import Reason

__all__ = ["MAX_ATTEMPTS", "RetryDecision", "may_retry"]

MAX_ATTEMPTS = 2  # one retry: more of them turn a slow upstream into a dead one
_MIN_TIME_LEFT_S = 0.05  # less cannot end well
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_BAD_GATEWAY, _UNAVAILABLE, _GATEWAY_TIMEOUT = 502, 503, 504
_OVERLOADED = 529  # Anthropic's word for 503


class RetryDecision(StrEnum):
    """What to do after a failed attempt, and why."""

    RETRY = "retry"  # on another backend if there is one, else on the same
    RETRY_ELSEWHERE = "retry_elsewhere"  # only on another backend
    CONTENT_SENT = "content_sent"
    ATTEMPTS_USED = "attempts_used"
    NO_TIME_LEFT = "no_time_left"
    NOT_RETRYABLE = "not_retryable"
    MAYBE_DONE = "maybe_done"
    NO_OTHER_BACKEND = "no_other_backend"

    @property
    def retry(self) -> bool:
        """True for both kinds of yes."""
        return self is RetryDecision.RETRY or self is RetryDecision.RETRY_ELSEWHERE


# By reason, or by reason and upstream status where the reason covers several. What is missing is final:
#   upstream_timeout    the model is likely still at work; a second call doubles the load and the caller's wait
#   upstream_invalid    the same server would answer in the same way
#   upstream_rejected   the request is wrong, not the place
#   upstream_error 500  the model failed on this input; a second call costs again
_AFTER: dict[Reason | tuple[Reason, int], RetryDecision] = {
    Reason.UPSTREAM_UNREACHABLE: RetryDecision.RETRY,  # nothing was sent
    Reason.UPSTREAM_BUSY: RetryDecision.RETRY_ELSEWHERE,  # nothing was sent, and here it would wait again
    Reason.UPSTREAM_BROKEN: RetryDecision.RETRY,  # often an idle connection that the server was closing
    (Reason.UPSTREAM_ERROR, _BAD_GATEWAY): RetryDecision.RETRY,  # these three: a proxy lost its server
    (Reason.UPSTREAM_ERROR, _UNAVAILABLE): RetryDecision.RETRY,
    (Reason.UPSTREAM_ERROR, _GATEWAY_TIMEOUT): RetryDecision.RETRY,
    (Reason.UPSTREAM_ERROR, _OVERLOADED): RetryDecision.RETRY,
    (Reason.UPSTREAM_ERROR, _UNAUTHORIZED): RetryDecision.RETRY_ELSEWHERE,  # these two: the key that we sent is wrong,
    (Reason.UPSTREAM_ERROR, _FORBIDDEN): RetryDecision.RETRY_ELSEWHERE,  # and another account has another one
    Reason.UPSTREAM_RATE_LIMITED: RetryDecision.RETRY_ELSEWHERE,  # the account of this backend is used up
}


def may_retry(  # noqa: PLR0911 - one line a rule
    *,
    reason: Reason,
    status: int | None = None,
    attempts: int,
    max_attempts: int = MAX_ATTEMPTS,
    content_sent: bool,
    surely_unsent: bool = False,
    idempotent: bool = True,
    other_backend: bool,
    time_left_s: float,
) -> RetryDecision:
    """Whether and where to call again.

    `status`: the upstream's, when it answered. `attempts`: calls made so far, this one too; `max_attempts`: how
    many there may be. `content_sent`: a byte of the answer went to the caller; after that, never.
    `surely_unsent`: the upstream cannot have read the whole request. `idempotent`: doing it twice harms nobody
    (chat, completions and embeddings only cost). `other_backend`: one that was not tried yet is there.
    """
    decision = _AFTER.get(reason) or _AFTER.get((reason, status or 0), RetryDecision.NOT_RETRYABLE)
    if content_sent:
        return RetryDecision.CONTENT_SENT
    if attempts >= max_attempts:
        return RetryDecision.ATTEMPTS_USED
    if not decision.retry:
        return decision
    if time_left_s < _MIN_TIME_LEFT_S:
        return RetryDecision.NO_TIME_LEFT
    if reason is Reason.UPSTREAM_BROKEN and not (surely_unsent or idempotent):
        return RetryDecision.MAYBE_DONE
    if decision is RetryDecision.RETRY_ELSEWHERE and not other_backend:
        return RetryDecision.NO_OTHER_BACKEND
    return decision
