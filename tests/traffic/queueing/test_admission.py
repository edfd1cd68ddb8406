from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.traffic.queueing.admission import Admission, AdmissionPolicy, Verdict
from podium.traffic.queueing.fair_queue import Entry, Priority, QueuePolicy, ShedReason

S = 1_000_000_000
CRITICAL, STANDARD, BATCH = Priority


def entry(tenant="a", *, start_by_s=3600.0, priority=STANDARD, cost=1):
    return Entry(tenant, int(start_by_s * S), priority, 1, cost)


def busy(limit=1, *, per_s=1.0, **policy):
    """A full pool with a known drain rate; the clock stands at 10 s."""
    admission = Admission(AdmissionPolicy(**policy), limit, 0)
    for _ in range(limit):
        assert admission.try_start(0)
    for n in range(1, int(10 * per_s) + 1):
        admission.leave(at := int(n / per_s * S))
        assert admission.try_start(at)
    assert admission.drain_per_s(10 * S) == pytest.approx(per_s, rel=0.01)
    return admission


def test_who_comes_to_a_free_place_starts():
    admission = Admission(AdmissionPolicy(), 2, 0)
    assert admission.try_start(0)
    assert admission.arrive(entry(), 0).verdict is Verdict.START
    assert not admission.try_start(0)
    assert admission.arrive(entry(), 0).verdict is Verdict.QUEUE
    assert admission.running == 2


def test_nobody_overtakes_the_queue():
    admission = Admission(AdmissionPolicy(), 1, 0)
    admission.try_start(0)
    first = entry()
    admission.arrive(first, 0)
    admission.leave(S)
    assert not admission.try_start(S)
    assert admission.arrive(entry("b"), S).verdict is Verdict.QUEUE
    assert admission.next(S) is first
    assert admission.next(S) is None


def test_the_expected_wait_comes_from_drain_rate_and_place():
    admission = busy(per_s=2)
    waits = [admission.arrive(entry(), 10 * S).wait_s for _ in range(4)]
    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0], rel=0.02)
    assert admission.arrive(entry(priority=CRITICAL), 10 * S).wait_s == pytest.approx(0.5, rel=0.02)
    assert admission.wait_s(10 * S) == pytest.approx(2.5, rel=0.02)


def test_who_cannot_start_in_time_is_told_at_once():
    admission = busy()
    for _ in range(4):
        admission.arrive(entry(), 10 * S)
    decision = admission.arrive(late := entry(start_by_s=13), 10 * S)
    assert decision.verdict is Verdict.SHED
    assert decision.shed.entry is late
    assert decision.shed.reason is ShedReason.CANNOT_START_IN_TIME
    assert decision.shed.retry_after_s == pytest.approx(5, rel=0.02)
    assert not late.waiting
    assert admission.arrive(entry(start_by_s=9), 10 * S).shed.reason is ShedReason.CANNOT_START_IN_TIME


def test_nobody_waits_longer_than_the_policy_says():
    admission = Admission(AdmissionPolicy(max_wait_s=2), 1, 0)
    admission.try_start(0)
    admission.arrive(waiting := entry(), S)
    assert waiting.start_by_ns == 3 * S == admission.queue.due_at_ns
    assert admission.expire(3 * S) == []
    (shed,) = admission.expire(3 * S + 1)
    assert (shed.entry, shed.reason) == (waiting, ShedReason.DEADLINE_PASSED)


def test_the_lowest_class_is_not_queued_when_the_queue_is_long():
    admission = busy(max_wait_s=10, shed_lowest_at=0.5)
    assert admission.arrive(entry(priority=BATCH), 10 * S).verdict is Verdict.QUEUE
    for _ in range(5):
        admission.arrive(entry(), 10 * S)
    shed = admission.arrive(entry("b", priority=BATCH), 10 * S).shed
    assert shed.reason is ShedReason.SATURATED
    assert shed.retry_after_s == pytest.approx(6, rel=0.02)  # five of the higher class, itself
    assert admission.arrive(entry(), 10 * S).verdict is Verdict.QUEUE


def test_who_makes_room_is_told_when_to_come_again():
    admission = busy(queue=QueuePolicy(2, 2), shed_lowest_at=2)
    lower = [entry(priority=BATCH), entry("b", priority=BATCH)]
    for one in lower:
        admission.arrive(one, 10 * S)
    decision = admission.arrive(entry("c"), 10 * S)
    assert decision.verdict is Verdict.QUEUE
    assert decision.displaced.entry in lower and not decision.displaced.entry.waiting
    assert decision.displaced.reason is ShedReason.DISPLACED
    assert decision.displaced.retry_after_s >= 2 * 0.98


def test_without_a_known_rate_the_retry_time_is_the_stated_one():
    admission = Admission(AdmissionPolicy(queue=QueuePolicy(1, 1), unknown_retry_s=3), 1, 0)
    admission.try_start(0)
    assert admission.arrive(entry(), 0).wait_s is None
    assert admission.arrive(entry("b"), 0).shed.retry_after_s == 3


@pytest.mark.parametrize("per_s", [100.0, 0.1])
def test_retry_times_stay_within_their_bounds(per_s):
    admission = Admission(AdmissionPolicy(least_retry_s=0.5, most_retry_s=20), 1, 0)
    admission.try_start(0)
    for n in range(1, 20):
        admission.leave(int(n / per_s * S))
        admission.try_start(int(n / per_s * S))
    now_ns = int(20 / per_s * S)
    shed = admission.arrive(entry(start_by_s=0, cost=10), now_ns).shed
    assert shed.retry_after_s == (0.5 if per_s == 100 else 20)


