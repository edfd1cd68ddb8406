import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podium.core.reasons import Reason
from podium.traffic.limits import Grant, Limiter, Refusal
from podium.traffic.meter import MINUTE_NS
from podium.traffic.rules import LimitRule

SECOND = 1_000_000_000


def granted(outcome):
    assert isinstance(outcome, Grant), outcome.message
    return outcome


def refused(outcome):
    assert isinstance(outcome, Refusal)
    return outcome


def test_without_rules_everything_is_admitted():
    limiter = Limiter()
    grant = granted(limiter.acquire((), 10**9, 0))
    limiter.settle(grant, 5, 0)
    assert len(limiter) == 0


def test_a_minutes_worth_comes_at_once_and_then_evenly():
    limiter, rules = Limiter(), (LimitRule("key:a", requests_per_minute=60),)
    for _ in range(60):
        granted(limiter.acquire(rules, 1, 0))
    refusal = refused(limiter.acquire(rules, 1, 0))
    assert (refusal.reason, refusal.retry_after_s) == (Reason.REQUESTS_LIMITED, 1.0)
    assert refusal.message == "The limit of 60 requests a minute for this key is used up."
    refused(limiter.acquire(rules, 1, SECOND - 1))
    granted(limiter.acquire(rules, 1, SECOND))
    refused(limiter.acquire(rules, 1, SECOND))


def test_tokens_are_limited_by_estimate_and_corrected_downwards():
    limiter, rules = Limiter(), (LimitRule("tenant:acme", tokens_per_minute=600),)
    grant = granted(limiter.acquire(rules, 600, 0))
    refusal = refused(limiter.acquire(rules, 100, 0))
    assert (refusal.reason, refusal.retry_after_s) == (Reason.TOKENS_LIMITED, 10.0)
    assert refusal.message == "The limit of 600 tokens a minute for this tenant is used up."
    limiter.settle(grant, 500, 0)
    granted(limiter.acquire(rules, 100, 0))
    refused(limiter.acquire(rules, 1, 0))


def test_tokens_above_the_estimate_are_owed():
    limiter, rules = Limiter(), (LimitRule("tenant:acme", tokens_per_minute=600),)
    limiter.settle(granted(limiter.acquire(rules, 100, 0)), 900, 0)
    assert refused(limiter.acquire(rules, 10, 0)).retry_after_s == 31.0
    granted(limiter.acquire(rules, 10, 31 * SECOND))


def test_a_request_larger_than_the_whole_limit_is_told_so():
    limiter, rules = Limiter(), (LimitRule("key:a", tokens_per_minute=1000),)
    refusal = refused(limiter.acquire(rules, 1001, 0))
    assert refusal.reason is Reason.TOKENS_LIMITED
    assert refusal.retry_after_s is None
    assert "larger than the whole limit of 1,000 tokens a minute" in refusal.message
    granted(limiter.acquire(rules, 1000, 0))


def test_concurrency_is_freed_by_settle_and_by_release():
    limiter, rules = Limiter(), (LimitRule("key:a", concurrency=2),)
    one, two = granted(limiter.acquire(rules, 1, 0)), granted(limiter.acquire(rules, 1, 0))
    refusal = refused(limiter.acquire(rules, 1, 0))
    assert refusal.reason is Reason.CONCURRENCY_LIMITED
    assert refusal.message == "The limit of 2 exchanges at the same time for this key is used up."
    limiter.settle(one, 1, 0)
    granted(limiter.acquire(rules, 1, 0))
    limiter.release(two, 0)
    granted(limiter.acquire(rules, 1, 0))
    refused(limiter.acquire(rules, 1, 0))


def test_ending_twice_is_ending_once():
    limiter, rules = Limiter(), (LimitRule("key:a", 3, 100, 1),)
    grant = granted(limiter.acquire(rules, 50, 0))
    limiter.settle(grant, 100, 0)
    limiter.settle(grant, 0, 0)
    limiter.release(grant, 0)
    granted(limiter.acquire(rules, 0, 0))
    assert refused(limiter.acquire(rules, 0, 0)).reason is Reason.CONCURRENCY_LIMITED
    assert refused(limiter.acquire(rules, 100, 0)).reason is Reason.TOKENS_LIMITED


def test_release_gives_everything_back():
    limiter, rules = Limiter(), (LimitRule("key:a", 1, 100, 1),)
    for _ in range(10):
        limiter.release(granted(limiter.acquire(rules, 100, 0)), 0)
    granted(limiter.acquire(rules, 100, 0))


