"""How a gateway follows what is published: told or not, readable or not, reachable or not."""

import asyncio
import contextlib

import pytest

from podium.core.errors import OperatorError, Unavailable
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.follow import SnapshotFollower
from podium.testing.clock import TestClock
from podium.testing.waiting import eventually
from podium.upstreams.providers import LocalWorkers, Providers


class Source:
    def __init__(self):
        self.revision = 0
        self.looks = self.reads = 0
        self.stamp_error = self.read_error = None

    async def stamp(self):
        self.looks += 1
        await asyncio.sleep(0)
        if self.stamp_error is not None:
            raise self.stamp_error
        return self.revision or None

    async def read(self):
        self.reads += 1
        if self.read_error is not None:
            raise self.read_error
        return Snapshot(revision=self.revision, published_unix_s=1.0)


@pytest.fixture
async def follow():
    """A source, and what makes a follower of it."""
    providers = Providers(LocalWorkers({}, "key"))

    def make(source, poll_s=60.0):
        return SnapshotFollower(source, providers, Fleet(), TestClock(), poll_s=poll_s)

    yield make
    providers.close()


@contextlib.asynccontextmanager
async def running(follower):
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def revision(follower):
    return None if follower.current is None else follower.current.snapshot.revision


async def test_it_looks_at_once_when_told_and_once_though_told_often(follow):
    source = Source()
    follower = follow(source)
    async with running(follower):
        await eventually(lambda: source.looks == 1)
        source.revision = 1
        for _ in range(100):
            follower.tell()
        await eventually(lambda: revision(follower) == 1)
        for _ in range(20):
            await asyncio.sleep(0)
    assert (source.looks, source.reads) == (2, 1)


async def test_what_is_told_while_it_looks_is_not_missed(follow):
    source = Source()
    follower = follow(source)
    stamp = source.stamp

    async def stamp_and_publish():
        seen = await stamp()
        if source.looks == 1:
            source.revision = 7
            follower.tell()
        return seen

    source.stamp = stamp_and_publish
    async with running(follower):
        await eventually(lambda: revision(follower) == 7)


async def test_what_nobody_tells_is_found_by_the_poll(follow):
    source = Source()
    follower = follow(source, poll_s=0.01)
    async with running(follower):
        source.revision = 3
        await eventually(lambda: revision(follower) == 3)


async def test_while_nobody_can_be_asked_the_last_one_stays_and_the_next_one_is_taken(follow):
    source = Source()
    source.revision = 1
    follower = follow(source)
    await follower.look()
    source.stamp_error = Unavailable("away")
    await follower.look()
    assert (revision(follower), follower.reachable) == (1, False)
    source.stamp_error, source.revision = None, 2
    await follower.look()
    assert (revision(follower), follower.reachable) == (2, True)


async def test_what_could_not_be_fetched_is_fetched_by_the_next_look(follow):
    source = Source()
    source.revision, source.read_error = 1, Unavailable("went away between the two")
    follower = follow(source)
    await follower.look()
    assert follower.current is None
    source.read_error = None
    await follower.look()
    assert revision(follower) == 1


async def test_a_damaged_one_is_read_once_and_the_one_after_it_is_taken(follow):
    source = Source()
    source.revision = 1
    follower = follow(source)
    await follower.look()
    source.revision, source.read_error = 2, OperatorError("damaged")
    for _ in range(3):
        await follower.look()
    assert (revision(follower), source.reads) == (1, 2)
    source.revision, source.read_error = 3, None
    await follower.look()
    assert revision(follower) == 3
