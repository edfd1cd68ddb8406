import random
from bisect import insort
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.traffic.queueing.fair_queue import Entry, FairQueue, Priority, QueuePolicy, ShedReason

CRITICAL, STANDARD, BATCH = Priority
LATE = 10**18
ROOMY = QueuePolicy(100_000, 100_000)


def entry(tenant="a", start_by_ns=LATE, priority=STANDARD, weight=1, cost=1):
    return Entry(tenant, start_by_ns, priority, weight, cost)


def filled(entries, policy=ROOMY):
    queue = FairQueue(policy)
    for one in entries:
        assert queue.push(one, 0).refused is None
    return queue


def drained(queue, now_ns=0):
    order = []
    while (one := queue.pop(now_ns)) is not None:
        order.append(one)
    assert queue.size == queue.cost == 0
    return order


def test_one_tenants_entries_start_in_the_order_in_which_they_came():
    entries = [entry() for _ in range(20)]
    assert drained(filled(entries)) == entries


def test_a_higher_class_starts_first_whenever_it_came():
    low, middle, high = entry(priority=BATCH), entry(priority=STANDARD), entry(priority=CRITICAL)
    assert drained(filled([low, middle, high])) == [high, middle, low]


def test_two_tenants_share_by_weight_at_any_moment():
    queue = filled([entry("a", weight=3) for _ in range(300)] + [entry("b") for _ in range(100)])
    seen = Counter()
    for _ in range(400):
        seen[queue.pop(0).tenant] += 1
        assert abs(seen["a"] - 3 * seen["b"]) <= 3


def test_what_counts_is_cost_not_number():
    queue = filled([entry("long", cost=1000) for _ in range(50)] + [entry("short", cost=10) for _ in range(5000)])
    cost = Counter()
    for _ in range(2000):
        one = queue.pop(0)
        cost[one.tenant] += one.cost
    assert cost["long"] == pytest.approx(cost["short"], abs=1000)


@pytest.mark.parametrize("served", [40, 41])
def test_a_tenant_back_from_a_pause_is_next_but_does_not_make_up_for_the_pause(served):
    queue = filled([entry("a") for _ in range(50)] + [entry("b") for _ in range(50)])
    for _ in range(served):
        queue.pop(0)
    for _ in range(10):
        queue.push(entry("c"), 0)
    order = [queue.pop(0).tenant for _ in range(12)]
    assert order[0] == "c"
    assert Counter(order) == {"a": 4, "b": 4, "c": 4}


def test_leaving_and_coming_back_is_no_way_to_get_more():
    queue = filled([entry("a") for _ in range(1000)])
    seen = Counter()
    for _ in range(500):
        if not queue.held("b"):
            queue.push(entry("b"), 0)
        seen[queue.pop(0).tenant] += 1
    assert abs(seen["a"] - seen["b"]) <= 1


def test_cancelled_entries_cost_their_tenant_nothing():
    gone = [entry("a", cost=500) for _ in range(10)]
    queue = filled([*gone, *(entry("a") for _ in range(20)), *(entry("b") for _ in range(20))])
    assert all(queue.remove(one) for one in gone)
    assert not queue.remove(gone[0])
    assert Counter(queue.pop(0).tenant for _ in range(20)) == {"a": 10, "b": 10}


def test_a_late_entry_is_dropped_and_never_started():
    late, in_time = entry(start_by_ns=99), entry(start_by_ns=100)
    queue = filled([late, in_time])
    assert queue.due_at_ns == 99
    assert queue.pop(100) is in_time
    assert queue.due_at_ns == 0
    assert queue.expire(100) == [late]
    assert queue.due_at_ns is None
    assert not late.waiting


def test_late_entries_are_told_without_anybody_starting():
    queue = filled([entry(start_by_ns=at) for at in (30, 10, 20)])
    assert [one.start_by_ns for one in queue.expire(25)] == [10, 20]
    assert queue.size == 1
    assert queue.expire(25) == []


def test_one_tenant_cannot_fill_the_queue_not_even_in_several_classes():
    queue = FairQueue(QueuePolicy(10, 4))
    for _ in range(4):
        assert queue.push(entry(), 0).refused is None
    assert queue.push(entry(), 0).refused is ShedReason.TENANT_QUEUE_FULL
    assert queue.push(entry(priority=BATCH), 0).refused is ShedReason.TENANT_QUEUE_FULL
    assert queue.push(entry("b"), 0).refused is None


def test_a_tenant_that_has_its_share_makes_room_for_its_own_higher_class():
    batch = [entry(priority=BATCH) for _ in range(4)]
    queue = filled(batch, QueuePolicy(10, 4))
    urgent = entry(priority=CRITICAL)
    assert queue.push(urgent, 0).displaced is batch[-1]
    assert queue.held("a") == 4
    assert queue.pop(0) is urgent