def test_a_refused_exchange_consumes_nothing_anywhere():
    limiter = Limiter()
    roomy, tight = LimitRule("tenant:acme", 2, 100, 2), LimitRule("key:a", 1, 100, 9)
    granted(limiter.acquire((roomy, tight), 10, 0))
    for _ in range(20):
        refused(limiter.acquire((roomy, tight), 10, 0))
    granted(limiter.acquire((roomy, LimitRule("key:b", 1)), 10, 0))


def test_the_refusal_names_the_longest_wait():
    limiter = Limiter()
    fast, slow = LimitRule("tenant:acme", requests_per_minute=1), LimitRule("key:a", 1, 10, 1)
    granted(limiter.acquire((fast, slow), 10, 0))
    refusal = refused(limiter.acquire((fast, slow), 10, 30 * SECOND))
    assert refusal.retry_after_s == 30.0
    refusal = refused(limiter.acquire((fast, slow), 11, 30 * SECOND))
    assert refusal.retry_after_s is None
    assert refusal.rule == slow


def test_a_changed_limit_keeps_what_was_used():
    limiter = Limiter()
    granted(limiter.acquire((LimitRule("key:a", 10, concurrency=5),), 1, 0))
    refused(limiter.acquire((LimitRule("key:a", 1, concurrency=5),), 1, 0))
    granted(limiter.acquire((LimitRule("key:a", 2, concurrency=2),), 1, 0))
    assert (
        refused(limiter.acquire((LimitRule("key:a", None, concurrency=2),), 1, 0)).reason is Reason.CONCURRENCY_LIMITED
    )


def test_a_grant_ends_well_when_its_limits_are_gone_or_new():
    limiter = Limiter()
    grant = granted(limiter.acquire((LimitRule("key:a", 10, 100),), 90, 0))
    granted(limiter.acquire((LimitRule("key:a", concurrency=9),), 1, 0))
    limiter.settle(grant, 10, 0)
    grant = granted(limiter.acquire((LimitRule("key:a", concurrency=9),), 90, 0))
    granted(limiter.acquire((LimitRule("key:a", 10, 100),), 100, 0))
    limiter.settle(grant, 0, 0)
    refused(limiter.acquire((LimitRule("key:a", 10, 100),), 1, 0))


@given(
    limit=st.integers(1, 40),
    asks=st.lists(st.tuples(st.integers(0, 10 * SECOND) | st.just(0), st.integers(1, 12)), max_size=80),
)
def test_no_window_admits_more_than_burst_and_limit(limit, asks):
    limiter, rules = Limiter(), (LimitRule("key:a", limit, 5 * limit),)
    admitted, now = [], 0
    for passed, tokens in asks:
        now += passed
        if isinstance(limiter.acquire(rules, tokens, now), Grant):
            admitted.append((now, tokens))
    for first, (start, _) in enumerate(admitted):
        for last in range(first, len(admitted)):
            window = admitted[first : last + 1]
            length = admitted[last][0] - start
            assert len(window) * MINUTE_NS <= limit * (MINUTE_NS + length)
            assert sum(tokens for _, tokens in window) * MINUTE_NS <= 5 * limit * (MINUTE_NS + length)


