"""When to make a second call because the first one is slow, and when not.

Rules
1. The delay is a percentile of this model's own time to first content, so only unusually slow calls get a second.
2. Second calls are at most `max_share` of the traffic, whatever the delay: an upstream that is slow as a whole
   must not get twice the load.
"""

from dataclasses import dataclass
from enum import StrEnum

from podium.traffic.latency import LatencyWindow
from podium.traffic.retry_budget import RetryBudget, RetryBudgetPolicy

__all__ = ["HedgePlan", "HedgePolicy", "HedgeReason", "Hedger"]

_REFRESH_NS = 1_000_000_000  # how long a percentile is kept


class HedgeReason(StrEnum):
    """Why there is a second call after that delay, or none."""

    PERCENTILE = "percentile"
    MINIMUM_DELAY = "minimum_delay"  # the percentile is shorter
    MAXIMUM_DELAY = "maximum_delay"  # the percentile is longer
    TOO_FEW_SAMPLES = "too_few_samples"
    SHARE_USED_UP = "share_used_up"


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """How soon, and how often.

    The 95th percentile, which costs about 5 % more calls, is the advice of Dean and Barroso, "The Tail at Scale"
    (CACM 56:2, 2013).
    """

    percentile: float = 0.95
    minimum_delay_s: float = 0.05
    maximum_delay_s: float = 10.0
    max_share: float = 0.05
    minimum_samples: int = 50  # fewer say nothing about a tail
    window_s: float = 60.0  # of the share; samples count for one to two of these

    def __post_init__(self) -> None:
        if not (0 < self.percentile < 1 and 0 < self.max_share <= 1):
            raise ValueError("`percentile` lies between 0 and 1, `max_share` is above 0 and at most 1")
        if not 0 <= self.minimum_delay_s <= self.maximum_delay_s:
            raise ValueError("`minimum_delay_s` is at most `maximum_delay_s`")
        if self.minimum_samples < 1:
            raise ValueError("`minimum_samples` is at least 1")


@dataclass(frozen=True, slots=True)
class HedgePlan:
    """What to do when no content has come yet; `delay_s` None: just wait."""

    delay_s: float | None
    why: HedgeReason


_TOO_FEW = HedgePlan(None, HedgeReason.TOO_FEW_SAMPLES)
_USED_UP = HedgePlan(None, HedgeReason.SHARE_USED_UP)


class Hedger:
    """Hedging for one model. For each exchange: `plan`, then `start` once the delay is over, `observe` at the end."""

    __slots__ = ("_budget", "_latency", "_plan", "_stale_at_ns", "policy")

    def __init__(self, policy: HedgePolicy, now_ns: int) -> None:
        self.policy = policy
        self._latency = LatencyWindow(now_ns, policy.window_s)
        self._budget = RetryBudget(RetryBudgetPolicy(policy.max_share, 0.0, policy.window_s), now_ns)
        self._plan = _TOO_FEW
        self._stale_at_ns = now_ns

    def observe(self, ttft_ms: float, now_ns: int) -> None:
        """Count how long a call took to its first content; a cancelled one counts with what it had taken by then."""
        self._latency.add(ttft_ms, now_ns)

    def plan(self, now_ns: int) -> HedgePlan:
        """The delay for a new exchange, which this counts as traffic."""
        self._budget.deposit(now_ns)
        if now_ns >= self._stale_at_ns:
            self._plan = self._made_plan(now_ns)
            self._stale_at_ns = now_ns + _REFRESH_NS
        if self._plan.delay_s is not None and not self._budget.would_withdraw(now_ns).allowed:
            return _USED_UP
        return self._plan

    def start(self, now_ns: int) -> bool:
        """Take a second call out of the share; False: the share is used up, so make none."""
        return self._budget.withdraw(now_ns).allowed

    def _made_plan(self, now_ns: int) -> HedgePlan:
        policy = self.policy
        tail_ms = self._latency.percentile_ms(policy.percentile, now_ns)
        if tail_ms is None or self._latency.count < policy.minimum_samples:
            return _TOO_FEW
        tail_s = tail_ms / 1000
        if tail_s < policy.minimum_delay_s:
            return HedgePlan(policy.minimum_delay_s, HedgeReason.MINIMUM_DELAY)
        if tail_s > policy.maximum_delay_s:
            return HedgePlan(policy.maximum_delay_s, HedgeReason.MAXIMUM_DELAY)
        return HedgePlan(tail_s, HedgeReason.PERCENTILE)
