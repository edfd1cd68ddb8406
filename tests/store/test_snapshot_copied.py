import pytest

from podium.core.errors import Unavailable
from podium.core.snapshot import Snapshot
from podium.store.snapshot_copied import CopiedSnapshots
from podium.store.snapshot_store import SnapshotStore
from podium.store.sql.snapshots import SqlSnapshots

KEY = b"k" * 32


def snapshot(revision):
    return Snapshot(revision=revision, published_unix_s=0.0)


@pytest.fixture
def copy(tmp_path):
    return SnapshotStore(tmp_path / "snapshot.bin", KEY)


@pytest.fixture
def truth(database):
    return SqlSnapshots(database, KEY)


async def test_what_the_database_has_is_kept_as_a_copy(truth, copy):
    await CopiedSnapshots(truth, copy).publish(snapshot(7))
    assert (await copy.read()).revision == 7
    gateway = CopiedSnapshots(truth, copy)
    assert await gateway.stamp() == 7
    assert (await gateway.read()).revision == 7


async def test_a_version_before_that_publishes_to_the_data_folder_alone_is_followed_until_the_database_tells(
    truth, copy
):
    gateway = CopiedSnapshots(truth, copy)
    assert await gateway.stamp() is None
    await copy.publish(snapshot(5))
    first = await gateway.stamp()
    assert (await gateway.read()).revision == 5
    await copy.publish(snapshot(6))
    assert await gateway.stamp() != first
    assert (await gateway.read()).revision == 6

    control = CopiedSnapshots(truth, copy)
    assert await control.last_revision() == 6  # so that the next one is new to all gateways
    await control.publish(snapshot(7))
    assert await gateway.stamp() == 7
    assert (await gateway.read()).revision == 7
    await copy.publish(snapshot(8))  # nobody looks there any more
    assert (await gateway.read()).revision == 7


async def test_the_copy_serves_while_the_database_was_never_seen(open_at, copy, unused_tcp_port):
    gone = SqlSnapshots(open_at(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/x"), KEY)
    gateway = CopiedSnapshots(gone, copy)
    with pytest.raises(Unavailable):
        await gateway.stamp()
    await copy.publish(snapshot(5))
    assert await gateway.stamp() is not None
    assert (await gateway.read()).revision == 5


async def test_the_last_revision_is_of_whoever_published_last(copy, tmp_path):
    other = SnapshotStore(tmp_path / "snapshot.bin", KEY)
    assert await copy.last_revision() == 0
    await copy.publish(snapshot(3))
    assert [await one.last_revision() for one in (copy, other)] == [3, 3]
    await other.publish(snapshot(4))
    assert [await one.last_revision() for one in (copy, other)] == [4, 4]
    (tmp_path / "snapshot.bin").write_bytes(b"damaged")
    assert [await one.last_revision() for one in (copy, other)] == [0, 0]
