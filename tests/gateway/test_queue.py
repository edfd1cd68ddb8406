"""The queue before a pool: who waits, who is woken, and that no place is ever lost. Time stands still until moved."""

import asyncio
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from podium.core.errors import Overloaded, PodiumError, RateLimited
from podium.core.serving import Queueing
from podium.gateway.queue import PoolQueue, Turn, shed_error
from podium.testing.clock import TestClock
from podium.testing.waiting import eventually
from podium.traffic.queueing.admission import Shed
from podium.traffic.queueing.fair_queue import Priority, ShedReason

S = 1_000_000_000
NEVER_NS = 1 << 62


class FixedPlaces:
    """A pool of so many places; None: nobody takes calls."""

    def __init__(self, count):
        self.count = count

    def places(self, now_ns):
        assert now_ns > 0
        return self.count


class House:
    """A queue, and callers that come, wait, go and end when the test says so."""

    def __init__(self, places=2, **spec):
        self.clock = TestClock()
        self.capacity = FixedPlaces(places)
        self.spec = Queueing(places=1, **spec)
        self.queue = PoolQueue(self.spec, self.capacity, self.now_ns)
        self.started = []  # names, in order

    @property
    def now_ns(self):
        return self.clock.monotonic_ns()

    async def _call(self, name, turn, end):
        """What `Call` does."""
        if not self.queue.try_enter(self.now_ns):
            await self.queue.wait(turn, self.clock, asyncio.get_running_loop(), lambda: 0.0)
        began_ns = self.now_ns
        self.started.append(name)
        try:
            await end
        finally:
            self.queue.leave(self.now_ns, served_ns=self.now_ns - began_ns)

    def come(self, name, *, tenant="t", within_s=None, priority=Priority.STANDARD, weight=1):
        start_by_ns = NEVER_NS if within_s is None else self.now_ns + int(within_s * S)
        end = asyncio.get_running_loop().create_future()
        call = self._call(name, Turn(tenant, start_by_ns, priority, weight), end)
        task = asyncio.create_task(call)
        task.add_done_callback(lambda one: one.cancelled() or one.exception())  # looked at: nobody need be warned
        return task, end

    async def settle(self):
        """Let everybody go on who can."""
        for _ in range(6):
            await asyncio.sleep(0)

    async def pass_s(self, seconds):
        self.clock.advance(seconds)
        self.queue.look(self.now_ns)
        await self.settle()

    async def serve_one(self, seconds=1.0):
        """Somebody comes, is served for so long, and goes."""
        task, end = self.come("passer-by")
        await self.settle()
        self.clock.advance(seconds)
        end.set_result(None)
        await task

    def waiting(self):
        return sum(self.queue.waiting(priority) for priority in Priority)


@pytest.fixture
def house():
    return House()


def error_of(task):
    error = task.exception()
    assert isinstance(error, PodiumError)
    return error


async def test_who_finds_a_place_starts_without_waiting(house):
    assert house.queue.try_enter(house.now_ns)
    assert house.queue.try_enter(house.now_ns)
    assert not house.queue.try_enter(house.now_ns)
    assert (house.queue.running, house.queue.limit, house.waiting()) == (2, 2, 0)
    assert house.queue._timer is None


async def test_places_are_taken_in_turn_and_given_back(house):
    calls = [house.come(name) for name in "abcde"]
    await house.settle()
    assert house.started == ["a", "b"]
    assert house.waiting() == 3
    for _, end in calls:
        end.set_result(None)
        await house.settle()
    assert house.started == ["a", "b", "c", "d", "e"]
    assert (house.queue.running, house.waiting()) == (0, 0)


async def test_nobody_overtakes_the_queue(house):
    calls = [house.come(name) for name in "abc"]
    await house.settle()
    calls[0][1].set_result(None)
    late, _ = house.come("late")
    await house.settle()
    assert house.started == ["a", "b", "c"]
    late.cancel()
    for task, _ in calls[1:]:
        task.cancel()
    await house.settle()
    assert (house.queue.running, house.waiting()) == (0, 0)


async def test_a_caller_that_goes_while_it_waits_leaves_nothing_behind(house):
    calls = [house.come(name) for name in "abcd"]
    await house.settle()
    calls[2][0].cancel()
    await house.settle()
    assert house.waiting() == 1
    calls[0][1].set_result(None)
    await house.settle()
    assert house.started == ["a", "b", "d"]
    calls[1][1].set_result(None)
    calls[3][1].set_result(None)
    await house.settle()
    assert house.queue.running == 0


async def test_a_caller_that_goes_in_the_moment_in_which_it_is_woken_hands_its_place_on(house):
    calls = [house.come(name) for name in "abcd"]
    await house.settle()
    house.queue.leave(house.now_ns)  # a's; c is woken, and knows nothing of it yet
    assert house.queue.running == 2
    calls[2][0].cancel()
    await house.settle()
    assert calls[2][0].cancelled()
    assert house.started == ["a", "b", "d"]


