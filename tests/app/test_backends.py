import pytest

from podium.app.backends import backends_out
from podium.core.resources import BackendSpec, Model, Provider, SecretRef, Version
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.world import World
from podium.upstreams.providers import LocalWorkers, Providers

SERVER = Provider(protocol="openai", base_url="http://127.0.0.1:9/v1")
KEYLESS = Provider(protocol="openai", base_url="http://127.0.0.1:9/v1", api_key=SecretRef(env="PODIUM_NOT_SET"))


@pytest.fixture
async def told():
    """What is told of a model `m` with these backends: detail by name."""
    providers = Providers(LocalWorkers({}, "key"))

    def tell(*backends):
        snapshot = Snapshot(
            revision=1,
            published_unix_s=0.0,
            providers={"a": SERVER, "b": SERVER, "keyless": KEYLESS, "here": Provider(protocol="local")},
            versions={"v": Version(backends=list(backends))},
            models={"m": Model(version="v")},
        )
        world = World(snapshot, providers, Fleet(), 0)
        providers.retire_unused()
        parts = backends_out(world, providers.unusable, 0)
        assert not any(part.ready or part.required for part in parts)
        return {part.name: part.detail for part in parts}

    yield tell
    providers.close()


async def test_backends_that_take_calls_are_not_told(told):
    assert told(BackendSpec(provider="a", model="x"), BackendSpec(provider="b", model="x")) == {}


async def test_one_that_is_out_is_told_in_a_sentence(told):
    found = told(BackendSpec(provider="a", model="x", weight=0), BackendSpec(provider="b", model="x"))
    assert found == {"backend m a/x": "Its weight is 0: it takes nothing new."}


async def test_a_model_of_which_all_are_out_is_told_too(told):
    found = told(BackendSpec(provider="a", model="x", weight=0), BackendSpec(provider="b", model="x", weight=0))
    assert list(found) == ["backend m a/x", "backend m b/x", "model m"]
    assert found["model m"] == "None of its backends takes calls."


async def test_one_that_cannot_be_called_as_declared_is_told_with_the_reason(told, monkeypatch):
    monkeypatch.delenv("PODIUM_NOT_SET", raising=False)
    found = told(BackendSpec(provider="a", model="x"), BackendSpec(provider="keyless", model="x"))
    assert list(found) == ["backend m keyless/x"]
    assert found["backend m keyless/x"].startswith("It cannot be called. ")
    assert "PODIUM_NOT_SET" in found["backend m keyless/x"]


async def test_a_local_model_without_a_worker_is_told(told):
    found = told(BackendSpec(provider="here", model="tiny"))
    assert found == {
        "backend m here/tiny": "It cannot be called. No worker of this gateway serves it.",
        "model m": "None of its backends takes calls.",
    }
