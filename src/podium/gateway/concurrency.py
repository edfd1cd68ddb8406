"""How many calls at once a backend bears: the limit that finds itself, and what the end of a call tells it."""

from podium.core.reasons import Reason
from podium.core.serving import Concurrency
from podium.traffic.queueing.adaptive_concurrency import (
    AdaptiveLimit,
    AimdLimit,
    CallOutcome,
    ConcurrencyPolicy,
    GradientLimit,
)

__all__ = ["adaptive_limit", "call_outcome"]

_ALGORITHMS = {"gradient": GradientLimit, "aimd": AimdLimit}
_OVERLOADED = (429, 503, 529)  # 529: Anthropic's word for overloaded


def adaptive_limit(
    old: AdaptiveLimit | None, spec: Concurrency | None, in_flight: int, now_ns: int
) -> AdaptiveLimit | None:
    """The limit for a spec; the old one when nothing has changed. `in_flight`: calls of the backend that run."""
    if spec is None:
        return None
    algorithm = _ALGORITHMS[spec.algorithm]
    policy = ConcurrencyPolicy(minimum=spec.minimum, maximum=spec.maximum, initial=spec.initial, slow_ms=spec.slow_ms)
    if isinstance(old, algorithm) and old.policy == policy:
        return old
    limit = algorithm(policy, now_ns)
    for _ in range(in_flight):  # those will end, and their ends be told
        limit.started(now_ns)
    return limit


def call_outcome(reason: Reason, upstream_status: int, *, patient: bool) -> CallOutcome:
    """What the end of a call says about its backend's load. `patient`: the time limit was not the caller's own."""
    if reason is Reason.OK:
        return CallOutcome.OK
    if reason is Reason.UPSTREAM_TIMEOUT:
        return CallOutcome.OVERLOADED if patient else CallOutcome.IGNORED
    if reason is Reason.UPSTREAM_RATE_LIMITED:
        return CallOutcome.OVERLOADED
    if reason is Reason.UPSTREAM_ERROR and upstream_status in _OVERLOADED:
        return CallOutcome.OVERLOADED
    return CallOutcome.IGNORED