async def test_a_place_goes_past_a_caller_that_has_gone_in_the_same_moment(house):
    calls = [house.come(name) for name in "abcd"]
    await house.settle()
    calls[2][0].cancel()  # its task has not run since
    house.queue.leave(house.now_ns)
    await house.settle()
    assert house.started == ["a", "b", "d"]
    assert house.queue.running == 2


async def test_who_has_waited_for_too_long_is_told_so_and_when_to_come_again():
    house = House(1, max_wait_s=2.0)
    running, end = house.come("a")
    task, _ = house.come("b")
    await house.settle()
    await house.pass_s(1.9)
    assert not task.done()
    await house.pass_s(0.2)
    error = error_of(task)
    assert isinstance(error, Overloaded)
    assert (error.status, error.reason) == (503, "cannot_start_in_time")
    assert error.retry_after_s > 0
    end.set_result(None)
    await running
    assert (house.queue.running, house.waiting()) == (0, 0)


async def test_the_queue_rings_for_itself_when_somebody_is_late():
    house = House(1, max_wait_s=2.0)
    running, end = house.come("a")
    task, _ = house.come("b")
    await house.settle()
    house.clock.advance(3.0)
    await eventually(task.done)
    assert error_of(task).reason == "cannot_start_in_time"
    await eventually(lambda: house.queue._timer is None)
    end.set_result(None)
    await running


async def test_a_deadline_comes_before_the_longest_wait():
    house = House(1, max_wait_s=10.0)
    _, end = house.come("a")
    task, _ = house.come("b", within_s=0.5)
    await house.settle()
    await house.pass_s(0.6)
    assert error_of(task).reason == "cannot_start_in_time"
    end.set_result(None)
    await house.settle()


async def test_what_cannot_start_in_time_is_told_at_once():
    house = House(1)
    for _ in range(20):  # the pool is known to take a second for each
        await asyncio.gather(house.serve_one(), house.serve_one())
    calls = [house.come(str(number)) for number in range(4)]
    await house.settle()
    assert house.waiting() == 3
    task, _ = house.come("in a hurry", within_s=1.0)
    await house.settle()
    error = error_of(task)
    assert error.reason == "cannot_start_in_time"
    assert error.retry_after_s == pytest.approx(4.0, rel=0.3)  # three wait, and it would be the fourth
    for each, _ in calls:
        each.cancel()
    await house.settle()


async def test_a_first_flood_is_measured_by_the_time_that_an_exchange_usually_takes():
    """The pool was never full before, so how fast it is when full is not known."""
    house = House(2, max_wait_s=1.0)
    for _ in range(20):
        await house.serve_one(0.5)
    calls = [house.come(str(number)) for number in range(20)]
    await house.settle()
    late = [task for task, _ in calls if task.done()]
    assert {error_of(task).reason for task in late} == {"cannot_start_in_time"}
    assert house.waiting() == pytest.approx(4, abs=1)  # four a second
    for task, _ in calls:
        task.cancel()
    await house.settle()


async def test_the_typical_time_is_the_median_of_successes():
    house = House(1)
    assert house.queue.typical_ns(house.now_ns) == 0
    for seconds in [0.2] * 12 + [5.0] * 3:
        await house.serve_one(seconds)
    await house.pass_s(1.0)
    assert house.queue.typical_ns(house.now_ns) == pytest.approx(0.2 * S, rel=0.1)
    assert house.queue.try_enter(house.now_ns)
    house.queue.leave(house.now_ns)  # a failure: says nothing
    assert house.queue._times.count == 15


async def test_a_full_queue_sheds_and_says_why():
    house = House(1, max_entries=2, max_per_tenant=1)
    calls = [house.come("a"), house.come("b", tenant="x"), house.come("c", tenant="y")]
    own, _ = house.come("d", tenant="x")
    full, _ = house.come("e", tenant="z")
    await house.settle()
    error = error_of(own)
    assert isinstance(error, RateLimited)
    assert (error.status, error.reason) == (429, "tenant_queue_full")
    assert (error_of(full).status, error_of(full).reason) == (503, "overloaded")
    above, _ = house.come("f", tenant="z", priority=Priority.CRITICAL)
    await house.settle()
    displaced = [task for task, _ in calls if task.done()]
    assert [error_of(task).reason for task in displaced] == ["overloaded"]
    for task in (above, *(task for task, _ in calls)):
        task.cancel()
    await house.settle()
    assert (house.queue.running, house.waiting()) == (0, 0)


