"""Step tables, and the breaker against a reference that keeps every call there ever was."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podium.core.reasons import Reason
from podium.traffic.breaker import (
    TRANSITIONS,
    Admission,
    Breaker,
    BreakerCause,
    BreakerPolicy,
    BreakerState,
    CallResult,
    call_result,
)

SECOND = 1_000_000_000
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
OK, FAILED = CallResult.OK, CallResult.FAILED
RESULTS = {"+": OK, "-": FAILED, "4": CallResult.CALLER_FAULT, "9": CallResult.RATE_LIMITED}


def breaker(**policy):
    return Breaker(BreakerPolicy(**({"window_s": 10, "open_s": 5} | policy)), 0)


def run(steps, **policy):
    """A breaker after these steps, one second each, and its changes.

    `+` `-` `4` `9`: a call of this result; `P` before it: a probe's; `a`: ask to be admitted; `h`: hear; `.`: wait.
    """
    made, now, changes, probe = breaker(**policy), 0, [], False
    for step in steps:
        if step == "P":
            probe = True
            continue
        if step == "a":
            made.admit(now)
        elif step == "h":
            change = made.hear(now)
            changes += [change.why] if change else []
        elif step in RESULTS:
            change = made.record(RESULTS[step], 10.0, now, probe=probe)
            changes += [change.why] if change else []
        probe = False
        now += SECOND
    return made, changes


@pytest.mark.parametrize(
    ("steps", "state", "changes"),
    [
        ("", CLOSED, []),
        ("----", CLOSED, []),
        ("-----", OPEN, ["consecutive"]),
        ("--+---", CLOSED, []),
        ("--9---", OPEN, ["consecutive"]),  # a 429 neither fails nor heals
        ("--4---", CLOSED, []),  # a caller's fault heals
        ("9999999999", CLOSED, []),
        ("4444444444", CLOSED, []),
        ("-----.....a", HALF_OPEN, ["consecutive"]),
        ("-----...a", OPEN, ["consecutive"]),
        ("-----.....", OPEN, ["consecutive"]),  # nobody has asked yet
        ("-----+++", OPEN, ["consecutive"]),  # calls that were under way come too late
        ("-----.....a+++", HALF_OPEN, ["consecutive"]),
        ("-----.....aP+", HALF_OPEN, ["consecutive"]),
        ("-----.....aP+aP+", CLOSED, ["consecutive", "probes_passed"]),
        ("-----.....aP4aP4", CLOSED, ["consecutive", "probes_passed"]),
        ("-----.....aP-", OPEN, ["consecutive", "probe_failed"]),
        ("-----.....aP+aP-", OPEN, ["consecutive", "probe_failed"]),
        ("-----.....aP9aP9aP9", HALF_OPEN, ["consecutive"]),
        ("h", OPEN, ["heard"]),
        ("+++h", OPEN, ["heard"]),
        ("hh", OPEN, ["heard"]),
        ("h...a", OPEN, ["heard"]),
        ("h....a", HALF_OPEN, ["heard"]),
        ("h.....ah", HALF_OPEN, ["heard"]),
        ("h.....aP+aP+h", CLOSED, ["heard", "probes_passed"]),  # own probes know better
        ("h.....aP+aP+.........h", OPEN, ["heard", "probes_passed", "heard"]),  # for one window
        ("h.....aP+aP+-----", OPEN, ["heard", "probes_passed", "consecutive"]),
    ],
)
def test_steps(steps, state, changes):
    made, seen = run(steps)
    assert (made.state, seen) == (state, changes)


def test_the_table_says_what_may_follow():
    reached = {CLOSED} | set(TRANSITIONS.values())
    assert reached == set(BreakerState)
    assert {cause for _, cause in TRANSITIONS} == set(BreakerCause)
    for (before, _), after in TRANSITIONS.items():
        assert after is not before


def test_a_failure_rate_needs_calls_enough():
    made = breaker(consecutive_failures=None, minimum_calls=10, failure_rate=0.5)
    for _ in range(5):
        assert made.record(FAILED, 1.0, 0, probe=False) is None
    for _ in range(4):
        assert made.record(OK, 1.0, 0, probe=False) is None
    change = made.record(OK, 1.0, 0, probe=False)  # the tenth call: now five of ten is a rate
    assert (change.before, change.after, change.why) == (CLOSED, OPEN, BreakerCause.FAILURE_RATE)
    assert made.change is change


def test_a_failure_rate_below_the_threshold_keeps_it_closed():
    made = breaker(consecutive_failures=None, minimum_calls=10, failure_rate=0.5)
    for _ in range(500):
        made.record(OK, 1.0, 0, probe=False)
        made.record(OK, 1.0, 0, probe=False)
        made.record(FAILED, 1.0, 0, probe=False)
    assert made.state is CLOSED


def test_failures_leave_the_window():
    made = breaker(consecutive_failures=None, minimum_calls=2, failure_rate=0.6)
    made.record(FAILED, 1.0, 0, probe=False)
    assert made.record(FAILED, 1.0, 10 * SECOND, probe=False) is None  # a call alone in its window
    assert made.record(FAILED, 1.0, 19 * SECOND, probe=False).why is BreakerCause.FAILURE_RATE


@pytest.mark.parametrize(("successes", "believed"), [(10, True), (11, False)])
def test_a_word_weighs_as_the_failures_of_one_window_and_if_not_believed_nothing(successes, believed):
    made = breaker(consecutive_failures=None, minimum_calls=10, failure_rate=0.5)
    for _ in range(successes):
        made.record(OK, 1.0, 0, probe=False)
    change = made.hear(SECOND)
    if believed:
        assert (change.before, change.after, change.why) == (CLOSED, OPEN, BreakerCause.HEARD)
        return
    assert change is made.change is None
    assert made.explain(SECOND) == "Closed: 0 of 11 calls failed in the last 10 s."
    assert made.hear(10 * SECOND).why is BreakerCause.HEARD  # the successes have left the window


def test_only_what_was_found_out_by_own_calls_is_news():
    made = breaker(consecutive_failures=1, probe_successes=1)
    assert made.record(FAILED, 1.0, 0, probe=False).found_out
    made.admit(5 * SECOND)
    assert not made.change.found_out
    assert not made.record(FAILED, 1.0, 5 * SECOND, probe=True).found_out
    assert not breaker().hear(0).found_out


def test_slow_calls_open_it_too():
    made = breaker(minimum_calls=4, slow_call_ms=1000, slow_call_rate=0.75)
    for duration_ms in (1000, 1001, 5000):
        assert made.record(OK, duration_ms, 0, probe=False) is None
    assert made.record(OK, 1000, 0, probe=False) is None  # as long as that is not longer
    for _ in range(3):
        assert made.record(OK, 3000, 0, probe=False) is None
    assert made.record(OK, 3000, 0, probe=False).why is BreakerCause.SLOW_RATE  # six of eight
    assert made.admit(5 * SECOND) is Admission.PROBE
    assert made.record(OK, 3000, 6 * SECOND, probe=True).why is BreakerCause.PROBE_SLOW


def test_as_many_probes_pass_as_the_policy_says():
    made = breaker(consecutive_failures=1, probes=2)
    made.record(FAILED, 1.0, 0, probe=False)
    assert made.admit(0) is Admission.OPEN
    at = 5 * SECOND
    assert [made.admit(at) for _ in range(3)] == [Admission.PROBE, Admission.PROBE, Admission.PROBES_BUSY]
    made.abandon(probe=True)
    assert [made.admit(at) for _ in range(2)] == [Admission.PROBE, Admission.PROBES_BUSY]


def test_asking_takes_no_probe():
    made = breaker(consecutive_failures=1)
    made.record(FAILED, 1.0, 0, probe=False)
    assert [made.would_admit(5 * SECOND) for _ in range(3)] == [Admission.PROBE] * 3
    assert made.state is OPEN
    assert [made.admit(5 * SECOND), made.would_admit(5 * SECOND)] == [Admission.PROBE, Admission.PROBES_BUSY]


def test_a_probe_that_never_reports_loses_its_place():
    made = breaker(consecutive_failures=1, probe_lease_s=60)
    made.record(FAILED, 1.0, 0, probe=False)
    assert made.admit(5 * SECOND) is Admission.PROBE
    assert made.changes_at_ns == 65 * SECOND
    assert made.admit(65 * SECOND - 1) is Admission.PROBES_BUSY
    assert made.admit(65 * SECOND) is Admission.PROBE


def test_a_probe_of_an_earlier_time_half_open_changes_nothing():
    made = breaker(consecutive_failures=1, probes=2)
    made.record(FAILED, 1.0, 0, probe=False)
    made.admit(5 * SECOND)
    made.admit(5 * SECOND)
    assert made.record(FAILED, 1.0, 6 * SECOND, probe=True).why is BreakerCause.PROBE_FAILED
    assert made.record(OK, 1.0, 7 * SECOND, probe=True) is None
    assert made.state is OPEN
    at = made.half_open_at_ns
    assert [made.admit(at) for _ in range(3)] == [Admission.PROBE, Admission.PROBE, Admission.PROBES_BUSY]


def open_again(made, now):
    """Fail, let a probe fail or pass, and tell how long it is open."""
    made.record(FAILED, 1.0, now, probe=False)
    return (made.half_open_at_ns - now) / SECOND


def test_the_time_open_doubles_with_each_failed_probe():
    made = breaker(consecutive_failures=1, open_s=5, max_open_s=60)
    now, lengths = 0, [open_again(made, 0)]
    for _ in range(6):
        now = made.half_open_at_ns
        assert made.admit(now) is Admission.PROBE
        made.record(FAILED, 1.0, now, probe=True)
        lengths.append((made.half_open_at_ns - now) / SECOND)
    assert lengths == [5, 10, 20, 40, 60, 60, 60]


def test_a_backend_that_only_passes_probes_stays_open_longer_and_longer():
    made = breaker(consecutive_failures=1, probe_successes=1, open_s=5, max_open_s=60, window_s=10)
    now, lengths = 0, []
    for calm_s in (0, 3, 9, 15, 39, 60):
        now += calm_s * SECOND
        lengths.append(open_again(made, now))
        now = made.half_open_at_ns
        made.admit(now)
        assert made.record(OK, 1.0, now, probe=True).why is BreakerCause.PROBES_PASSED
    assert lengths == [5, 10, 20, 40, 60, 5]  # 15 s is longer than a window, but not than the 20 s that it was open


def test_it_starts_afresh_after_closing():
    made = breaker(consecutive_failures=3, probe_successes=1)
    for _ in range(3):
        made.record(FAILED, 1.0, 0, probe=False)
    made.admit(5 * SECOND)
    made.record(OK, 1.0, 5 * SECOND, probe=True)
    for _ in range(2):
        assert made.record(FAILED, 1.0, 5 * SECOND, probe=False) is None
    assert made.record(FAILED, 1.0, 5 * SECOND, probe=False).why is BreakerCause.CONSECUTIVE


def test_operators_read_why():
    made = breaker(slow_call_ms=2000)
    assert made.explain(0) == "Closed: 0 of 0 calls failed in the last 10 s, and 0 took longer than 2000 ms."
    made = breaker(minimum_calls=4)
    for result in (OK, OK, FAILED):
        made.record(result, 1.0, 0, probe=False)
    assert made.explain(SECOND) == "Closed: 1 of 3 calls failed in the last 10 s."
    assert made.explain(20 * SECOND) == "Closed: 0 of 0 calls failed in the last 10 s."
    made = breaker(minimum_calls=4)
    for result in (OK, OK, FAILED, FAILED):
        made.record(result, 1.0, 0, probe=False)
    why = "because 2 of 4 calls failed in the last 10 s."
    assert made.explain(SECOND) == f"Open for 4.0 s more, {why}"
    assert made.explain(5 * SECOND) == f"Open until the next call, which is a probe, {why}"
    made.admit(5 * SECOND)
    assert made.explain(5 * SECOND) == (
        "Half-open: 0 of 2 probes passed, 1 running. It had opened because 2 of 4 calls failed in the last 10 s."
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_only_what_the_upstream_did_counts(reason):
    result = call_result(reason)
    told = reason.startswith("upstream_") and reason is not Reason.UPSTREAM_BUSY  # which is our own bound
    assert (result is None) == (reason is not Reason.OK and not told)
    assert (result is FAILED) == (told and reason not in {Reason.UPSTREAM_REJECTED, Reason.UPSTREAM_RATE_LIMITED})


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_rate": 0},
        {"failure_rate": 1.1},
        {"slow_call_rate": 0},
        {"minimum_calls": 0},
        {"probes": 0},
        {"probe_successes": 0},
        {"consecutive_failures": 0},
        {"open_s": 0},
        {"open_s": 10, "max_open_s": 5},
        {"window_s": 0},
        {"probe_lease_s": 0},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError):
        BreakerPolicy(**wrong)


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.booleans(), st.booleans()), max_size=200))
def test_rates_are_those_of_the_calls_in_the_window(calls):
    """With thresholds out of reach: the counts against the list of all calls."""
    made = breaker(consecutive_failures=None, minimum_calls=10**9, slow_call_ms=100)
    now, seen = 0, []
    for passed, failed, slow in calls:
        now += passed
        made.record(FAILED if failed else OK, 101.0 if slow else 1.0, now, probe=False)
        seen.append((now // SECOND, failed, slow))
        window = [call for call in seen if call[0] > now // SECOND - 10]
        assert (made._calls, made._failures, made._slow) == (
            len(window),
            sum(call[1] for call in window),
            sum(call[2] for call in window),
        )
        assert len(made._ring) == 9


class AgainstReference(RuleBasedStateMachine):
    """A plain breaker: all calls in a list, the state by rules written out once more."""

    POLICY = BreakerPolicy(
        window_s=10,
        minimum_calls=4,
        failure_rate=0.5,
        slow_call_ms=100,
        slow_call_rate=0.75,
        consecutive_failures=3,
        open_s=2,
        max_open_s=10,
        probes=2,
        probe_successes=3,
        probe_lease_s=7,
    )

    def __init__(self):
        super().__init__()
        self.now = 987_654_321
        self.breaker = Breaker(self.POLICY, self.now)
        self.state, self.calls, self.row = CLOSED, [], 0
        self.opened_at = self.until = self.open_s = 0
        self.closed_at, self.proved = self.now, False
        self.passed, self.leases = 0, []
        self.probes_given, self.probes_freed = [], []

    @rule(ms=st.sampled_from([1, 300, 999, 2000, 4000, 7000, 12_000, 40_000]))
    def time_passes(self, ms):
        self.now += ms * 1_000_000

    @rule()
    def admit(self):
        if self.state is OPEN and self.now >= self.until:
            self.state, self.passed, self.leases = HALF_OPEN, 0, []
            self.probes_given, self.probes_freed = [], []
        if self.state is CLOSED:
            expected = Admission.ALLOWED
        elif self.state is OPEN:
            expected = Admission.OPEN
        else:
            self.leases = [end for end in self.leases if end > self.now]
            expected = Admission.PROBE if len(self.leases) < 2 else Admission.PROBES_BUSY
        assert self.breaker.would_admit(self.now) is expected
        assert self.breaker.admit(self.now) is expected
        if expected is Admission.PROBE:
            self.leases.append(self.now + 7 * SECOND)
            self.probes_given.append(self.now)

    @rule(result=st.sampled_from(CallResult), slow=st.booleans())
    def call_ends(self, result, slow):
        change = self.breaker.record(result, 101.0 if slow else 99.0, self.now, probe=False)
        if self.state is not CLOSED or result is CallResult.RATE_LIMITED:
            assert change is None
            return
        self.calls.append((self.now // SECOND, result is FAILED, slow))
        self.row = self.row + 1 if result is FAILED else 0
        window = [call for call in self.calls if call[0] > self.now // SECOND - 10]
        failures, slows = sum(call[1] for call in window), sum(call[2] for call in window)
        expected = None
        if self.POLICY.consecutive_failures and self.row >= self.POLICY.consecutive_failures:
            expected = BreakerCause.CONSECUTIVE
        elif len(window) >= 4 and failures / len(window) >= 0.5:
            expected = BreakerCause.FAILURE_RATE
        elif len(window) >= 4 and slows / len(window) >= 0.75:
            expected = BreakerCause.SLOW_RATE
        assert (change.why if change else None) is expected
        if expected:
            self.open(0 if self.calm() else self.open_s)

    @rule()
    def another_gateway_tells(self):
        change = self.breaker.hear(self.now)
        window = [call for call in self.calls if call[0] > self.now // SECOND - 10]
        outweighed = self.POLICY.consecutive_failures is None and (
            sum(call[1] for call in window) + 4 < (len(window) + 4) / 2
        )
        if self.state is not CLOSED or outweighed or (self.proved and self.now - self.closed_at < 10 * SECOND):
            assert change is None
            return
        assert change.why is BreakerCause.HEARD
        self.open(0 if self.calm() else self.open_s)

    @rule()
    def calls_fail(self):
        for _ in range(3):
            self.call_ends(FAILED, slow=False)

    @precondition(lambda self: self.state is not CLOSED)
    @rule(result=st.sampled_from(CallResult), slow=st.booleans())
    def probe_ends(self, result, slow):
        change = self.breaker.record(result, 101.0 if slow else 99.0, self.now, probe=True)
        if self.state is OPEN or not self.leases:
            assert change is None
            return
        self.leases.pop(0)
        self.probes_freed.append(self.now)
        if result is CallResult.RATE_LIMITED:
            assert change is None
        elif result is FAILED or slow:
            assert change.why is (BreakerCause.PROBE_FAILED if result is FAILED else BreakerCause.PROBE_SLOW)
            self.open(self.open_s)
        elif self.passed == 2:
            assert change.why is BreakerCause.PROBES_PASSED
            self.state, self.calls, self.row, self.closed_at = CLOSED, [], 0, self.now
            self.proved = True
        else:
            assert change is None
            self.passed += 1

    @precondition(lambda self: self.state is not CLOSED)
    @rule()
    def probe_is_abandoned(self):
        self.breaker.abandon(probe=True)
        if self.state is HALF_OPEN and self.leases:
            self.leases.pop(0)
            self.probes_freed.append(self.now)

    def calm(self):
        return self.now - self.closed_at >= max(10, self.open_s) * SECOND

    def open(self, open_s):
        self.open_s = min(open_s * 2, 10) if open_s else 2
        self.state, self.until = OPEN, self.now + self.open_s * SECOND

    @invariant()
    def the_state_is_that_of_the_reference(self):
        assert self.breaker.state is self.state
        assert self.breaker.half_open_at_ns == (self.until if self.state is OPEN else None)
        assert self.breaker.explain(self.now)

    @invariant()
    def few_probes_are_under_way(self):
        begun = [at for at in self.probes_given if at > self.now - 7 * SECOND]
        over = [at for at in self.probes_freed if at > self.now - 7 * SECOND]
        assert len(begun) <= 2 + len(over)

    @invariant()
    def memory_is_bounded(self):
        assert len(self.breaker._leases) <= 2
        assert len(self.breaker._ring) == 9


class WithRatesAlone(AgainstReference):
    """The same where failures in a row are no matter."""

    POLICY = replace(AgainstReference.POLICY, consecutive_failures=None)


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=100, stateful_step_count=60)
TestWithRatesAlone = WithRatesAlone.TestCase
TestWithRatesAlone.settings = settings(max_examples=60, stateful_step_count=60)