@pytest.mark.parametrize("seed", range(20))
def test_who_comes_again_when_told_and_finds_no_new_load_is_served(simulate, seed):
    world = simulate(5, AdmissionPolicy(max_wait_s=2), lambda random: random.expovariate(1), seed)
    world.flood("a", 50, until_s=15, patience_s=3)
    world.run()
    *_, told = [call for call in world.calls if call.shed]
    again_ns = told.shed_ns + int(told.shed.retry_after_s * S)
    assert told.shed_ns > 14 * S and 1 < told.shed.retry_after_s < 5

    world = simulate(5, AdmissionPolicy(max_wait_s=2), lambda random: random.expovariate(1), seed)
    world.flood("a", 50, until_s=15, patience_s=3)
    back = []
    world.at(again_ns, lambda: back.append(world.arrive("a", patience_s=3)))
    world.run()
    assert back[0].wait_s < 1.5


def test_places_that_are_added_are_used_and_those_taken_away_run_empty():
    admission = Admission(AdmissionPolicy(), 1, 0)
    admission.try_start(0)
    waiting = [entry() for _ in range(3)]
    for one in waiting:
        admission.arrive(one, 0)
    admission.resize(3, S)
    assert [admission.next(S), admission.next(S), admission.next(S)] == [waiting[0], waiting[1], None]
    admission.resize(1, S)
    admission.leave(2 * S)
    admission.leave(2 * S)
    assert admission.next(2 * S) is None
    admission.leave(2 * S)
    assert admission.next(2 * S) is waiting[2]


def test_who_goes_away_leaves_the_queue():
    admission = Admission(AdmissionPolicy(), 1, 0)
    admission.try_start(0)
    admission.arrive(one := entry(), 0)
    assert admission.cancel(one, S)
    assert not admission.cancel(one, S)
    admission.leave(S)
    assert admission.next(S) is None


def test_time_with_free_places_does_not_count_as_slow_service():
    admission = busy(per_s=2)
    admission.leave(10 * S)
    assert admission.try_start(1000 * S // 10)
    assert admission.drain_per_s(100 * S) == pytest.approx(2, rel=0.1)


def test_when_places_are_free_nobody_owes_anything():
    admission = busy()
    admission.queue.push(big := entry("big", cost=1000), 10 * S)
    for _ in range(2):
        admission.queue.push(entry("small"), 10 * S)
    for second in (11, 12, 13, 14):
        admission.leave(second * S)
        admission.next(second * S)
    assert admission.running == 0 and not big.waiting
    assert admission.try_start(15 * S)
    admission.queue.push(again := entry("big"), 15 * S)
    admission.queue.push(entry("small"), 15 * S)
    assert admission.queue.pop(15 * S) is again


def test_the_figure_for_scaling_follows():
    admission = busy(max_wait_s=10)
    assert admission.observe(10 * S) == pytest.approx(1)
    for _ in range(5):
        admission.arrive(entry(), 10 * S)
    assert admission.observe(10 * S) == pytest.approx(1.5, rel=0.02)
    assert admission.saturation.smoothed(11 * S) < 1.5


def test_nobody_leaves_who_has_not_started():
    with pytest.raises(AssertionError):
        Admission(AdmissionPolicy(), 1, 0).leave(0)


@pytest.mark.parametrize(
    "wrong", [{"max_wait_s": 0}, {"shed_lowest_at": 0}, {"window_s": 0}, {"least_retry_s": 2}, {"most_retry_s": 0.5}]
)
def test_a_policy_makes_sense(wrong):
    with pytest.raises(ValueError):
        AdmissionPolicy(**wrong)


STEPS = st.tuples(
    st.sampled_from(["arrive", "leave", "cancel", "expire", "resize"]),
    st.sampled_from("abc"),
    st.sampled_from(list(Priority)),
    st.integers(0, 3 * S),
    st.integers(0, 6),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=80))
def test_each_call_gets_one_answer_and_free_places_are_never_left(steps):  # noqa: C901, PLR0912 - one step of each kind
    admission = Admission(AdmissionPolicy(queue=QueuePolicy(5, 3), max_wait_s=4), 2, 0)
    now_ns, waiting, answers = 0, set(), Counter()

    def drain():
        while (one := admission.next(now_ns)) is not None:
            assert one.start_by_ns >= now_ns
            waiting.remove(one)
            answers[one] += 1

    def tell(shed):
        waiting.discard(shed.entry)
        answers[shed.entry] += 1
        assert 0.1 <= shed.retry_after_s <= 60

    arrived = []
    for what, tenant, priority, elapsed_ns, number in steps:
        now_ns += elapsed_ns
        if what == "arrive":
            arrived.append(one := entry(tenant, priority=priority, start_by_s=now_ns / S + number))
            running = admission.running
            decision = admission.arrive(one, now_ns)
            if decision.verdict is Verdict.START:
                answers[one] += 1
                assert admission.running == running + 1
            elif decision.verdict is Verdict.QUEUE:
                waiting.add(one)
                if decision.displaced:
                    tell(decision.displaced)
                    assert decision.displaced.entry.rank >= one.rank
            else:
                tell(decision.shed)
        elif what == "leave" and admission.running:
            admission.leave(now_ns)
            drain()
        elif what == "cancel" and arrived:
            one = arrived[number % len(arrived)]
            assert admission.cancel(one, now_ns) is (one in waiting)
            if one in waiting:
                waiting.remove(one)
                answers[one] += 1
        elif what == "expire":
            for shed in admission.expire(now_ns):
                tell(shed)
        else:
            admission.resize(number, now_ns)
            drain()
        assert len(waiting) >= admission.queue.size
        assert admission.running >= admission.limit or not admission.queue.size
    now_ns += 100 * S
    for shed in admission.expire(now_ns):
        tell(shed)
    assert not waiting
    assert all(answers[one] == 1 for one in arrived)
