"""The budget against a list of all requests and retries there ever were."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podium.traffic.retry_budget import BudgetDecision, RetryBudget, RetryBudgetPolicy

SECOND = 1_000_000_000


def test_a_share_of_the_requests_may_be_retried():
    budget = RetryBudget(RetryBudgetPolicy(ratio=0.2, minimum_per_s=0), 0)
    assert budget.withdraw(0) is BudgetDecision.BUDGET_USED_UP
    for _ in range(100):
        budget.deposit(0)
    assert [budget.withdraw(0) for _ in range(21)] == [BudgetDecision.WITHIN_RATIO] * 20 + [
        BudgetDecision.BUDGET_USED_UP
    ]


def test_a_minimum_is_there_without_any_traffic():
    budget = RetryBudget(RetryBudgetPolicy(ratio=0, minimum_per_s=0.5, window_s=10), 0)
    assert [budget.withdraw(0) for _ in range(6)] == [BudgetDecision.WITHIN_MINIMUM] * 5 + [
        BudgetDecision.BUDGET_USED_UP
    ]
    assert not budget.would_withdraw(10 * SECOND - 1).allowed
    assert budget.would_withdraw(11 * SECOND).allowed


def test_requests_count_for_one_window():
    budget = RetryBudget(RetryBudgetPolicy(ratio=1, minimum_per_s=0, window_s=10), 0)
    budget.deposit(0)
    assert budget.would_withdraw(9 * SECOND).allowed
    assert not budget.would_withdraw(10 * SECOND).allowed


@pytest.mark.parametrize("idle_s", range(11, 40))
def test_after_a_rest_of_any_length_all_is_forgotten(idle_s):
    budget = RetryBudget(RetryBudgetPolicy(ratio=1, minimum_per_s=0.1, window_s=10), 0)
    for second in range(11):
        budget.deposit(second * SECOND)
        budget.withdraw(second * SECOND)
    now = (10 + idle_s) * SECOND
    assert [budget.withdraw(now).allowed for _ in range(2)] == [True, False]


def test_asking_takes_nothing():
    budget = RetryBudget(RetryBudgetPolicy(ratio=0, minimum_per_s=0.1, window_s=10), 0)
    for _ in range(5):
        assert budget.would_withdraw(0).allowed
    assert budget.withdraw(0).allowed
    assert not budget.withdraw(0).allowed


def test_a_step_back_in_time_changes_nothing():
    budget = RetryBudget(RetryBudgetPolicy(ratio=1, minimum_per_s=0), 100 * SECOND)
    budget.deposit(50 * SECOND)
    assert budget.withdraw(20 * SECOND).allowed
    assert not budget.withdraw(100 * SECOND).allowed


@pytest.mark.parametrize("wrong", [{"ratio": -0.1}, {"minimum_per_s": -1}, {"window_s": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError):
        RetryBudgetPolicy(**wrong)


@given(st.integers(1, 50), st.integers(1, 400))
def test_a_steady_stream_that_always_fails_costs_its_share(percent, per_second):
    budget = RetryBudget(RetryBudgetPolicy(percent / 100, 0.0, 1.0), 0)
    requests = retries = 0
    for step in range(5 * per_second):
        now = step * SECOND // per_second
        budget.deposit(now)
        requests += 1
        retries += budget.withdraw(now).allowed
    assert retries <= requests * percent / 100
    if per_second >= 200 and percent >= 20:
        assert retries >= requests * percent / 100 * 0.75  # rule 2's price, and the start


class AgainstHistory(RuleBasedStateMachine):
    RATIO, MINIMUM_PER_S, WINDOW_S = 0.25, 0.5, 10

    def __init__(self):
        super().__init__()
        self.now = 1_234_567_890
        policy = RetryBudgetPolicy(self.RATIO, self.MINIMUM_PER_S, self.WINDOW_S)
        self.budget = RetryBudget(policy, self.now)
        self.requests, self.retries = [], []

    def within(self, moments, seconds):
        return sum(self.now - at < seconds * SECOND for at in moments)

    @rule(ms=st.sampled_from([1, 400, 999, 1000, 3700, 9999, 10_000, 60_000]))
    def time_passes(self, ms):
        self.now += ms * 1_000_000

    @rule(count=st.integers(1, 30))
    def request(self, count):
        for _ in range(count):
            self.budget.deposit(self.now)
            self.requests.append(self.now)

    @rule(count=st.integers(1, 12))
    def retry(self, count):
        for _ in range(count):
            decision = self.budget.withdraw(self.now)
            reserve = self.MINIMUM_PER_S * self.WINDOW_S
            surely = self.RATIO * self.within(self.requests, 9) + reserve
            if self.within(self.retries, 11) + 1 <= surely:
                assert decision.allowed
            if not decision.allowed:
                return
            self.retries.append(self.now)
            assert self.within(self.retries, 10) <= self.RATIO * self.within(self.requests, 10) + reserve

    @invariant()
    def memory_is_bounded(self):
        assert (len(self.budget._deposits), len(self.budget._withdrawals)) == (10, 11)
        assert self.budget._requests == sum(self.budget._deposits)
        assert self.budget._retries == sum(self.budget._withdrawals)


TestAgainstHistory = AgainstHistory.TestCase
TestAgainstHistory.settings = settings(max_examples=60)