def test_a_full_queue_gives_up_the_newest_of_the_longest_line_of_the_lowest_class():
    few, many = [entry("few", priority=BATCH) for _ in range(2)], [entry("many", priority=BATCH) for _ in range(4)]
    queue = filled([*few, *many, *(entry("c") for _ in range(4))], QueuePolicy(10, 10))
    assert queue.push(entry("d"), 0).displaced is many[-1]
    assert queue.push(entry("e", priority=BATCH), 0).displaced is many[-2]
    assert queue.push(entry("e", priority=BATCH), 0).refused is ShedReason.QUEUE_FULL
    assert queue.count(STANDARD) == 5 and queue.count(BATCH) == 5 and queue.count(CRITICAL) == 0


def test_a_full_queue_of_higher_classes_has_no_room_for_a_lower_one():
    queue = filled([entry(str(n)) for n in range(5)], QueuePolicy(5, 5))
    assert queue.push(entry("x", priority=BATCH), 0).refused is ShedReason.QUEUE_FULL
    assert queue.push(entry("x"), 0).refused is ShedReason.QUEUE_FULL


def test_a_flooding_tenant_makes_room_for_a_quiet_one_of_its_class():
    flood = [entry("flood") for _ in range(10)]
    queue = filled(flood, QueuePolicy(10, 10))
    assert queue.push(entry("quiet"), 0).displaced is flood[-1]
    assert queue.pop(0).tenant == "flood"
    assert queue.pop(0).tenant == "quiet"


def test_the_cost_before_an_entry_is_what_then_starts_before_it():
    rng = random.Random(5)
    for _ in range(100):
        entries = [
            entry(tenant, priority=rng.choice(list(Priority)), weight=weight)
            for tenant, weight in (("a", 3), ("b", 1), ("c", 2))
            for _ in range(rng.randrange(30))
        ]
        rng.shuffle(entries)
        queue = filled(entries)
        for _ in range(rng.randrange(len(entries) + 1)):
            queue.pop(0)
        one = entry("b", priority=rng.choice(list(Priority)))
        said = queue.cost_before(one)
        queue.push(one, 0)
        assert said == pytest.approx(drained(queue).index(one), abs=4)


def test_those_who_have_left_do_not_count_before_an_entry():
    gone = [entry(str(n)) for n in range(20)]
    queue = filled([*gone, *(entry(tenant) for tenant in "ab" for _ in range(10)), entry("c"), entry("c")])
    for one in gone:
        queue.remove(one)
    assert queue.cost_before(entry("c")) == 2 + 2 * 2


def test_a_million_distinct_tenants_leave_nothing_behind():
    queue = filled([entry("flood", cost=10**6)])
    for n in range(10_000):
        queue.push(entry(f"tenant {n}", cost=1000), 0)
        queue.push(entry("flood"), 0)
        if n % 2:
            gone = entry(f"gone {n}")
            queue.push(gone, 0)
            queue.remove(gone)
        queue.pop(0)
        queue.pop(0)
    line_up = queue._classes[1]
    assert len(line_up._paused) + len(line_up._older) <= 4096
    assert all(len(line.entries) <= 2 * line.count + 65 for line in line_up.lines.values())
    assert len(line_up._heap) <= 2 * len(line_up.lines) + 65
    assert len(queue._deadlines) <= 2 * queue.size + 65
    assert len(queue._held) <= queue.size
    assert len(line_up.lines) <= queue.size


def test_at_rest_nobody_owes_anything():
    queue = filled([entry("big", cost=1000), entry("small"), entry("small")])
    drained(queue)
    queue.rest()
    small, big = entry("small"), entry("big")
    queue.push(big, 0)
    queue.push(small, 0)
    assert drained(queue) == [big, small]


def test_a_policy_leaves_a_tenant_at_least_one_place():
    for wrong in ((0, 0), (10, 0), (10, 11)):
        with pytest.raises(ValueError):
            QueuePolicy(*wrong)


