"""What of the keys is read for a publication, and that it is always as if all of them had been read."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.control.ports import ApiKeyRecord
from podium.control.published_keys import PublishedKeys
from podium.control.snapshots import Snapshots
from podium.core.errors import Unavailable
from podium.core.key_table import KeyEntry, KeySecret, KeyTable
from podium.testing.clock import TestClock
from podium.testing.memory_store import MemoryKeyStore, MemoryPublisher, MemoryResourceStore

DAY_S = 86_400
OWN = KeyEntry(id="own", tenant="acme", name="podium", secrets=(), admin=True)


class CountedStore(MemoryKeyStore):
    """Counts how often everything is read."""

    whole = 0

    def batches(self):
        self.whole += 1
        return super().batches()


@pytest.fixture
def store():
    return CountedStore()


def key(key_id, **more):
    return KeyEntry(id=key_id, tenant="acme", name="n", secrets=(KeySecret(digest=b"d" * 32),), **more)


async def insert(store, *key_ids):
    for key_id in key_ids:
        await store.insert(ApiKeyRecord(entry=key(key_id), created_unix_s=1.0, created_by="test"))


async def change(store, key_id, **more):
    entry = (await store.find(key_id)).entry
    await store.replace(msgspec.structs.replace(entry, **more), expected=entry)


async def now_at(published, store, own=()):
    return await published.at(await store.change_number(), own)


async def test_after_the_first_time_only_what_changed_is_read(store, clock):
    published = PublishedKeys(store, clock)
    await insert(store, "a", "b")
    assert await now_at(published, store) == KeyTable.of((key("a"), key("b")))
    await insert(store, "c")
    await change(store, "a", revoked_unix_s=clock.unix_ns() / 1e9)
    table = await now_at(published, store)
    assert {entry.id: entry.revoked_unix_s is None for entry in table} == {"a": False, "b": True, "c": True}
    assert await now_at(published, store) is table
    assert store.whole == 1


async def test_all_are_read_when_not_every_change_is_known(store, clock):
    published = PublishedKeys(store, clock)
    await insert(store, "a")
    await now_at(published, store)
    await change(store, "a", name="1")
    await change(store, "a", name="2")
    assert (await now_at(published, store)).find("a").name == "2"
    assert store.whole == 2


async def test_a_number_that_went_back_is_another_store(store, clock):
    published = PublishedKeys(store, clock)
    await insert(store, "a", "b")
    await now_at(published, store)
    published._store = behind = CountedStore()
    await insert(behind, "c")
    assert [entry.id for entry in await now_at(published, behind)] == ["c"]


async def test_own_keys_come_and_go_without_reading_the_others(store, clock):
    published = PublishedKeys(store, clock)
    await insert(store, "a")
    assert await now_at(published, store, (OWN,)) == KeyTable.of((key("a"), OWN))
    await insert(store, "b")
    assert await now_at(published, store, (OWN,)) == KeyTable.of((key("a"), key("b"), OWN))
    other = msgspec.structs.replace(OWN, id="other")
    assert await now_at(published, store, (other,)) == KeyTable.of((key("a"), key("b"), other))
    assert await now_at(published, store) == KeyTable.of((key("a"), key("b")))
    assert store.whole == 1


async def test_what_ended_is_left_out_once_a_day(store, clock):
    published = PublishedKeys(store, clock)
    await insert(store, "a", "b")
    await change(store, "a", revoked_unix_s=clock.unix_ns() / 1e9)
    assert len(await now_at(published, store)) == 2
    clock.advance(DAY_S + 5)
    assert len(await now_at(published, store)) == 1


async def test_after_an_outage_nothing_is_taken_for_known(store, clock):
    """A replica that lagged may have taken over: its numbers count other changes."""
    resources, publisher = MemoryResourceStore(clock), MemoryPublisher()
    snapshots = Snapshots(resources, store, publisher, clock)
    await insert(store, "a")
    await snapshots.publish_if_moved()
    assert store.whole == 1
    store.down = True
    with pytest.raises(Unavailable):
        await snapshots.publish_if_moved()
    store.down = False
    await insert(store, "b")
    await snapshots.publish_if_moved()
    assert store.whole == 2


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["change", "revoke", "look", "wait"])), max_size=30)
)
async def test_it_is_always_as_if_all_had_been_read(steps):
    store, clock = CountedStore(), TestClock()
    published = PublishedKeys(store, clock)
    for number, (key_id, step) in enumerate(steps):
        if step == "look":
            number_now = await store.change_number()
            kept, anew = await published.at(number_now), await PublishedKeys(store, clock).at(number_now)
            assert {one.id: one for one in kept}.items() >= {one.id: one for one in anew}.items()
            assert all(one.revoked_unix_s is not None for one in kept if anew.find(one.id) is None)
        elif step == "wait":
            clock.advance(DAY_S / 3)
        elif await store.find(key_id) is None:
            await insert(store, key_id)
        elif step == "change":
            await change(store, key_id, name=str(number))
        else:
            await change(store, key_id, revoked_unix_s=clock.unix_ns() / 1e9 + number)