async def test_new_places_wake_who_waits(house):
    calls = [house.come(name) for name in "abcde"]
    await house.settle()
    house.capacity.count = 4
    await eventually(lambda: len(house.started) == 4)  # nobody tells the queue: it looks
    calls.append(house.come("f"))
    house.capacity.count = 5
    await eventually(lambda: len(house.started) == 5)
    house.capacity.count = 1
    for _, end in calls[:3]:
        end.set_result(None)
    await house.settle()
    assert (len(house.started), house.queue.running) == (5, 2)
    house.capacity.count = 2
    calls[3][1].set_result(None)
    await house.settle()
    assert (len(house.started), house.queue.running) == (6, 2)
    for _, end in calls[4:]:
        end.set_result(None)
    await house.settle()
    assert house.queue.running == 0


async def test_while_nobody_takes_calls_nobody_is_held_back(house):
    calls = [house.come(name) for name in "abcd"]
    await house.settle()
    house.capacity.count = None
    house.queue.look(house.now_ns)
    await house.settle()
    assert house.started == ["a", "b", "c", "d"]
    assert (house.queue.limit, house.queue.running) == (0, 4)
    house.capacity.count = 2
    assert not house.queue.try_enter(house.now_ns)
    for _, end in calls:
        end.set_result(None)
    await house.settle()
    assert house.queue.running == 0


async def test_a_changed_spec_keeps_those_who_wait(house):
    calls = [house.come(name, tenant=name) for name in "abcd"]
    await house.settle()
    other = FixedPlaces(3)
    house.queue.follow(Queueing(places=3, max_entries=1, weights={"a": 5}), other, house.now_ns)
    await house.settle()
    assert house.started == ["a", "b", "c"]
    assert house.queue.turns.weight("a") == 5
    full, _ = house.come("e", tenant="e")
    await house.settle()
    assert error_of(full).reason == "overloaded"
    for _, end in calls:
        end.set_result(None)
    await house.settle()
    assert (house.queue.running, house.waiting()) == (0, 0)


async def test_a_busy_pool_is_saturated_and_a_quiet_one_is_not(house):
    assert house.queue.saturation(house.now_ns) == 0
    calls = [house.come(name) for name in "abcdef"]
    await house.settle()
    for _ in range(100):
        await house.pass_s(0.05)
        house.queue.saturation(house.now_ns)
    full = house.queue.saturation(house.now_ns)
    for _ in range(20):
        await house.pass_s(0.4)
    assert house.queue.saturation(house.now_ns) > full > 0.2
    for task, _ in calls:
        task.cancel()
    await house.settle()
    for _ in range(10):
        await house.pass_s(15)
        house.queue.saturation(house.now_ns)
    assert house.queue.saturation(house.now_ns) < 0.01


async def test_a_long_rest_does_not_look_like_a_slow_pool(house):
    await house.pass_s(300)
    for _ in range(20):
        await asyncio.gather(house.serve_one(0.05), house.serve_one(0.05))
    calls = [house.come(name) for name in "abc"]
    await house.settle()
    assert house.queue.wait_s(house.now_ns) < 0.2
    for task, _ in calls:
        task.cancel()
    await house.settle()


async def test_what_fails_before_it_is_called_is_no_work_that_the_pool_has_done(house):
    """Else a second of an outage, in which hundreds fail at once, would look like a very fast pool."""
    house.capacity.count = 1
    for _ in range(5):
        await house.serve_one(1.0)
    for _ in range(100):
        assert house.queue.try_enter(house.now_ns)
        house.queue.leave(house.now_ns, worked=False)
    assert house.queue._admission.drain_per_s(house.now_ns) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("reason", list(ShedReason))
def test_every_reason_has_its_words_and_is_spread(reason):
    shed = Shed(Turn("t", 0), reason, 4.0)
    errors = [shed_error(shed, chance) for chance in (0.0, 0.5, 1.0)]
    assert [error.retry_after_s for error in errors] == [4.0, 5.0, 6.0]
    assert all(error.status in (429, 503) and error.message.endswith(".") for error in errors)
    soon = shed_error(Shed(shed.entry, reason, 0.1), 1.0)
    assert soon.retry_after_s == pytest.approx(1.1)


# Fair shares. Three places, each call takes exactly one second, and every end is one step of the clock.


async def flood(house, tenants, *, seconds, quiet_every_s):
    """Keep `tenants` (name: weight) waiting, many each; who was served in which second, and how long `quiet` waited."""
    calls, waits, served = {}, [], Counter()

    def come(tenant, weight):
        calls[house.come(tenant, tenant=tenant, weight=weight)[0]] = tenant

    for second in range(seconds):
        for tenant, weight in tenants.items():
            while sum(1 for task, name in calls.items() if name == tenant and not task.done()) < 40:
                come(tenant, weight)
        if second % quiet_every_s == 0:
            came = second, len(house.started)
            come("quiet", 1)
        await house.settle()
        before = len(house.started)
        await end_all(house)
        for name in house.started[before:]:
            served[name] += 1
            if name == "quiet":
                waits.append(second + 1 - came[0])
    for task in calls:
        task.cancel()
    await house.settle()
    return served, waits


