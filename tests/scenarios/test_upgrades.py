"""A new version brings the database's schema up while the one before it serves and writes."""

import asyncio
import json
import os
import time
from contextlib import ExitStack, asynccontextmanager

import pytest
from sqlalchemy import MetaData, insert
from sqlalchemy.ext.asyncio import create_async_engine

from podium.store.settings import DatabaseSettings
from podium.store.sql import schema
from podium.store.sql.engine import database_url
from podium.testing.events import make_event
from podium.testing.load import Load
from podium.testing.postgres_server import PostgresServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

BEFORE = "0002"
ROWS = 5_000  # of the ledger before the upgrade
# What version 0003 does second: its first step has to be taken back.
OBSTACLE = "ALTER TABLE usage_hours ADD COLUMN cache_write_tokens BIGINT"


class VersionBefore:
    """The database as the version before left it, and that version's loader, which goes on writing."""

    def __init__(self, url):
        self._engine = create_async_engine(database_url(DatabaseSettings(url=url), None))
        self._tables = MetaData()
        self.loaded = 0
        self._stopping = False

    async def make(self, kept):
        """Build its schema, with these rows by table; those of later versions' columns and tables are left out."""
        from alembic import command

        def build(connection):
            config = schema._config()
            config.attributes["connection"] = connection
            command.upgrade(config, BEFORE)
            self._tables.reflect(connection)

        async with self._engine.begin() as connection:
            await connection.run_sync(build)
            for table in self._tables.sorted_tables:
                rows = [
                    {name: row[name] for name in row.keys() & table.columns.keys()} for row in kept.get(table.name, ())
                ]
                if rows and table.name != "alembic_version":
                    await connection.execute(insert(table), rows)
        await self._load(ROWS)

    async def rows(self):
        """Everything that the database holds now, by table."""
        tables = MetaData()
        async with self._engine.connect() as connection:
            await connection.run_sync(tables.reflect)
            return {
                table.name: [dict(row) for row in (await connection.execute(table.select())).mappings()]
                for table in tables.sorted_tables
            }

    @asynccontextmanager
    async def loading(self):
        """Load while the block runs; what goes wrong ends it."""

        async def load():
            while not self._stopping:
                await self._load(20)
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            yield
            self._stopping = True

    async def _load(self, count):
        table = self._tables.tables["exchanges"]
        names = {column.name for column in table.columns} - {"trail"}
        rows = []
        for number in range(self.loaded, self.loaded + count):
            event = make_event(id=os.urandom(16), request_id=f"before-{number}", key_id="before")
            rows.append({name: getattr(event, name) for name in names} | {"trail": ""})
        async with self._engine.begin() as connection:
            await connection.execute(insert(table), rows)
        self.loaded += count

    async def close(self):
        await self._engine.dispose()


@pytest.fixture
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def site(postgres, tmp_path):
    return Site(tmp_path, database_url=postgres.url)


@pytest.fixture
async def version_before(postgres):
    version = VersionBefore(postgres.url)
    yield version
    await version.close()


async def test_the_schema_is_brought_up_while_the_version_before_serves_and_loads(
    site, postgres, version_before, tmp_path
):
    with ExitStack() as stack:
        upstream = stack.enter_context(SimulatorProcess(tmp_path / "upstream.log"))
        await asyncio.to_thread(upstream.wait_up)
        key_id, key = await asyncio.to_thread(set_up, site, upstream)
        kept = await version_before.rows()
        await version_before.close()
        await asyncio.to_thread(postgres.fail_over, None)
        await version_before.make(kept)

        gateway = site.running_gateway()
        stack.push(gateway.__exit__)
        await asyncio.to_thread(gateway.__enter__)
        async with Load(site.gateways[0].port, key, model="m") as load, version_before.loading():
            await some_more(load, version_before)

            postgres.execute(OBSTACLE)
            with site.start_control() as refuses:
                assert await asyncio.to_thread(refuses.wait, 30) != 0
            assert "Traceback" not in refuses.output()
            assert "schema" in refuses.output()
            assert await asyncio.to_thread(state, postgres) == (BEFORE, False)
            await some_more(load, version_before)
            postgres.execute("ALTER TABLE usage_hours DROP COLUMN cache_write_tokens")

            control = site.running_control(until_published=False)
            stack.push(control.__exit__)
            await asyncio.to_thread(control.__enter__)
            version, whole = await asyncio.to_thread(state, postgres)
            assert version > BEFORE
            assert whole
            await some_more(load, version_before)
        assert load.refused == 0
        assert {(one.whole, one.status) for one in load.seen} == {(True, 200)}
        assert await asyncio.to_thread(counted, postgres, "before") == [(version_before.loaded, version_before.loaded)]
        seen = len(load.seen)
        await eventually(lambda: counted(postgres, key_id) == [(seen, seen)], timeout_s=20, interval_s=0.2)
        # And what it was told before holds: keys can be revoked, usage can be read.
        assert (await asyncio.to_thread(site.admin, "POST", f"/admin/v1/keys/{key_id}/revoke"))[0] == 200
        await eventually(lambda: site.status_of("m", key) == 401, timeout_s=2, interval_s=0.05)


def set_up(site, upstream):
    with site.running_control():
        site.declare_model(upstream.url)
        made = site.new_key("alice")
        while json.loads(site.admin("GET", "/admin/v1/snapshot")[1])["keys"] < 2:  # the admin's and this one
            time.sleep(0.02)
        return made


async def some_more(load, version):
    served, loaded = len(load.served), version.loaded
    await eventually(lambda: len(load.served) > served + 20 and version.loaded > loaded + 40, timeout_s=20)


def state(postgres):
    """The schema's version, and whether version 0003's index is there."""
    ((version,),) = postgres.execute("SELECT version_num FROM alembic_version")
    return version, bool(postgres.execute("SELECT 1 FROM pg_indexes WHERE indexname = 'ix_exchanges_request_id_id'"))


def counted(postgres, key_id):
    """Exchanges in the ledger and different request ids."""
    statement = "SELECT count(*), count(DISTINCT request_id) FROM exchanges WHERE key_id = $1"
    return postgres.execute(statement + " AND endpoint = 'chat.completions'", key_id)
