import pytest

from podium.control.documents import parse_documents
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import LOOP_AUTHOR, Standings
from podium.control.rollouts.use import Rollouts
from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.resources import SqlResourceStore
from podium.testing.memory_store import MemoryResourceStore

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Version, name: v3, spec: {backends: [{provider: p, model: o}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
"""


@pytest.fixture(params=["memory", "sqlite"])
async def resource_store(request, clock, tmp_path):
    if request.param == "memory":
        yield MemoryResourceStore(clock)
        return
    database = open_database(DatabaseSettings(), tmp_path / "podium.db")
    await database.migrate()
    yield SqlResourceStore(database, clock)
    await database.close()


@pytest.fixture
def standings(resource_store):
    return Standings(resource_store)


@pytest.fixture
def rollouts(standings, clock):
    return Rollouts(standings, clock)


@pytest.fixture
def declared(resources):
    """Declare a house with a rollout `r` of the model `chat` from v1 to v2; or further documents."""

    async def declare(text=HOUSE, /, **rollout):
        documents = parse_documents(text)
        if text is HOUSE:
            spec = {"model": "chat", "candidate": "v2", **rollout}
            documents += parse_documents(str({"kind": "Rollout", "name": "r", "spec": spec}).replace("None", "null"))
        await resources.apply(documents, author="test")

    return declare


@pytest.fixture
def happen(standings, clock):
    """Let something happen to `r`, as the loop does."""

    async def happening(what, name="r", **more):
        clock.advance(1)
        standing = await standings.one(name)
        move = moved(standing, what, Asked(LOOP_AUTHOR, clock.unix_ns() / 1e9), **more)
        if move is not None:
            assert await standings.write(standing, move, author=LOOP_AUTHOR)
        return (await standings.one(name)).progress

    return happening


@pytest.fixture
def version_of(resource_store):
    """The version that a model has."""

    async def version(model="chat"):
        _, resources = await resource_store.current()
        return next(one.spec.version for one in resources if (one.kind, one.name) == ("Model", model))

    return version
