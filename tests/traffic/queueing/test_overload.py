"""What tenants see of a pool that has too much to do. Simulated time; nothing sleeps."""

from collections import Counter

import pytest

from podium.traffic.queueing.admission import AdmissionPolicy
from podium.traffic.queueing.fair_queue import Priority, QueuePolicy, ShedReason

S = 1_000_000_000
SERVERS, MEAN_S = 10, 0.2
CAPACITY = SERVERS / MEAN_S  # calls a second
POLICY = AdmissionPolicy(queue=QueuePolicy(200, 80), max_wait_s=1.0)


def exponential(random):
    return random.expovariate(1 / MEAN_S)


def lognormal(random):
    return MEAN_S * random.lognormvariate(-0.32, 0.8)  # mean MEAN_S


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def served(calls, tenant, after_s=5.0):
    return [call for call in calls if call.tenant == tenant and call.ended_ns and call.started_ns > after_s * S]


@pytest.mark.parametrize("draw", [exponential, lognormal])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_flooding_tenants_are_served_by_weight_and_a_quiet_one_waits_for_one_place(simulate, draw, seed):
    world = simulate(SERVERS, POLICY, draw, seed)
    world.flood("three", 3 * CAPACITY, until_s=60, weight=3)
    world.flood("one", 3 * CAPACITY, until_s=60)
    for second in range(2, 60, 2):
        world.at(second * S, lambda: world.arrive("quiet"))
    world.run()
    three, one = (
        len([call for call in served(world.calls, name) if call.ended_ns < 60 * S]) for name in ("three", "one")
    )
    assert three / one == pytest.approx(3, rel=0.1)
    quiet = [call for call in world.calls if call.tenant == "quiet"]
    assert len(quiet) == 29
    assert all(call.ended_ns for call in quiet)
    # The next place of ten is its own: about a tenth of a service time, and never a whole one.
    assert max(call.wait_s for call in quiet) < MEAN_S
    assert sum(call.wait_s for call in quiet) / len(quiet) < 2 * MEAN_S / SERVERS


@pytest.mark.parametrize("draw", [exponential, lognormal])
def test_at_ten_times_the_capacity_the_pool_does_its_work_and_the_rest_is_told_at_once(simulate, draw):
    quiet = simulate(SERVERS, POLICY, draw)
    quiet.flood("a", 0.3 * CAPACITY, until_s=100)
    quiet.run()
    unloaded_p99 = percentile([call.took_s for call in quiet.calls], 0.99)

    policy = AdmissionPolicy(queue=QueuePolicy(200, 80), max_wait_s=0.5)
    world = simulate(SERVERS, policy, draw)
    for n in range(5):
        world.flood(f"tenant {n}", 2 * CAPACITY, until_s=40, patience_s=1.0)
    world.run()
    done = [call for call in world.calls if call.ended_ns is not None and call.ended_ns < 40 * S]
    assert len(done) >= 0.9 * CAPACITY * 40
    assert percentile([call.took_s for call in done], 0.99) <= 2 * unloaded_p99
    told = [call for call in world.calls if call.shed]
    assert len(told) + len([call for call in world.calls if call.ended_ns]) == len(world.calls)
    at_once = [call for call in told if call.shed_ns == call.arrived_ns]
    assert len(at_once) >= 0.98 * len(told)
    assert max(call.shed_ns - call.arrived_ns for call in told) <= 0.5 * S + 1


def test_a_class_never_waits_for_a_lower_one(simulate):
    world = simulate(SERVERS, POLICY, exponential)
    world.flood("batch", 5 * CAPACITY, until_s=30, priority=Priority.BATCH)
    world.flood("standard", 2 * CAPACITY, until_s=30)
    world.flood("critical", 0.5 * CAPACITY, until_s=30, priority=Priority.CRITICAL)
    world.run()
    by_rank = [[call for call in world.calls if call.priority is priority] for priority in Priority]
    critical = [call for call in by_rank[0] if call.arrived_ns < 30 * S]
    assert all(call.ended_ns for call in critical)
    assert max(call.wait_s for call in critical) < 2 * MEAN_S
    # Nobody started while one of a higher class that started later was waiting already.
    latest = [max((call.started_ns - call.arrived_ns, call.arrived_ns, call.started_ns) for call in by_rank[0])]
    for lower in (1, 2):
        for call in by_rank[lower]:
            if call.started_ns is None:
                continue
            for _, arrived_ns, started_ns in latest:
                assert not arrived_ns < call.started_ns < started_ns or call.started_ns == call.arrived_ns
    started = Counter(call.priority for call in world.calls if call.started_ns and call.started_ns < 30 * S)
    assert started[Priority.BATCH] < 0.02 * started.total()


def test_the_lowest_class_does_not_starve_while_capacity_is_left(simulate):
    world = simulate(SERVERS, POLICY, exponential)
    world.flood("standard", 0.7 * CAPACITY, until_s=60)
    world.flood("batch", 5 * CAPACITY, until_s=60, priority=Priority.BATCH)
    world.run()
    batch = len([call for call in served(world.calls, "batch", 0) if call.ended_ns < 60 * S])
    assert batch >= 0.9 * 0.3 * CAPACITY * 60
    standard = [call for call in world.calls if call.tenant == "standard"]
    assert all(call.ended_ns for call in standard)


def test_the_lowest_class_starves_as_long_as_a_higher_one_takes_all_and_then_recovers_at_once(simulate):
    world = simulate(SERVERS, POLICY, exponential)
    world.flood("standard", 3 * CAPACITY, from_s=5, until_s=20)
    world.flood("batch", 10, until_s=40, priority=Priority.BATCH)
    world.run()
    batch = [call for call in world.calls if call.tenant == "batch"]
    flooded = [call for call in batch if 6 * S < call.arrived_ns < 19 * S]
    assert not any(call.started_ns for call in flooded)
    assert {call.shed.reason for call in flooded} <= {
        ShedReason.SATURATED,
        ShedReason.CANNOT_START_IN_TIME,
        ShedReason.DEADLINE_PASSED,
        ShedReason.DISPLACED,
    }
    after = [call for call in batch if call.arrived_ns > 22 * S]
    assert after and all(call.ended_ns for call in after)


def test_a_pool_that_becomes_slow_refuses_earlier(simulate):
    world = simulate(
        SERVERS, POLICY, lambda random: random.expovariate(1 / (MEAN_S if world.now_ns < 20 * S else 10 * MEAN_S))
    )
    world.flood("a", 2 * CAPACITY, until_s=60, patience_s=2)
    world.run()
    early = [call for call in world.calls if 10 * S < call.arrived_ns < 20 * S and call.shed]
    late = [call for call in world.calls if call.arrived_ns > 50 * S and call.shed]
    assert all(call.shed.retry_after_s < 2.5 for call in early)
    waited_in_vain = [call for call in late if call.shed_ns > call.arrived_ns]
    assert len(waited_in_vain) < 0.05 * len(late)
