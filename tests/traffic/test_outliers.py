import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podium.traffic.breaker import CallResult
from podium.traffic.outliers import OutlierAction, OutlierChange, OutlierPolicy, OutlierReason, Outliers

SECOND = 1_000_000_000
OK, FAILED, LIMITED = CallResult.OK, CallResult.FAILED, CallResult.RATE_LIMITED
EJECT, RETURN = OutlierAction.EJECT, OutlierAction.RETURN


def fail(outliers, backend, times, now=0):
    """The last change of so many failures."""
    return [outliers.record(backend, FAILED, now) for _ in range(times)][-1]


def test_failures_in_a_row_eject_at_once():
    outliers = Outliers(OutlierPolicy(), "abcd", 0)
    assert fail(outliers, "a", 4) is None
    assert fail(outliers, "a", 1) == OutlierChange("a", EJECT, OutlierReason.CONSECUTIVE, 30 * SECOND)
    assert outliers.ejected("a")
    assert not outliers.ejected("b")
    assert fail(outliers, "a", 9) is None  # it is out already


def test_a_success_or_a_fault_of_the_caller_breaks_the_row_and_a_429_does_not():
    outliers = Outliers(OutlierPolicy(), "abcd", 0)
    for healer in (OK, CallResult.CALLER_FAULT):
        fail(outliers, "a", 4)
        outliers.record("a", healer, 0)
    assert not outliers.ejected("a")
    fail(outliers, "b", 4)
    outliers.record("b", LIMITED, 0)
    assert fail(outliers, "b", 1) is not None


@pytest.mark.parametrize(
    ("share", "backends", "places"),
    [
        (0.5, 1, 0),
        (0.5, 2, 1),
        (0.5, 3, 1),
        (0.5, 4, 2),
        (0.1, 9, 0),
        (0.1, 10, 1),
        (1.0, 3, 2),
        (0.0, 5, 0),
        (1.0, 0, 0),
    ],
)
def test_a_share_of_the_pool_may_be_out_and_one_always_stays(share, backends, places):
    policy = OutlierPolicy(max_ejected_share=share)
    assert policy.places(backends) == places
    outliers = Outliers(policy, [str(number) for number in range(backends)], 0)
    changes = [fail(outliers, str(number), 5) for number in range(backends)]
    assert sum(change is not None for change in changes) == places


def test_who_was_kept_for_want_of_a_place_goes_when_there_is_one():
    outliers = Outliers(OutlierPolicy(max_ejected_share=0.5), "ab", 0)
    fail(outliers, "a", 5)
    assert fail(outliers, "b", 6) is None
    assert "Kept although 6 calls in a row failed: at most 1" in outliers.explain("b", 0)
    assert [change.backend for change in outliers.sweep(30 * SECOND)] == ["a"]
    assert fail(outliers, "b", 1, 30 * SECOND).action is EJECT


def test_each_ejection_is_longer_and_calm_takes_that_back():
    outliers, now, lengths = Outliers(OutlierPolicy(base_ejection_s=100, max_ejection_s=250), "abcd", 0), 0, []
    for _ in range(4):
        change = fail(outliers, "a", 5, now)
        lengths.append((change.until_ns - now) / SECOND)
        now = change.until_ns
        returned = outliers.sweep(now)
        assert OutlierChange("a", RETURN, OutlierReason.TIME_OVER, None) in returned
    assert lengths == [100, 200, 250, 250]
    for step in range(1, 10):
        outliers.sweep(now + step * 30 * SECOND)
    now += 300 * SECOND
    assert fail(outliers, "a", 5, now).until_ns == now + 100 * SECOND


def calls(outliers, backend, successes, failures, now=0):
    for _ in range(failures):  # interleaved, so that no row gets long
        outliers.record(backend, FAILED, now)
        outliers.record(backend, OK, now)
    for _ in range(successes - failures):
        outliers.record(backend, OK, now)


def test_the_one_that_fails_more_than_the_others_goes_at_the_sweep():
    outliers = Outliers(OutlierPolicy(), "abcdefgh", 0)
    for backend in "bcdefgh":
        calls(outliers, backend, 99, 1)
    calls(outliers, "a", 70, 30)
    assert outliers.sweep(29 * SECOND) == []
    assert outliers.sweep(30 * SECOND) == [OutlierChange("a", EJECT, OutlierReason.SUCCESS_RATE, 60 * SECOND)]
    assert outliers.explain("a", 40 * SECOND) == (
        "Ejected for 20.0 s more, because it fails more often than the other backends."
    )
    assert outliers.sweep(60 * SECOND) == [OutlierChange("a", RETURN, OutlierReason.TIME_OVER, None)]


def test_a_hair_is_no_gap_among_backends_that_are_very_even():
    outliers = Outliers(OutlierPolicy(), "abcdefgh", 0)
    for backend in "bcdefgh":
        calls(outliers, backend, 100, 0)
    calls(outliers, "a", 97, 3)
    assert outliers.sweep(30 * SECOND) == []


def test_a_pool_that_fails_as_a_whole_has_no_outliers():
    outliers = Outliers(OutlierPolicy(), "abcdefgh", 0)
    for backend in "abcdefgh":
        calls(outliers, backend, 60, 40)
    assert outliers.sweep(30 * SECOND) == []