async def end_all(house):
    """A second passes, and all that run end."""
    house.clock.advance(1.0)
    for end in house.ends.values():
        if not end.done():
            end.set_result(None)
    await house.settle()


class Seconds(House):
    """Each call ends when `end_all` says so."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.ends = {}

    async def _call(self, name, turn, end):
        if not self.queue.try_enter(self.now_ns):
            await self.queue.wait(turn, self.clock, asyncio.get_running_loop(), lambda: 0.0)
        self.started.append(name)
        self.ends[turn] = end
        try:
            await end
        finally:
            del self.ends[turn]
            self.queue.leave(self.now_ns, served_ns=S)


async def test_flooding_tenants_are_served_by_weight_and_a_quiet_one_waits_for_one_service_time():
    house = Seconds(3, max_wait_s=3600.0)
    served, waits = await flood(house, {"three": 3, "one": 1}, seconds=120, quiet_every_s=6)
    assert served["three"] + served["one"] + served["quiet"] == pytest.approx(360, abs=3)  # nothing is left idle
    assert served["three"] / served["one"] == pytest.approx(3, rel=0.1)
    assert len(waits) == 20
    assert max(waits) <= 1  # in seconds: one service time
    assert (house.queue.running, house.waiting()) == (0, 0)


# Anything in any order.

TENANTS = st.sampled_from(["a", "b", "c"])


class AnyOrder(RuleBasedStateMachine):
    """Callers come, go and end; places, specs and time change. A list knows who must be where."""

    callers = Bundle("callers")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.house = House(2, max_entries=6, max_per_tenant=4, max_wait_s=5.0)
        self.all = []

    def teardown(self):
        for _, end, _ in self.all:
            if not end.done():
                end.set_result(None)
        self.house.capacity.count = 100
        self.run(self.house.pass_s(0.0))
        self.run(self.house.settle())
        assert all(task.done() for task, _, _ in self.all), "nobody is forgotten"
        assert (self.house.queue.running, self.house.waiting()) == (0, 0), "every place is given back"
        self.run(asyncio.sleep(0))
        self.loop.close()

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    @rule(
        target=callers,
        tenant=TENANTS,
        within_s=st.none() | st.floats(0.0, 8.0),
        priority=st.sampled_from(Priority),
        weight=st.integers(1, 3),
        settles=st.booleans(),
    )
    def come(self, tenant, within_s, priority, weight, settles):
        async def come():
            task, end = self.house.come(
                len(self.all), tenant=tenant, within_s=within_s, priority=priority, weight=weight
            )
            if settles:
                await self.house.settle()
            return task, end, self.house.now_ns

        caller = self.run(come())
        self.all.append(caller)
        return caller

    @rule(caller=consumes(callers), settles=st.booleans())
    def go(self, caller, settles):
        caller[0].cancel()
        if settles:
            self.run(self.house.settle())

    @rule(caller=consumes(callers), settles=st.booleans())
    def end(self, caller, settles):
        if not caller[1].done():
            caller[1].set_result(None)
        if settles:
            self.run(self.house.settle())

    @rule(seconds=st.sampled_from([0.001, 0.5, 2.0, 6.0]))
    def wait(self, seconds):
        self.run(self.house.pass_s(seconds))

    @rule(count=st.sampled_from([None, 1, 2, 3, 5]))
    def resize(self, count):
        self.house.capacity.count = count
        self.run(self.house.pass_s(0.0))

    @precondition(lambda self: self.all)
    @rule(max_entries=st.sampled_from([1, 6]), places=st.integers(1, 3))
    def snapshot(self, max_entries, places):
        self.house.capacity = FixedPlaces(places)
        spec = Queueing(places=places, max_entries=max_entries, max_wait_s=5.0)
        self.house.queue.follow(spec, self.house.capacity, self.house.now_ns)
        self.run(self.house.pass_s(0.0))

    @invariant()
    def all_are_where_they_should_be(self):
        house = self.house
        self.run(house.settle())
        self.run(house.pass_s(0.0))
        started = set(house.started)
        open_ones = [(number, task) for number, (task, _, _) in enumerate(self.all) if not task.done()]
        running = [number for number, _ in open_ones if number in started]
        waiting = [number for number, _ in open_ones if number not in started]
        assert house.queue.running == len(running), "a place for each that runs, and for nobody else"
        assert house.waiting() == len(waiting)
        assert not waiting or house.queue.limit, "nobody waits while nobody takes calls"
        assert not waiting or house.queue.running >= house.queue.limit, "nobody waits while a place is free"
        assert len(house.started) == len(started), "nobody starts twice"
        assert all(house.now_ns - self.all[number][2] <= 5 * S for number in waiting)


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