class Reference:
    """The same rules, looked up in plain lists each time."""

    def __init__(self, policy):
        self.policy = policy
        self.entries = []  # in order of arrival
        self.tags = {}  # (rank, tenant): start tag of the next entry, in units
        self.turns = {}  # (rank, tenant): who of equals is first
        self.now = [0, 0, 0]
        self.turn = 0

    def line(self, rank, tenant):
        return [one for one in self.entries if one.rank == rank and one.tenant == tenant]

    def key(self, rank, tenant):
        return self.tags[rank, tenant], *self.turns[rank, tenant]

    def push(self, one):
        own = [other for other in self.entries if other.tenant == one.tenant]
        if len(own) >= self.policy.max_per_tenant:
            victims = sorted((other for other in own if other.rank > one.rank), key=lambda other: other.rank)
            if not victims:
                return ShedReason.TENANT_QUEUE_FULL, None
            lowest = [other for other in victims if other.rank == victims[-1].rank]
            self.entries.remove(lowest[-1])
            self.add(one)
            return None, {lowest[-1]}
        if len(self.entries) >= self.policy.max_entries:
            rank = max(other.rank for other in self.entries)
            if rank < one.rank:
                return ShedReason.QUEUE_FULL, None
            lines = [self.line(rank, tenant) for tenant in {other.tenant for other in self.entries}]
            longest = max(map(len, lines))
            if rank == one.rank and longest <= 2 * (
                len(self.line(rank, one.tenant)) + 1 if self.line(rank, one.tenant) else 1
            ):
                return ShedReason.QUEUE_FULL, None
            return None, {line[-1] for line in lines if len(line) == longest}  # any of these; the caller adds
        self.add(one)
        return None, None

    def add(self, one):
        place = one.rank, one.tenant
        if not self.line(*place):
            tag = self.tags.get(place, 0)
            self.turn += 1
            back = tag > self.now[one.rank]
            self.tags[place] = max(tag, self.now[one.rank])
            self.turns[place] = int(back), self.turn
        self.entries.append(one)

    def pop(self, now_ns):
        self.entries = [one for one in self.entries if one.start_by_ns >= now_ns]
        if not self.entries:
            return None
        rank = min(one.rank for one in self.entries)
        tenant = min({one.tenant for one in self.entries if one.rank == rank}, key=lambda name: self.key(rank, name))
        one = self.line(rank, tenant)[0]
        self.entries.remove(one)
        self.now[rank] = self.tags[rank, tenant]
        self.tags[rank, tenant] += one.cost * 720_720 // one.weight
        self.turn += 1
        self.turns[rank, tenant] = 1, self.turn
        return one


WEIGHTS = {"a": 3, "b": 1, "c": 7}
STEPS = st.one_of(
    st.tuples(
        st.just("push"), st.sampled_from("abc"), st.sampled_from(list(Priority)), st.integers(1, 9), st.integers(0, 40)
    ),
    st.tuples(st.just("pop"), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("expire"), st.integers(0, 5)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 12), st.integers(1, 12))
def test_the_queue_does_what_a_naive_one_does(steps, places, of_a_tenant):  # noqa: C901 - one step of each kind
    policy = QueuePolicy(places, min(of_a_tenant, places))
    queue, reference, now_ns, known = FairQueue(policy), Reference(policy), 0, []
    for step in steps:
        if step[0] == "push":
            _, tenant, priority, cost, patience = step
            one = Entry(tenant, now_ns + patience, priority, WEIGHTS[tenant], cost)
            pushed = queue.push(one, now_ns)
            refused, victims = reference.push(one)
            assert pushed.refused is refused
            assert (pushed.displaced is None) is (victims is None)
            if victims is not None:
                assert pushed.displaced in victims
                if pushed.displaced in reference.entries:
                    reference.entries.remove(pushed.displaced)
                    reference.add(one)
            if refused is None:
                insort(known, one, key=lambda other: other.start_by_ns)
        elif step[0] == "pop":
            now_ns += step[1]
            assert queue.pop(now_ns) is reference.pop(now_ns)
        elif step[0] == "cancel":
            if known:
                gone = known[step[1] % len(known)]
                untold = [one for one in known if one in queue._late]
                assert queue.remove(gone) is (gone in reference.entries or gone in untold)
                if gone in reference.entries:
                    reference.entries.remove(gone)
                assert queue._late == [one for one in queue._late if one in untold and one is not gone]
        else:
            now_ns += step[1]
            late = queue.expire(now_ns)
            assert all(one.start_by_ns < now_ns and not one.waiting for one in late)
            reference.entries = [one for one in reference.entries if one.start_by_ns >= now_ns]
        assert queue.size == len(reference.entries) <= places
        assert queue.cost == sum(one.cost for one in reference.entries)
        for tenant in "abc":
            assert queue.held(tenant) == sum(one.tenant == tenant for one in reference.entries) <= policy.max_per_tenant
        for one in known:
            assert one.waiting is (one in reference.entries)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_same_calls_give_the_same_order(seed):
    def run():
        rng, queue, order = random.Random(seed), FairQueue(QueuePolicy(30, 20)), []
        for n in range(200):
            if rng.random() < 0.6:
                pushed = queue.push(
                    Entry(rng.choice("abcde"), n + rng.randrange(100), rng.choice(list(Priority)), rng.randrange(1, 5)),
                    n,
                )
                order.append((pushed.refused, pushed.displaced and pushed.displaced.tenant))
            elif (one := queue.pop(n)) is not None:
                order.append((one.tenant, one.rank, one.queued_at_ns))
        return order

    assert run() == run()
