"""How a gateway follows what is published: told or not, readable or not, reachable or not."""

import asyncio
import contextlib

import msgspec
import pytest

from podium.core.errors import OperatorError, Unavailable
from podium.core.resources import BackendSpec, Model, Provider, Tenant, Version
from podium.core.snapshot import KeyEntry, Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.follow import SnapshotFollower
from podium.gateway.world import World
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


async def test_one_that_meets_a_bug_leaves_the_last_one_serving_and_the_one_after_it_is_taken(follow, monkeypatch):
    source = Source()
    source.revision = 1
    follower = follow(source)
    async with running(follower):
        await eventually(lambda: revision(follower) == 1)
        with monkeypatch.context() as patch:
            patch.setattr(World, "made", lambda *_: 1 // 0)
            source.revision = 2
            follower.tell()
            await eventually(lambda: source.reads == 2)
            assert revision(follower) == 1
        source.revision = 3
        follower.tell()
        await eventually(lambda: revision(follower) == 3)


@pytest.fixture
def many_models():
    """Snapshots of so many models that compiling them takes several turns of the loop."""
    provider = Provider(protocol="openai", base_url="http://127.0.0.1:9/v1")
    return Snapshot(
        revision=1,
        published_unix_s=1.0,
        keys=(KeyEntry(id="k1", tenant="t", name="n", secrets=()), KeyEntry(id="k2", tenant="t", name="n", secrets=())),
        tenants={"t": Tenant()},
        providers={"p": provider},
        versions={"v": Version(backends=(BackendSpec(provider="p", model="m"),))},
        models={f"m{number}": Model(version="v") for number in range(2000)},
    )


class Told:
    """A source of what a test tells; each read is new."""

    def __init__(self, snapshot):
        self.snapshot = snapshot

    async def stamp(self):
        return self.snapshot.revision

    async def read(self):
        return self.snapshot


def turns_until(follower, until):
    """Count the loop's turns, and what a gateway that is asked in each of them would say."""
    seen = []

    async def watch():
        while not until():
            seen.append((follower.current.snapshot.revision, follower.current.key("k1")))
            await asyncio.sleep(0)

    return seen, asyncio.create_task(watch())


async def test_others_have_turns_while_many_models_are_compiled(follow, many_models):
    source = Told(many_models)
    follower = follow(source)
    await follower.look()
    models = {**many_models.models, "new": Model(version="v")}
    source.snapshot = msgspec.structs.replace(many_models, revision=2, models=models)
    seen, watching = turns_until(follower, lambda: "new" in follower.current.models)
    await follower.look()
    await watching
    assert len(seen) > 3
    assert {revision for revision, _ in seen} == {1}  # the old world, whole, until the new one is
    assert follower.current.pool("new") is not None


async def test_a_key_that_is_revoked_does_not_wait_for_the_models(follow, many_models):
    source = Told(many_models)
    follower = follow(source)
    await follower.look()
    first = follower.current
    (entry,) = [entry for entry in many_models.keys if entry.id == "k1"]
    assert first.key("k1") == entry
    first.principal(entry)
    revoked = many_models.keys.changed({"k1": msgspec.structs.replace(entry, revoked_unix_s=1.0)})
    source.snapshot = msgspec.structs.replace(many_models, revision=2, keys=revoked)
    seen, watching = turns_until(follower, lambda: follower.current.pool("m0") is not first.pool("m0"))
    await follower.look()
    await watching
    early = [key for revision, key in seen if revision == 2]
    assert len(early) > 3
    assert all(key.revoked_unix_s == 1.0 for key in early)
    assert follower.current.key("k1").revoked_unix_s == 1.0
    assert follower.current.key("k2") == first.key("k2")


async def test_a_key_that_is_revoked_is_refused_though_the_models_meet_a_bug(follow, many_models, monkeypatch):
    source = Told(many_models)
    follower = follow(source)
    await follower.look()
    first = follower.current
    (entry,) = [entry for entry in many_models.keys if entry.id == "k1"]
    revoked = many_models.keys.changed({"k1": msgspec.structs.replace(entry, revoked_unix_s=1.0)})
    source.snapshot = msgspec.structs.replace(many_models, revision=2, keys=revoked, models={})
    with monkeypatch.context() as patch:
        patch.setattr(World, "made", lambda *_: 1 // 0)
        await follower.look()
    assert follower.current.key("k1").revoked_unix_s == 1.0
    assert follower.current.pool("m0") is first.pool("m0")
    await follower.look()  # what met the bug is tried again
    assert (revision(follower), follower.current.pool("m0")) == (2, None)
