import asyncio

import pytest
from litestar.testing import TestClient

from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.plane import ControlPlane
from podium.testing.clock import TestClock
from podium.testing.memory_store import (
    MemoryJournals,
    MemoryKeyStore,
    MemoryLeaderLease,
    MemoryLedger,
    MemoryPublisher,
    MemoryResourceStore,
)
from podium.web.admin.app import build_admin_app
from podium.web.admin.settings import AdminSettings


class House:
    """An admin application over memory stores, and the keys of the cast: Alice runs it, Bob calls models."""

    def __init__(self, settings=None):
        self.clock = TestClock()
        self.resource_store = MemoryResourceStore(self.clock)
        self.key_store = MemoryKeyStore()
        self.ledger = MemoryLedger()
        self.plane = ControlPlane(
            resource_store=self.resource_store,
            key_store=self.key_store,
            ledger=self.ledger,
            lease=MemoryLeaderLease(self.clock),
            journals=MemoryJournals(),
            publisher=MemoryPublisher(),
            pepper=b"pepper",
            clock=self.clock,
            holder="control-1",
        )
        self.app = build_admin_app(self.plane, settings or AdminSettings(), metrics=lambda: b"podium_up 1\n")
        self.alice, self.bob = asyncio.run(self._cast())

    async def _cast(self):
        await self.plane.resources.apply(parse_documents("{kind: Tenant, name: acme}"), author="test")
        alice = NewKey(tenant="acme", name="alice", admin=True)
        bob = NewKey(tenant="acme", name="bob")
        return [await self.plane.keys.create(new, created_by="test") for new in (alice, bob)]

    @property
    def headers(self):
        return {"authorization": f"Bearer {self.alice.text}"}

    @property
    def author(self):
        return f"{self.alice.record.entry.id}/alice"

    def set_down(self, down):
        for store in (self.resource_store, self.key_store, self.ledger):
            store.down = down
        self.clock.advance(2)


@pytest.fixture
def house():
    return House()


@pytest.fixture
def client(house):
    with TestClient(house.app, raise_server_exceptions=False) as client:
        client.headers.update(house.headers)
        yield client


@pytest.fixture
def stranger(house):
    with TestClient(house.app, raise_server_exceptions=False) as client:
        yield client
