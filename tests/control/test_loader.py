import asyncio

import pytest

from podium.control.loader import Batch, Loader
from podium.core.clock import SystemClock
from podium.core.errors import OperatorError, Unavailable
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryJournals, MemoryLedger
from podium.testing.waiting import eventually


def events(count):
    return [make_event() for _ in range(count)]


@pytest.fixture
def journals():
    return MemoryJournals()


@pytest.fixture
def ledger():
    return MemoryLedger()


@pytest.fixture
def loader(journals, ledger, clock):
    return Loader(journals, ledger, clock, batch_events=10)


async def test_all_events_come_in_batches_and_closed_segments_go(journals, ledger, loader):
    journals.append("a/1", *events(25))
    journals.close("a/1")
    journals.append("a/2", *events(3))
    assert await loader.load_once() == 28
    assert len(ledger.events) == 28
    assert [segment.source for segment in await journals.segments()] == ["a/2"]
    assert loader.status.lag_bytes == 0


async def test_a_growing_segment_is_read_on_where_it_was_left(journals, ledger, loader):
    journals.append("a/1", *events(3))
    await loader.load_once()
    journals.append("a/1", *events(2))
    assert await loader.load_once() == 2
    assert loader.status.repeated_events == 0


async def test_another_loader_goes_on_from_the_ledgers_position(journals, ledger, loader, clock):
    journals.append("a/1", *events(3))
    await loader.load_once()
    other = Loader(journals, ledger, clock)
    assert await other.load_once() == 0
    assert other.status.repeated_events == 0


@pytest.mark.parametrize("closed", [False, True])
async def test_a_database_that_took_over_gets_again_what_it_lacks(journals, ledger, loader, clock, closed):
    journals.append("a/1", *events(3))
    await loader.load_once()
    behind = MemoryLedger(clock)  # a replica that has not heard of the last ones
    ledger.load, ledger.position = behind.load, behind.position
    if closed:
        journals.close("a/1")
    else:
        journals.append("a/1", *events(1))
    await loader.load_once()
    assert len(behind.events) == (3 if closed else 4)


async def test_an_event_that_comes_twice_is_counted_once(journals, ledger, loader):
    (one,) = events(1)
    journals.append("a/1", one)
    journals.append("b/1", one)
    assert await loader.load_once() == 1
    assert loader.status.repeated_events == 1


async def test_a_crash_between_batches_loses_and_doubles_nothing(journals, ledger, clock):
    journals.append("a/1", *events(35))
    journals.close("a/1")
    for fails_after in (1, 2, 0, 1, 9):
        calls = 0
        load = ledger.load

        async def failing(*args, load=load, fails_after=fails_after):
            nonlocal calls
            if calls == fails_after:
                raise Unavailable("gone")
            calls += 1
            return await load(*args)

        ledger.load = failing
        try:
            await Loader(journals, ledger, clock, batch_events=10).load_once()
        except Unavailable:
            assert await journals.segments()
        finally:
            ledger.load = load
    assert len(ledger.events) == 35
    assert await journals.segments() == ()


async def test_a_segment_that_cannot_be_read_to_its_end_is_kept_and_told(journals, ledger, loader):
    journals.append("a/1", *events(3))
    journals.close("a/1")

    async def stuck(source, position, limit):
        return Batch((), position)

    journals.read = stuck
    await loader.load_once()
    assert loader.status.stuck == ("a/1",)
    assert loader.status.lag_bytes == 3
    assert await journals.segments()


async def test_a_segment_of_a_newer_podium_does_not_hold_up_the_others(journals, ledger, loader):
    journals.append("a/1", *events(3))
    journals.append("a/2", *events(3))
    read = journals.read

    async def newer(source, position, limit):
        if source == "a/1":
            raise OperatorError("the journal segment has format 9")
        return await read(source, position, limit)

    journals.read = newer
    assert await loader.load_once() == 3
    assert (loader.status.stuck, loader.status.lag_bytes) == (("a/1",), 3)


async def test_events_that_meet_a_bug_do_not_hold_up_those_of_other_segments(journals, ledger, loader):
    journals.append("a/1", *events(3))
    journals.append("a/2", *events(3))
    load = ledger.load

    async def buggy(source, position, *more):
        if source == "a/1":
            raise ZeroDivisionError("a bug")
        return await load(source, position, *more)

    ledger.load = buggy
    assert await loader.load_once() == 3
    assert (loader.status.stuck, loader.status.lag_bytes) == (("a/1",), 3)
    ledger.load = load
    assert await loader.load_once() == 3
    assert (loader.status.stuck, loader.status.lag_bytes) == ((), 0)


async def test_damage_that_was_stepped_over_is_counted(journals, ledger, loader):
    journals.append("a/1", *events(3))

    async def damaged(source, position, limit):
        return Batch(tuple(journals.written[source][1:]), 3, damaged_bytes=1)

    journals.read = damaged
    assert await loader.load_once() == 2
    assert loader.status.damaged_bytes == 1


async def test_a_segment_that_another_loader_brought_in_is_no_error(journals, ledger, loader):
    journals.append("a/1", *events(3))
    journals.append("a/2", *events(3))
    read = journals.read

    async def gone(source, position, limit):
        if source == "a/1":
            raise FileNotFoundError(source)
        return await read(source, position, limit)

    journals.read = gone
    assert await loader.load_once() == 3
    assert loader.status.lag_bytes == 0


async def test_the_loop_waits_for_a_lost_database_and_tells_the_lag(journals, ledger):
    loader = Loader(journals, ledger, SystemClock(), poll_s=0.005)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(loader.run(stop))
        journals.append("a/1", *events(3))
        await eventually(lambda: len(ledger.events) == 3)
        ledger.down = True
        journals.append("a/1", *events(4))
        await eventually(lambda: loader.status.lag_bytes == 4 and loader.status.error)
        assert loader.status.lag_s > 0
        ledger.down = False
        await eventually(lambda: len(ledger.events) == 7)
        await eventually(lambda: not loader.status.error and loader.status.lag_s == 0)
        stop.set()


async def test_it_tells_until_when_the_ledger_is_complete(journals, ledger, loader, clock):
    assert loader.status.complete_unix_ns == 0
    journals.append("g/1", make_event())
    await loader.load_once()
    first = loader.status.complete_unix_ns
    assert first == clock.unix_ns()
    clock.advance(5)
    journals.append("g/1", make_event())
    stop = asyncio.Event()
    stop.set()
    await loader.load_once(stop)
    assert loader.status.complete_unix_ns == first
    await loader.load_once()
    assert loader.status.complete_unix_ns == clock.unix_ns()


async def test_it_is_not_complete_while_a_segment_cannot_be_read(journals, ledger, loader, clock):
    journals.append("g/1", make_event())
    journals.close("g/1")
    await loader.load_once()
    journals.append("g/2", make_event())
    complete = loader.status.complete_unix_ns
    clock.advance(5)

    async def nothing(source, position, limit):
        return Batch((), position)

    journals.read = nothing
    await loader.load_once()
    assert loader.status.complete_unix_ns == complete
