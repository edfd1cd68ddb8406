import pytest

from podium.control.keys import Keys
from podium.control.resources import Resources
from podium.testing.clock import TestClock
from podium.testing.memory_store import MemoryKeyStore, MemoryResourceStore


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture
def resource_store(clock):
    return MemoryResourceStore(clock)


@pytest.fixture
def key_store():
    return MemoryKeyStore()


@pytest.fixture
def resources(resource_store, key_store, clock):
    return Resources(resource_store, key_store, clock)


@pytest.fixture
def keys(resource_store, key_store, clock):
    return Keys(key_store, resource_store, b"pepper", clock)
