"""Retries as a share of traffic, so that a failing upstream never gets a storm of them.

Rules
1. In the window that ends with a retry there are never more retries than `ratio` of the requests in that window,
   plus `minimum_per_s` for each of its seconds. So a retry that was allowed once costs its place for one window.
2. Time is cut into buckets. Requests are counted a little too short and retries a little too long, so that
   rule 1 holds to the letter; the price is at most a tenth of the requests.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BudgetDecision", "RetryBudget", "RetryBudgetPolicy"]

_BUCKETS = 10
_SECOND_NS = 1_000_000_000


class BudgetDecision(StrEnum):
    """Whether there was budget for one more, and from where."""

    WITHIN_RATIO = "within_ratio"
    WITHIN_MINIMUM = "within_minimum"
    BUDGET_USED_UP = "budget_used_up"

    @property
    def allowed(self) -> bool:
        """True for both kinds of yes."""
        return self is not BudgetDecision.BUDGET_USED_UP


@dataclass(frozen=True, slots=True)
class RetryBudgetPolicy:
    """How many retries there may be.

    20 % of the requests, counted over 10 s, plus 10 a second are Finagle's and Linkerd's defaults
    (https://finagle.github.io/blog/2016/02/08/retry-budgets). One a second here: a model call costs a thousand
    times what theirs do, and a gateway has fewer of them.
    """

    ratio: float = 0.2
    minimum_per_s: float = 1.0
    window_s: float = 10.0

    def __post_init__(self) -> None:
        if self.ratio < 0 or self.minimum_per_s < 0 or self.window_s < 0.01:  # noqa: PLR2004 - 1 ms a bucket
            raise ValueError("a budget's numbers are not negative, and its window is at least 10 ms")


class RetryBudget:
    """The budget of one model, or whatever shares one. `now_ns` is monotonic; a step back counts as no time."""

    __slots__ = ("_bucket", "_bucket_ns", "_deposits", "_ratio", "_requests", "_reserve", "_retries", "_withdrawals")

    def __init__(self, policy: RetryBudgetPolicy, now_ns: int) -> None:
        self._bucket_ns = int(policy.window_s * _SECOND_NS) // _BUCKETS
        self._ratio = policy.ratio
        self._reserve = policy.minimum_per_s * policy.window_s
        self._bucket = now_ns // self._bucket_ns
        # Requests in the window: the current bucket and nine, which is less than the window. Retries: one bucket
        # more, which is more than the window.
        self._deposits = [0] * _BUCKETS
        self._withdrawals = [0] * (_BUCKETS + 1)
        self._requests = 0  # sum of deposits
        self._retries = 0  # sum of withdrawals

    def deposit(self, now_ns: int) -> None:
        """Count a request; a retry of it is not one."""
        if now_ns // self._bucket_ns > self._bucket:
            self._advance(now_ns // self._bucket_ns)
        self._deposits[self._bucket % _BUCKETS] += 1
        self._requests += 1

    def withdraw(self, now_ns: int) -> BudgetDecision:
        """Take one retry out of the budget, if there is one."""
        decision = self.would_withdraw(now_ns)
        if decision.allowed:
            self._withdrawals[self._bucket % (_BUCKETS + 1)] += 1
            self._retries += 1
        return decision

    def would_withdraw(self, now_ns: int) -> BudgetDecision:
        """What `withdraw` would say; takes nothing."""
        if now_ns // self._bucket_ns > self._bucket:
            self._advance(now_ns // self._bucket_ns)
        by_ratio = self._ratio * self._requests
        if self._retries + 1 <= by_ratio:
            return BudgetDecision.WITHIN_RATIO
        if self._retries + 1 <= by_ratio + self._reserve:
            return BudgetDecision.WITHIN_MINIMUM
        return BudgetDecision.BUDGET_USED_UP

    def _advance(self, bucket: int) -> None:
        """Empty the buckets that are taken into use again."""
        for number in range(max(self._bucket, bucket - _BUCKETS - 1) + 1, bucket + 1):
            self._requests -= self._deposits[number % _BUCKETS]
            self._deposits[number % _BUCKETS] = 0
            self._retries -= self._withdrawals[number % (_BUCKETS + 1)]
            self._withdrawals[number % (_BUCKETS + 1)] = 0
        self._bucket = bucket
