import asyncio

import msgspec
import pytest

from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.published_keys import PublishedKeys
from podium.control.snapshots import Snapshots
from podium.core.clock import SystemClock
from podium.core.snapshot import decode_snapshot, encode_snapshot
from podium.testing.memory_store import MemoryPublisher
from podium.testing.waiting import eventually

HOUSE = """
{kind: Tenant, name: acme}
--- {kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}], parameters: {top_k: 9223372036854775807}}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: LimitPolicy, name: lp, spec: {where: {tenant: [acme]}, limits: [{what: concurrency, amount: 3}]}}
--- {kind: Budget, name: b, spec: {unit: usd, amount: '12.50', period: month, where: {tenant: [acme]}}}
--- {kind: Price, name: free, spec: {model: m, input_usd_per_million: '0', output_usd_per_million: '0'}}
"""


@pytest.fixture
def publisher():
    return MemoryPublisher()


@pytest.fixture
def snapshots(resource_store, key_store, publisher, clock):
    return Snapshots(resource_store, key_store, publisher, clock)


async def declare(resources, text=HOUSE):
    return await resources.apply(parse_documents(text), author="test")


async def test_everything_declared_is_in_the_snapshot(resources, keys, key_store, snapshots, publisher):
    await declare(resources)
    issued = await keys.create(NewKey(tenant="acme", name="app"), created_by="test")
    assert await snapshots.publish_if_moved()
    (snapshot,) = publisher.published
    assert snapshot == decode_snapshot(encode_snapshot(snapshot))
    names = [
        list(part)
        for part in (
            snapshot.tenants,
            snapshot.providers,
            snapshot.versions,
            snapshot.models,
            snapshot.limit_policies,
            snapshot.budgets,
            snapshot.prices,
        )
    ]
    assert names == [["acme"], ["p"], ["v1"], ["chat"], ["lp"], ["b"], ["free"]]
    assert tuple(snapshot.keys) == (issued.record.entry,)


async def test_nothing_is_published_twice(resources, snapshots, publisher):
    await declare(resources)
    assert await snapshots.publish_if_moved()
    assert not await snapshots.publish_if_moved()
    assert len(publisher.published) == 1


async def test_each_change_of_resources_and_keys_is_published(resources, keys, snapshots, publisher):
    await declare(resources)
    await snapshots.publish_if_moved()
    issued = await keys.create(NewKey(tenant="acme", name="app"), created_by="test")
    assert await snapshots.publish_if_moved()
    await keys.revoke(issued.record.entry.id, author="test")
    assert await snapshots.publish_if_moved()
    await resources.delete("Model", "chat", author="test")
    assert await snapshots.publish_if_moved()
    numbers = [snapshot.revision for snapshot in publisher.published]
    assert numbers == sorted(set(numbers))


async def test_the_number_grows_over_restarts_and_without_the_old_file(
    resources, resource_store, key_store, publisher, clock
):
    async def restarted(publisher):
        await Snapshots(resource_store, key_store, publisher, clock).publish_if_moved()
        return publisher.published[-1].revision

    for n in range(4):
        await declare(resources, f"{{kind: Tenant, name: t{n}}}")
    first = await restarted(publisher)
    second = await restarted(publisher)
    assert second > first >= 4
    await declare(resources)
    assert await restarted(MemoryPublisher()) > first


async def test_keys_that_ended_more_than_a_day_ago_are_left_out(keys, key_store, resources, clock):
    await declare(resources)
    revoked = await keys.create(NewKey(tenant="acme", name="revoked"), created_by="test")
    expiring = NewKey(tenant="acme", name="expiring", expires_unix_s=clock.unix_ns() / 1e9 + 10)
    expired = await keys.create(expiring, created_by="test")
    living = await keys.create(NewKey(tenant="acme", name="living"), created_by="test")
    await keys.revoke(revoked.record.entry.id, author="test")

    async def ids():
        return {entry.id for entry in await PublishedKeys(key_store, clock).at(await key_store.change_number())}

    assert await ids() == {issued.record.entry.id for issued in (revoked, expired, living)}
    clock.advance(86_400 + 5)
    assert await ids() == {issued.record.entry.id for issued in (expired, living)}
    clock.advance(10)
    assert await ids() == {living.record.entry.id}


async def test_secrets_whose_grace_is_over_are_left_out(keys, key_store, resources, clock):
    await declare(resources)
    issued = await keys.create(NewKey(tenant="acme", name="app"), created_by="test")
    await keys.rotate(issued.record.entry.id, grace_s=10, author="test")
    clock.advance(11)
    (entry,) = await PublishedKeys(key_store, clock).at(await key_store.change_number())
    assert [secret.expires_unix_s for secret in entry.secrets] == [None]


async def test_the_loop_publishes_own_changes_at_once_and_survives_a_lost_database(
    resources, resource_store, key_store, publisher
):
    snapshots = Snapshots(resource_store, key_store, publisher, SystemClock(), poll_s=0.02)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(snapshots.run(stop))
        await declare(resources)
        snapshots.changed()
        await eventually(lambda: publisher.published and "chat" in publisher.published[-1].models)
        key_store.down = True
        await eventually(lambda: snapshots.status.error)
        await resources.delete("Model", "chat", author="test")
        key_store.down = False
        await eventually(lambda: "chat" not in publisher.published[-1].models)
        await eventually(lambda: not snapshots.status.error)
        assert snapshots.status.resource_revision == 2
        stop.set()


async def test_an_own_change_does_not_wait_for_the_poll(resources, resource_store, key_store, publisher):
    snapshots = Snapshots(resource_store, key_store, publisher, SystemClock(), poll_s=60)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(snapshots.run(stop))
        await eventually(lambda: publisher.published)
        await declare(resources)
        snapshots.changed()
        await eventually(lambda: publisher.published[-1].models)
        stop.set()
        snapshots.changed()


async def test_a_failed_publication_is_tried_again(resources, snapshots, publisher, monkeypatch):
    await declare(resources)

    async def full(snapshot):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publisher, "publish", full)
        with pytest.raises(OSError):
            await snapshots.publish_if_moved()
    assert await snapshots.publish_if_moved()
    assert msgspec.json.encode(snapshots.status)
