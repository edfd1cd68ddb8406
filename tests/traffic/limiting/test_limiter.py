import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podium.core.reasons import Reason
from podium.traffic.limiting.buckets import Bucket, Refusal, Standing, charge_of
from podium.traffic.limiting.limiter import Grant, Limiter

SECOND = 10**9
MINUTE = 60 * SECOND
ONE = charge_of(0, 0)


def requests(amount, key="r", **changes):
    return Bucket(key, "requests", amount, MINUTE, **({"shared_key": "shared"} | changes))


def granted(outcome):
    assert isinstance(outcome, Grant), outcome.message
    return outcome


def refused(outcome):
    assert isinstance(outcome, Refusal)
    return outcome


def flood(limiter, count, bucket_of, now_ns, *, settle=True):
    for number in range(count):
        outcome = limiter.acquire((bucket_of(f"flood|{number}"),), ONE, now_ns + number)
        if settle and isinstance(outcome, Grant):
            limiter.settle(outcome, ONE, now_ns + number)


def test_a_small_step_back_of_the_clock_is_waited_out_and_a_large_one_is_not():
    limiter = Limiter()
    granted(limiter.acquire((requests(60),), charge_of(0, 0, requests=60), 100 * MINUTE))
    refused(limiter.acquire((requests(60),), ONE, 100 * MINUTE - SECOND // 2))
    refused(limiter.acquire((requests(60),), ONE, 100 * MINUTE + SECOND // 2))
    refused(limiter.acquire((requests(60),), ONE, 50 * MINUTE))
    refused(limiter.acquire((requests(60),), ONE, 50 * MINUTE + SECOND // 2 - 1))
    granted(limiter.acquire((requests(60),), ONE, 50 * MINUTE + SECOND // 2))


@pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
def test_a_flood_of_names_stays_within_the_bounds(algorithm):
    limiter, admitted = Limiter(max_entries=300, max_bytes=200_000), 0
    for number in range(5000):
        outcome = limiter.acquire((requests(5, f"u|{number}", algorithm=algorithm),), ONE, number)
        admitted += isinstance(outcome, Grant)
        assert len(limiter) <= 300
        assert limiter.bytes <= 200_000 + 2 * 1600  # the last one, and the shared one
    assert limiter.shared == 1  # all are in flight: no one can be forgotten
    assert admitted == len(limiter) + 5


def test_a_flood_does_not_lift_the_limit_of_who_is_limited():
    limiter = Limiter(max_entries=100)
    granted(limiter.acquire((requests(5, "full"),), charge_of(0, 0, requests=5), 0))
    held = granted(limiter.acquire((Bucket("place", "concurrency", 1), requests(9, "half")), ONE, 0))
    flood(limiter, 3000, lambda key: requests(5, key), 0)
    assert len(limiter) <= 100
    refused(limiter.acquire((requests(5, "full"),), ONE, 3000))
    refused(limiter.acquire((Bucket("place", "concurrency", 1),), ONE, 3000))
    limiter.settle(held, ONE, 3000)
    granted(limiter.acquire((Bucket("place", "concurrency", 1),), ONE, 3000))
    assert limiter.look(requests(9, "half"), 3000)[0].left == 8


def test_who_was_refused_a_large_request_is_not_forgotten_for_the_rest():
    limiter, big = Limiter(max_entries=64), Bucket("t", "tokens", 1000, MINUTE)
    limiter.settle(granted(limiter.acquire((big,), charge_of(700, 0), 0)), charge_of(700, 0), 0)
    refused(limiter.acquire((big,), charge_of(400, 0), 0))
    flood(limiter, 1000, lambda key: requests(5, key), 0)
    refused(limiter.acquire((big,), charge_of(400, 0), 1000))


def test_who_is_busy_outlives_who_came_once():
    limiter, busy = Limiter(max_entries=64), requests(1000, "busy")
    for number in range(900):
        for bucket in (requests(9, f"{number}"), busy):
            limiter.settle(granted(limiter.acquire((bucket,), ONE, number)), ONE, number)
    assert limiter.look(busy, 900)[0].left == 100
    assert len(limiter) == 64


def test_when_all_are_limited_newcomers_share_one_bucket_a_limit():
    limiter = Limiter(max_entries=64)
    flood(limiter, 64, lambda key: requests(1, key), 0)
    assert limiter.shared == 0
    granted(limiter.acquire((requests(1, "new"),), ONE, 100))
    assert limiter.shared == 1
    assert refused(limiter.acquire((requests(1, "newer"),), ONE, 100)).reason is Reason.REQUESTS_LIMITED
    granted(limiter.acquire((requests(1, "other", shared_key="another limit"),), ONE, 100))
    for number in range(64):
        refused(limiter.acquire((requests(1, f"flood|{number}"),), ONE, 100))
    later = MINUTE + 100
    granted(limiter.acquire((requests(1, "newer"),), ONE, later))
    granted(limiter.acquire((requests(1, "newest"),), ONE, later))
    assert len(limiter) <= 64


def test_bytes_are_never_fewer_than_memory_takes():
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    buckets = []
    for number in range(300):
        buckets += [
            requests(10**6, f"policy|requests|60s|gcra|user|{number}"),
            requests(10**6, f"policy|requests|60s|sliding_window|user|{number}", algorithm="sliding_window"),
            Bucket(f"policy|concurrency|user|{number}", "concurrency", 10**6),
        ]
    limiter = Limiter()
    for now_ns in range(10**15, 10**15 + 40):
        for bucket in buckets:
            limiter.acquire((bucket,), charge_of(0, 0, requests=1000), now_ns)
        if now_ns % 13 == 0:
            taken = tracemalloc.get_traced_memory()[0] - before
            assert taken <= limiter.bytes <= 3 * taken
    tracemalloc.stop()


def test_what_is_owed_is_not_given_back_with_an_earlier_reservation():
    limiter, bucket = Limiter(), Bucket("t", "tokens", 100, MINUTE)
    short = granted(limiter.acquire((bucket,), charge_of(10, 0), 0))
    unused = granted(limiter.acquire((bucket,), charge_of(90, 0), 0))
    limiter.settle(short, charge_of(60, 0), 2 * MINUTE)  # all has drained; 50 are owed from now
    limiter.settle(unused, charge_of(0, 0), 2 * MINUTE)
    assert limiter.look(bucket, 2 * MINUTE)[0].left == 50


def test_a_look_changes_nothing():
    limiter = Limiter()
    assert limiter.look(requests(5), 0) == (Standing(requests(5), 5, 0), None)
    assert len(limiter) == 0


BUCKETS = {
    f"{name}|{subject}": bucket
    for subject in "ab"
    for name, bucket in {
        "gcra": Bucket(f"gcra|{subject}", "requests", 7, MINUTE, burst=4),
        "window": Bucket(f"window|{subject}", "requests", 5, 2 * MINUTE, "sliding_window"),
        "tokens": Bucket(f"tokens|{subject}", "tokens", 40, MINUTE, "sliding_window"),
        "places": Bucket(f"places|{subject}", "concurrency", 3),
    }.items()
}
LEASE = 5 * MINUTE


class LimiterMachine(RuleBasedStateMachine):
    """The limiter against a list of all grants: what each took, when, and how it ended."""

    def __init__(self):
        super().__init__()
        self.limiter = Limiter(lease_ns=LEASE)
        self.now = 1000 * MINUTE  # the model's time, which never goes back
        self.clock_offset = 0
        self.grants = []  # [grant, names, at, tokens now, ended, until]

    @property
    def clock(self):
        return self.now + self.clock_offset

    def used(self, name, since):
        measure = 3 if BUCKETS[name].what == "tokens" else 0
        return sum(charge[measure] for _, names, at, charge, _, _ in self.grants if name in names and at > since)

    def running(self, name):
        return sum(name in names and not ended and self.now < until for _, names, _, _, ended, until in self.grants)

    def open_grants(self):
        return [entry for entry in self.grants if not entry[4]]

    @rule(names=st.sets(st.sampled_from(sorted(BUCKETS)), min_size=1), tokens=st.integers(0, 30))
    def acquire(self, names, tokens):
        names, charge = sorted(names), charge_of(tokens, 0)
        before = [self.limiter.look(BUCKETS[name], self.clock)[0] for name in names]
        outcome = self.limiter.acquire([BUCKETS[name] for name in names], charge, self.clock)
        after = [self.limiter.look(BUCKETS[name], self.clock)[0] for name in names]
        if isinstance(outcome, Grant):
            self.grants.append([outcome, names, self.now, charge, False, self.now + LEASE])
        else:
            assert after == before == list(outcome.standings)
            asked = [tokens if BUCKETS[name].what == "tokens" else 1 for name in names]
            assert any(ask > standing.left for ask, standing in zip(asked, before, strict=True))

    @precondition(lambda self: self.open_grants())
    @rule(data=st.data(), tokens=st.integers(0, 60))
    def settle(self, data, tokens):
        entry = data.draw(st.sampled_from(self.open_grants()))
        facts = charge_of(min(tokens, entry[3][3]), 0)
        self.limiter.settle(entry[0], facts, self.clock)
        entry[3], entry[4] = facts, True

    @precondition(lambda self: self.open_grants())
    @rule(data=st.data())
    def cancel(self, data):
        entry = data.draw(st.sampled_from(self.open_grants()))
        self.limiter.release(entry[0], self.clock)
        entry[3], entry[4] = (0, 0, 0, 0, 0), True

    @precondition(lambda self: any(entry[4] for entry in self.grants))
    @rule(data=st.data())
    def end_again(self, data):
        entry = data.draw(st.sampled_from([entry for entry in self.grants if entry[4]]))
        self.limiter.release(entry[0], self.clock)
        assert not self.limiter.renew(entry[0], self.clock)

    @rule(passed=st.integers(0, MINUTE) | st.just(LEASE))
    def wait(self, passed):
        self.now += passed

    @rule(step=st.integers(2 * SECOND, 100 * MINUTE))
    def step_the_clock_back(self, step):
        self.limiter.look(BUCKETS["gcra|a"], self.clock)  # the limiter has seen the time before
        self.clock_offset -= step
        self.limiter.look(BUCKETS["gcra|a"], self.clock)

    @invariant()
    def no_limit_is_broken(self):
        for name, bucket in BUCKETS.items():
            if bucket.what == "concurrency":
                assert self.running(name) <= bucket.amount
                assert self.limiter.look(bucket, self.clock)[0].left == bucket.amount - self.running(name)
            else:
                slack = bucket.burst if bucket.algorithm == "gcra" else 0
                assert self.used(name, self.now - bucket.window_ns) <= bucket.amount + slack


LimiterMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLimiterMachine = LimiterMachine.TestCase
