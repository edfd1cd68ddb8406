"""The published snapshot in the database, its copy on disk, and how listeners hear of it."""

import asyncio

import pytest

from podium.core.errors import Conflict, OperatorError, Unavailable
from podium.core.resources import Tenant
from podium.core.snapshot import Snapshot
from podium.store.settings import DatabaseSettings
from podium.store.snapshot_copied import CopiedSnapshots
from podium.store.snapshot_store import SnapshotStore
from podium.store.sql.engine import database_url as checked_url
from podium.store.sql.listen import SqlListener, driver_url
from podium.store.sql.snapshots import SNAPSHOT_CHANNEL, SqlSnapshots
from podium.testing.waiting import eventually

KEY = b"k" * 32


def snapshot(revision):
    return Snapshot(revision=revision, published_unix_s=1.0, tenants={f"t{revision}": Tenant()})


async def test_what_one_publishes_another_reads(database, other_database):
    ours, theirs = SqlSnapshots(database, KEY), SqlSnapshots(other_database, KEY)
    assert await theirs.stamp() is None
    assert await theirs.last_revision() == 0
    for revision in (1, 5):
        await ours.publish(snapshot(revision))
        assert await theirs.stamp() == revision
        assert (await theirs.fetch())[0] == snapshot(revision)


async def test_an_old_leader_does_not_replace_what_the_new_one_published(database, other_database):
    await SqlSnapshots(database, KEY).publish(snapshot(5))
    for revision in (4, 5):
        with pytest.raises(Conflict, match=f"revision {revision}"):
            await SqlSnapshots(other_database, KEY).publish(snapshot(revision))
    assert (await SqlSnapshots(database, KEY).fetch())[0] == snapshot(5)


async def test_of_many_that_publish_at_once_the_newest_stays(database, other_database):
    stores = SqlSnapshots(database, KEY), SqlSnapshots(other_database, KEY)
    published = await asyncio.gather(
        *(stores[number % 2].publish(snapshot(number)) for number in (3, 9, 1, 7, 5)), return_exceptions=True
    )
    assert all(isinstance(one, bytes | Conflict) for one in published)
    assert await stores[0].last_revision() == 9


async def test_another_secret_is_told_apart(database, other_database):
    await SqlSnapshots(database, KEY).publish(snapshot(1))
    with pytest.raises(OperatorError, match="the snapshot in the database is damaged, or was sealed with another"):
        await SqlSnapshots(other_database, b"other" * 7).fetch()


async def test_before_control_made_the_tables_nothing_is_published(open_at, tmp_path, request):
    import asyncpg

    url = request.getfixturevalue("postgres_url")
    connection = await asyncpg.connect(url)
    await connection.execute("DROP DATABASE IF EXISTS unmade WITH (FORCE)")
    await connection.execute("CREATE DATABASE unmade")
    await connection.close()
    assert await SqlSnapshots(open_at(url.replace("/postgres?", "/unmade?")), KEY).stamp() is None


class Flaky:
    """A database that can be away."""

    def __init__(self, inner):
        self._inner = inner
        self.away = False

    def __getattr__(self, name):
        async def ask(*arguments):
            if self.away:
                raise Unavailable("The database cannot be reached.")
            return await getattr(self._inner, name)(*arguments)

        return ask


async def test_the_copy_is_read_only_until_the_database_was_seen(database, tmp_path):
    truth, file = Flaky(SqlSnapshots(database, KEY)), SnapshotStore(tmp_path / "snapshot.bin", KEY)
    first = CopiedSnapshots(truth, file)
    await first.publish(snapshot(1))
    assert await file.read() == snapshot(1)

    truth.away = True
    with pytest.raises(Unavailable):
        await CopiedSnapshots(truth, SnapshotStore(tmp_path / "none.bin", KEY)).stamp()
    started = CopiedSnapshots(truth, file)
    from_copy = await started.stamp()
    assert await started.read() == snapshot(1)

    truth.away = False
    await first.publish(snapshot(2))
    assert await started.stamp() not in {None, from_copy}
    assert await started.read() == snapshot(2)

    truth.away = True  # what is in memory is as new as the copy, or newer
    with pytest.raises(Unavailable):
        await started.stamp()


async def test_a_copy_that_cannot_be_written_hinders_nobody(database, tmp_path):
    copied = CopiedSnapshots(SqlSnapshots(database, KEY), SnapshotStore(tmp_path / "no" / "folder", KEY))
    await copied.publish(snapshot(1))
    assert await copied.stamp() == 1
    assert await copied.read() == snapshot(1)


@pytest.fixture
async def listening(postgres_url, open_at):
    """What a listener on PostgreSQL heard, the listener, and a database to publish to."""
    database = open_at(postgres_url)
    await database.migrate()
    async with database.write() as connection:
        await connection.exec_driver_sql("TRUNCATE snapshots")
    heard = []
    async with database.listener(SNAPSHOT_CHANNEL, heard.append) as listener:
        await eventually(lambda: listener.listening)
        yield heard, listener, database


async def test_who_listens_hears_of_each_publication_once_it_can_be_read(listening):
    heard, _, database = listening
    store = SqlSnapshots(database, KEY)
    assert heard == [""]  # what was told before it listened may have been missed
    await store.publish(snapshot(1))
    with pytest.raises(Conflict):
        await store.publish(snapshot(1))
    await store.publish(snapshot(2))
    await eventually(lambda: heard == ["", "1", "2"])


async def test_a_listener_whose_connection_is_ended_listens_again(listening, postgres_url):
    import asyncpg

    heard, listener, database = listening
    connection = await asyncpg.connect(postgres_url)
    ended = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'podium notices'"
    )
    await connection.close()
    assert len(ended) == 1
    await eventually(lambda: heard == ["", ""], timeout_s=5)  # looks once more, for what it may have missed
    assert listener.listening
    await SqlSnapshots(database, KEY).publish(snapshot(1))
    await eventually(lambda: heard[2:] == ["1"])


async def test_a_database_that_is_away_is_tried_again_in_the_background():
    url = checked_url(DatabaseSettings(url="postgresql://nobody:hidden@127.0.0.1:9/none"), None)
    async with SqlListener(url, DatabaseSettings(connect_timeout_s=0.2), "any", lambda _: None) as listener:
        await asyncio.sleep(0)
        assert not listener.listening


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u:p%40w@h:5433/d", "postgresql://u:p%40w@h:5433/d"),
        ("postgres://h/d?sslmode=require", "postgresql://h/d?sslmode=require"),
        ("postgresql://u@/d?host=/run/pg", "postgresql://u@/d?host=%2Frun%2Fpg"),
    ],
)
def test_the_driver_gets_the_url_in_its_own_words(given, driver):
    assert driver_url(checked_url(DatabaseSettings(url=given), None)) == driver
