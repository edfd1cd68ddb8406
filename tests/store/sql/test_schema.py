import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from podium.core.errors import OperatorError, Unavailable
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.schema import SchemaState, upgrade
from podium.store.sql.tables import metadata
from podium.testing.events import make_event


@pytest.fixture
def bare(open_at, bare_url):
    return open_at(bare_url)


async def run(database, *statements):
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_an_empty_database_becomes_current_and_stays_so(bare):
    assert await bare.check() is SchemaState.EMPTY
    assert await bare.migrate() is True
    assert await bare.check() is SchemaState.CURRENT
    await SqlLedger(bare).load("a/1", 1, (make_event(),))
    assert await bare.migrate() is False
    assert await SqlLedger(bare).position("a/1") == 1


async def test_migrations_build_what_the_tables_say(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_processes_that_start_together_migrate_once(open_at, bare_url):
    outcomes = await asyncio.gather(*(open_at(bare_url).migrate() for _ in range(4)))
    assert sorted(outcomes) == [False, False, False, True]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "schema `9999`, which this Podium does not know"),
        ("INSERT INTO alembic_version VALUES ('9999')", "more than one schema version"),
        ("DELETE FROM alembic_version", "no schema version"),
        ("DROP TABLE alembic_version", "no schema version"),
        ("DROP TABLE leases", "no table `leases`"),
        ("ALTER TABLE exchanges DROP COLUMN price", "no column `exchanges.price`"),
    ],
)
async def test_a_schema_that_is_newer_or_not_whole_is_refused_and_left_alone(bare, damage, complaint):
    await bare.migrate()
    await SqlLedger(bare).load("a/1", 1, (make_event(),))
    await run(bare, damage)
    for attempt in (bare.check, bare.migrate):
        with pytest.raises(OperatorError, match=complaint) as raised:
            await attempt()
        assert raised.value.hint
    async with bare.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM exchanges")) == 1


async def test_a_migration_that_fails_leaves_nothing_behind(bare, monkeypatch):
    def half(connection):
        connection.execute(text("CREATE TABLE leases (name TEXT)"))
        raise OSError("the machine went away")

    with monkeypatch.context() as patch:
        patch.setattr("podium.store.sql.database.upgrade", half)
        with pytest.raises(Unavailable):
            await bare.migrate()
    assert await bare.check() is SchemaState.EMPTY
    assert await bare.migrate() is True


async def test_a_step_that_the_database_refuses_is_told_and_taken_back(bare):
    await run(bare, "CREATE TABLE usage_hours (theirs INTEGER)")
    with pytest.raises(
        OperatorError, match=r"cannot be brought to this version's: .*usage_hours.* already exists"
    ) as raised:
        async with bare.write() as connection:
            await connection.run_sync(upgrade)
    assert "nothing was changed" in raised.value.hint
    await run(bare, "DROP TABLE usage_hours")
    assert await bare.check() is SchemaState.EMPTY


async def test_tables_of_somebody_else_are_not_touched(bare):
    await run(bare, "CREATE TABLE theirs (id INTEGER)")
    assert await bare.check() is SchemaState.EMPTY
    await bare.migrate()
    async with bare.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM theirs")) == 0
