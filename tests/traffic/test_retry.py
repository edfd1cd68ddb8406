import pytest

from podium.core.reasons import Reason
from podium.traffic.retry import RetryDecision, may_retry


def ask(reason, status=None, **changes):
    usual = {"attempts": 1, "content_sent": False, "other_backend": True, "time_left_s": 10.0}
    return may_retry(reason=reason, status=status, **(usual | changes))


@pytest.mark.parametrize(
    ("reason", "status", "decision"),
    [
        (Reason.UPSTREAM_UNREACHABLE, None, RetryDecision.RETRY),
        (Reason.UPSTREAM_BROKEN, None, RetryDecision.RETRY),
        (Reason.UPSTREAM_ERROR, 502, RetryDecision.RETRY),
        (Reason.UPSTREAM_ERROR, 503, RetryDecision.RETRY),
        (Reason.UPSTREAM_ERROR, 504, RetryDecision.RETRY),
        (Reason.UPSTREAM_ERROR, 529, RetryDecision.RETRY),
        (Reason.UPSTREAM_RATE_LIMITED, 429, RetryDecision.RETRY_ELSEWHERE),
        (Reason.UPSTREAM_ERROR, 401, RetryDecision.RETRY_ELSEWHERE),
        (Reason.UPSTREAM_ERROR, 403, RetryDecision.RETRY_ELSEWHERE),
        (Reason.UPSTREAM_ERROR, 500, RetryDecision.NOT_RETRYABLE),
        (Reason.UPSTREAM_ERROR, None, RetryDecision.NOT_RETRYABLE),
        (Reason.UPSTREAM_REJECTED, 400, RetryDecision.NOT_RETRYABLE),
        (Reason.UPSTREAM_INVALID, 200, RetryDecision.NOT_RETRYABLE),
        (Reason.UPSTREAM_TIMEOUT, None, RetryDecision.NOT_RETRYABLE),
        (Reason.CLIENT_GONE, None, RetryDecision.NOT_RETRYABLE),
        (Reason.INTERNAL_ERROR, None, RetryDecision.NOT_RETRYABLE),
    ],
)
def test_the_failure_decides(reason, status, decision):
    assert ask(reason, status) is decision


@pytest.mark.parametrize("reason", list(Reason))
def test_nothing_is_retried_after_a_content_byte(reason):
    assert ask(reason, 503, content_sent=True) is RetryDecision.CONTENT_SENT


@pytest.mark.parametrize("reason", list(Reason))
def test_there_is_one_retry(reason):
    assert not ask(reason, 503, attempts=2).retry


def test_a_retry_needs_time():
    assert ask(Reason.UPSTREAM_UNREACHABLE, time_left_s=0.01) is RetryDecision.NO_TIME_LEFT


def test_one_backend_alone_is_tried_again_but_not_when_it_limits():
    assert ask(Reason.UPSTREAM_UNREACHABLE, other_backend=False) is RetryDecision.RETRY
    assert ask(Reason.UPSTREAM_RATE_LIMITED, 429, other_backend=False) is RetryDecision.NO_OTHER_BACKEND


def test_what_may_have_been_done_is_repeated_only_when_that_harms_nobody():
    assert ask(Reason.UPSTREAM_BROKEN, idempotent=False) is RetryDecision.MAYBE_DONE
    assert ask(Reason.UPSTREAM_BROKEN, idempotent=False, surely_unsent=True) is RetryDecision.RETRY
    assert ask(Reason.UPSTREAM_UNREACHABLE, idempotent=False) is RetryDecision.RETRY
