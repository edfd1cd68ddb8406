import msgspec

from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.plane import ControlPlane
from podium.control.settings import ControlSettings
from podium.testing.memory_store import (
    MemoryJournals,
    MemoryKeyStore,
    MemoryLeaderLease,
    MemoryLedger,
    MemoryPublisher,
    MemoryResourceStore,
)
from podium.testing.waiting import eventually

FAST = ControlSettings(poll_s=0.02, lease_ttl_s=0.2, loader_poll_s=0.02)


class House:
    def __init__(self):
        self.resource_store = MemoryResourceStore()
        self.key_store = MemoryKeyStore()
        self.lease = MemoryLeaderLease()
        self.publisher = MemoryPublisher()

    def plane(self, holder):
        return ControlPlane(
            resource_store=self.resource_store,
            key_store=self.key_store,
            ledger=MemoryLedger(),
            lease=self.lease,
            journals=MemoryJournals(),
            publisher=self.publisher,
            pepper=b"pepper",
            settings=FAST,
            holder=holder,
        )


async def test_changes_at_the_stand_by_reach_the_gateways_through_the_leader():
    house = House()
    async with house.plane("alice") as alice:
        await eventually(lambda: alice.leader.leads)
        async with house.plane("bob") as bob:
            await bob.resources.apply(parse_documents("{kind: Tenant, name: acme}"), author="bob")
            await eventually(lambda: house.publisher.published and house.publisher.published[-1].tenants)
            issued = await bob.keys.create(NewKey(tenant="acme", name="app"), created_by="bob")
            await eventually(lambda: house.publisher.published[-1].keys)
            await bob.keys.revoke(issued.record.entry.id, author="bob")
            await eventually(lambda: next(iter(house.publisher.published[-1].keys)).revoked_unix_s)
            assert not bob.leader.leads
    assert house.lease.holder == ""


async def test_the_status_tells_what_is_down():
    house = House()
    plane = house.plane("alice")
    assert (await plane.status()).ready
    house.resource_store.down = True
    status = await plane.status()
    assert not status.ready
    assert (status.database, status.resource_revision) == ("the database cannot be reached", -1)
    assert msgspec.json.encode(status)


async def test_an_error_inside_the_plane_comes_out_as_it_is():
    caught = None
    try:
        async with House().plane("alice"):
            raise ZeroDivisionError
    except ZeroDivisionError as error:
        caught = error
    assert caught is not None