@pytest.mark.parametrize(("backends", "many"), [("abcd", 99), ("abcdefgh", 15)])
def test_few_backends_or_calls_say_nothing_about_rates(backends, many):
    outliers = Outliers(OutlierPolicy(), backends, 0)
    for backend in backends[1:]:
        calls(outliers, backend, many, 1)
    calls(outliers, backends[0], many // 2 + 1, many // 2)
    assert outliers.sweep(30 * SECOND) == []


def test_rates_count_from_one_sweep_to_the_next():
    outliers = Outliers(OutlierPolicy(), "abcdefgh", 0)
    calls(outliers, "a", 40, 40)
    outliers.sweep(30 * SECOND)
    for backend in "abcdefgh":
        calls(outliers, backend, 99, 0)
    assert outliers.sweep(60 * SECOND) == []


def test_it_tells_when_there_is_something_to_do():
    outliers = Outliers(OutlierPolicy(base_ejection_s=7), "abcd", 0)
    assert outliers.due_at_ns == 30 * SECOND
    fail(outliers, "a", 5, SECOND)
    assert outliers.due_at_ns == 8 * SECOND
    outliers.sweep(8 * SECOND)
    assert outliers.due_at_ns == 30 * SECOND


def test_a_smaller_pool_takes_back_those_that_would_return_first():
    outliers = Outliers(OutlierPolicy(), "abcdef", 0)
    for second, backend in enumerate("abc"):
        fail(outliers, backend, 5, second * SECOND)
    assert outliers.set_backends("abcd") == [OutlierChange("a", RETURN, OutlierReason.POOL_SHRANK, None)]
    assert [outliers.ejected(backend) for backend in "abcd"] == [False, True, True, False]


def test_who_stays_keeps_its_record_and_who_went_is_forgotten():
    outliers = Outliers(OutlierPolicy(), "abcd", 0)
    fail(outliers, "a", 5)
    fail(outliers, "b", 4)
    assert outliers.set_backends("bcde") == []
    assert not outliers.ejected("a")
    assert fail(outliers, "a", 50) is None
    assert fail(outliers, "b", 1).action is EJECT
    outliers.set_backends("abcde")
    assert not outliers.ejected("a")
    assert outliers.explain("x", 0) == "Not in the pool."


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_ejected_share": 1.1},
        {"max_ejected_share": -0.1},
        {"base_ejection_s": 0},
        {"base_ejection_s": 9, "max_ejection_s": 8},
        {"interval_s": 0},
        {"consecutive_failures": 0},
        {"deviations": -1},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError):
        OutlierPolicy(**wrong)


@given(st.floats(0, 1), st.integers(0, 1000))
def test_places_never_exceed_the_share(share, backends):
    places = OutlierPolicy(max_ejected_share=share).places(backends)
    assert 0 <= places <= share * backends
    assert places < backends or backends == 0


class NeverTooMany(RuleBasedStateMachine):
    """Any course of results, sweeps and changes of the pool; what the changes say is what is so."""

    POLICY = OutlierPolicy(
        consecutive_failures=2,
        interval_s=10,
        base_ejection_s=8,
        max_ejection_s=30,
        minimum_calls=2,
        max_ejected_share=0.4,
    )

    def __init__(self):
        super().__init__()
        self.now, self.pool, self.out = 0, set("abcdefg"), {}
        self.outliers = Outliers(self.POLICY, sorted(self.pool), 0)

    def apply(self, changes):
        for change in changes:
            if change.action is EJECT:
                assert change.backend not in self.out
                assert self.now + 8 * SECOND <= change.until_ns <= self.now + 30 * SECOND
                self.out[change.backend] = change.until_ns
            else:
                assert change.why is OutlierReason.POOL_SHRANK or self.out[change.backend] <= self.now
                del self.out[change.backend]

    @rule(seconds=st.sampled_from([0.1, 3, 8, 31]))
    def time_passes(self, seconds):
        self.now += int(seconds * SECOND)

    @rule(backend=st.sampled_from("abcdefgh"), result=st.sampled_from(CallResult), times=st.integers(1, 4))
    def call(self, backend, result, times):
        for _ in range(times):
            change = self.outliers.record(backend, result, self.now)
            self.apply([change] if change else [])

    @rule()
    def sweep(self):
        self.apply(self.outliers.sweep(self.now))
        assert all(until > self.now for until in self.out.values())

    @rule(pool=st.sets(st.sampled_from("abcdefgh")))
    def change_the_pool(self, pool):
        changes = self.outliers.set_backends(sorted(pool))
        self.out = {backend: until for backend, until in self.out.items() if backend in pool}
        self.pool = pool
        self.apply(changes)

    @invariant()
    def the_share_is_never_exceeded(self):
        out = {backend for backend in "abcdefgh" if self.outliers.ejected(backend)}
        assert out == set(self.out)
        assert len(out) <= 0.4 * len(self.pool)
        assert len(out) < len(self.pool) or not self.pool
        assert len(self.outliers._backends) == len(self.pool)
        assert all(self.outliers.explain(backend, self.now) for backend in self.pool)


TestNeverTooMany = NeverTooMany.TestCase
TestNeverTooMany.settings = settings(max_examples=80, stateful_step_count=50)
