"""Limits on calls at once that find themselves: made by the spec, told what ends of calls mean."""

import pytest

from podium.core.reasons import Reason
from podium.core.serving import Concurrency
from podium.gateway.concurrency import adaptive_limit, call_outcome
from podium.traffic.queueing.adaptive_concurrency import AimdLimit, CallOutcome, GradientLimit

OK, OVERLOADED, IGNORED = CallOutcome.OK, CallOutcome.OVERLOADED, CallOutcome.IGNORED


def test_the_spec_names_algorithm_and_bounds():
    limit = adaptive_limit(None, Concurrency(minimum=2, initial=3, maximum=4), 0, 1)
    assert isinstance(limit, GradientLimit)
    assert (limit.limit, limit.policy.minimum, limit.policy.maximum) == (3, 2, 4)
    other = adaptive_limit(limit, Concurrency(algorithm="aimd", slow_ms=50.0), 0, 1)
    assert isinstance(other, AimdLimit)
    assert other.policy.slow_ms == 50.0
    assert adaptive_limit(other, None, 0, 1) is None


def test_an_unchanged_spec_keeps_what_was_learnt_and_a_changed_one_the_calls_that_run():
    limit = adaptive_limit(None, Concurrency(), 0, 1)
    limit.started(1)
    assert adaptive_limit(limit, Concurrency(), 1, 2) is limit
    other = adaptive_limit(limit, Concurrency(initial=5), 1, 2)
    assert (other.limit, other.in_flight) == (5, 1)
    other.ended(3, None, IGNORED)
    assert other.in_flight == 0


@pytest.mark.parametrize(
    ("reason", "status", "patient", "outcome"),
    [
        (Reason.OK, 200, True, OK),
        (Reason.UPSTREAM_TIMEOUT, 0, True, OVERLOADED),
        (Reason.UPSTREAM_TIMEOUT, 0, False, IGNORED),
        (Reason.UPSTREAM_RATE_LIMITED, 429, False, OVERLOADED),
        (Reason.UPSTREAM_ERROR, 503, True, OVERLOADED),
        (Reason.UPSTREAM_ERROR, 529, True, OVERLOADED),
        (Reason.UPSTREAM_ERROR, 500, True, IGNORED),
        (Reason.UPSTREAM_BROKEN, 0, True, IGNORED),
        (Reason.UPSTREAM_REJECTED, 400, True, IGNORED),
        (Reason.CLIENT_GONE, 0, True, IGNORED),
    ],
)
def test_the_end_of_a_call_says_something_about_load_or_nothing(reason, status, patient, outcome):
    assert call_outcome(reason, status, patient=patient) is outcome