@given(st.integers(1, 100_000), st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_who_waits_as_told_is_admitted(limit, asks):
    limiter, rules, now = (
        Limiter(),
        (LimitRule("tenant:t", limit, 10 * limit), LimitRule("key:k", 2 * limit, 7 * limit)),
        0,
    )
    for tokens in asks:
        outcome = limiter.acquire(rules, tokens, now)
        if isinstance(outcome, Refusal):
            if outcome.retry_after_s is None:
                assert tokens > 7 * limit
                continue
            now += math.ceil(outcome.retry_after_s * SECOND) + 1
            granted(limiter.acquire(rules, tokens, now))


class AgainstReference(RuleBasedStateMachine):
    """Two tenants with two keys each, against a reference that replays every charge from the start."""

    TENANTS = (LimitRule("tenant:0", 12, 200, 4), LimitRule("tenant:1", None, 90, None))
    KEYS = (
        LimitRule("key:0", 6, None, 2),
        LimitRule("key:1", 9, 150, 3),
        LimitRule("key:2", None, None, 2),
        LimitRule("key:3", 30, 60, None),
    )

    def __init__(self):
        super().__init__()
        self.limiter, self.now = Limiter(), 0
        self.charges = {rule.subject: ([], []) for rule in self.TENANTS + self.KEYS}  # requests, tokens
        self.running = dict.fromkeys(self.charges, 0)
        self.flying = []

    def debt(self, subject, which, per_minute):
        debt, at = 0, 0
        for charge in self.charges[subject][which]:
            debt = max(0, debt - (charge[0] - at) * per_minute) + charge[1] * MINUTE_NS
            at = charge[0]
        return max(0, debt - (self.now - at) * per_minute)

    def has_room(self, rule, tokens):
        fits = rule.concurrency is None or self.running[rule.subject] < rule.concurrency
        for which, (limit, amount) in enumerate([(rule.requests_per_minute, 1), (rule.tokens_per_minute, tokens)]):
            if limit is not None:
                fits = fits and self.debt(rule.subject, which, limit) + amount * MINUTE_NS <= limit * MINUTE_NS
        return fits

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.5, 3.0, 20.0, 90.0]))
    def time_passes(self, seconds):
        self.now += int(seconds * SECOND)

    @rule(key=st.integers(0, 3), tokens=st.integers(0, 100))
    def acquire(self, key, tokens):
        rules = (self.TENANTS[key // 2], self.KEYS[key])
        expected = all(self.has_room(rule, tokens) for rule in rules)
        outcome = self.limiter.acquire(rules, tokens, self.now)
        assert isinstance(outcome, Grant) is expected
        if not expected:
            return
        charges = []
        for each in rules:
            self.running[each.subject] += 1
            charged = [self.now, 1], [self.now, tokens]
            for which in (0, 1):
                self.charges[each.subject][which].append(charged[which])
            charges.append((each.subject, charged))
        self.flying.append((outcome, tokens, charges))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), used=st.integers(0, 150), release=st.booleans())
    def end(self, data, used, release):
        grant, tokens, charges = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        for _ in range(2):
            if release:
                self.limiter.release(grant, self.now)
            else:
                self.limiter.settle(grant, used, self.now)
        used = 0 if release else used
        for subject, (request, token) in charges:
            self.running[subject] -= 1
            token[1] = min(tokens, used)
            if release:
                request[1] = 0
            if used > tokens:
                self.charges[subject][1].append([self.now, used - tokens])

    @invariant()
    def concurrency_is_never_exceeded(self):
        for each in self.TENANTS + self.KEYS:
            if each.concurrency is not None:
                assert 0 <= self.running[each.subject] <= each.concurrency


TestAgainstReference = AgainstReference.TestCase


def test_idle_subjects_are_forgotten_at_capacity():
    limiter = Limiter(capacity=100)
    for number in range(10_000):
        rules = (LimitRule("tenant:acme", 10**6, 10**6, 5), LimitRule(f"key:{number}", 60, 1000, 5))
        limiter.settle(granted(limiter.acquire(rules, 10, number * SECOND)), 5, number * SECOND)
        assert len(limiter) <= 102


def test_subjects_with_room_left_make_room_for_others():
    limiter = Limiter(capacity=100)
    for number in range(10_000):
        rules = (LimitRule(f"key:{number}", 60, 1000, 5),)
        limiter.settle(granted(limiter.acquire(rules, 10, 0)), 5, 0)
    assert len(limiter) <= 101


@pytest.mark.parametrize("limited", [True, False])
def test_limited_and_running_subjects_are_never_forgotten(limited):
    limiter = Limiter(capacity=10)
    kept = [(LimitRule(f"key:{number}", requests_per_minute=1, concurrency=1),) for number in range(50)]
    for rules in kept:
        grant = granted(limiter.acquire(rules, 1, 0))
        if limited:
            limiter.settle(grant, 1, 0)
    now = SECOND if limited else 10 * MINUTE_NS
    for number in range(1000):
        limiter.settle(granted(limiter.acquire((LimitRule(f"key:x{number}", 5),), 1, now)), 1, now)
    for rules in kept:
        refused(limiter.acquire(rules, 1, now))
    assert len(limiter) <= 62


def test_what_was_kept_for_good_reason_goes_afterwards():
    limiter = Limiter(capacity=10)
    for number in range(500):
        limiter.settle(granted(limiter.acquire((LimitRule(f"key:{number}", 1),), 1, 0)), 1, 0)
    assert len(limiter) == 500
    for _ in range(200):
        granted(limiter.acquire((), 1, 2 * MINUTE_NS))
    assert len(limiter) <= 10
