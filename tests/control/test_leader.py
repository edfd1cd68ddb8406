import asyncio

from podium.control.leader import Leader, new_holder
from podium.core.clock import SystemClock
from podium.testing.memory_store import MemoryLeaderLease
from podium.testing.waiting import eventually

TTL_S = 0.15


class Duty:
    def __init__(self):
        self.runs = 0
        self.running = False

    async def __call__(self, stop):
        self.runs += 1
        self.running = True
        try:
            await stop.wait()
        finally:
            self.running = False


def leader(lease, holder, *duties):
    return Leader(lease, SystemClock(), duties, holder=holder, ttl_s=TTL_S)


async def test_one_leads_and_the_other_takes_over_when_it_stops():
    lease, first, second = MemoryLeaderLease(), Duty(), Duty()
    stops = [asyncio.Event(), asyncio.Event()]
    async with asyncio.TaskGroup() as group:
        alice = leader(lease, "alice", first)
        group.create_task(alice.run(stops[0]))
        await eventually(lambda: first.running)
        bob = leader(lease, "bob", second)
        group.create_task(bob.run(stops[1]))
        await asyncio.sleep(TTL_S * 1.5)  # longer than the lease: renewals keep it
        assert (alice.leads, bob.leads, first.runs) == (True, False, 1)
        stops[0].set()
        await eventually(lambda: second.running)
        assert (alice.leads, bob.leads, first.running) == (False, True, False)
        stops[1].set()
    assert lease.holder == ""


async def test_the_stand_by_takes_over_from_one_that_vanished():
    lease, duty = MemoryLeaderLease(), Duty()
    assert await lease.acquire("vanished", TTL_S)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(leader(lease, "bob", duty).run(stop))
        await eventually(lambda: duty.running, timeout_s=TTL_S * 10)
        stop.set()


async def test_a_leader_that_cannot_renew_ends_its_duties_before_the_lease_ends():
    lease, duty = MemoryLeaderLease(), Duty()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(leader(lease, "alice", duty).run(stop))
        await eventually(lambda: duty.running)
        lease.down = True
        took_s = await eventually(lambda: not duty.running)
        assert took_s < TTL_S
        lease.down = False
        await eventually(lambda: duty.running)
        assert duty.runs == 2
        stop.set()


async def test_a_leader_whose_lease_was_taken_ends_its_duties():
    lease, duty = MemoryLeaderLease(), Duty()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(leader(lease, "alice", duty).run(stop))
        await eventually(lambda: duty.running)
        lease.holder = "mallory"
        await eventually(lambda: not duty.running)
        stop.set()


async def test_a_duty_that_hangs_is_cancelled():
    lease = MemoryLeaderLease()
    cancelled = asyncio.Event()

    async def hangs(stop):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        alice = leader(lease, "alice", hangs)
        group.create_task(alice.run(stop))
        await eventually(lambda: alice.leads)
        stop.set()
        await eventually(cancelled.is_set)
    assert lease.holder == ""


async def test_a_duty_that_breaks_starts_anew_and_the_others_go_on():
    lease, duty = MemoryLeaderLease(), Duty()
    runs = []

    async def breaks(stop):
        runs.append(1)
        if len(runs) == 1:
            raise ZeroDivisionError
        await stop.wait()

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(leader(lease, "alice", breaks, duty).run(stop))
        await eventually(lambda: len(runs) == 2)
        assert (duty.running, duty.runs) == (True, 1)
        stop.set()


def test_holders_are_told_apart():
    assert new_holder() != new_holder()
