import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.tables import metadata
from podium.testing.postgres_server import PostgresServer

IMPATIENT = {"connect_timeout_s": 5.0, "lock_timeout_s": 5.0, "statement_timeout_s": 20.0}


@pytest.fixture(scope="session")
def postgres_url():
    """A PostgreSQL of our own on a unix socket, for all tests of this folder; stopped at the end."""
    with PostgresServer() as server:
        yield server.socket_url()


@pytest.fixture
async def open_at():
    """Opens databases and closes them after the test."""
    opened = []

    def open_it(url, **changes):
        database = open_database(DatabaseSettings(url=url, **(IMPATIENT | changes)), Path("/nonexistent"))
        opened.append(database)
        return database

    yield open_it
    for database in opened:
        await database.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    return tmp_path_factory.mktemp("migrated") / "podium.db"


async def _sqlite(open_at, tmp_path, template):
    path = tmp_path / "podium.db"
    if not template.exists():
        database = open_at(f"sqlite:///{template}")
        await database.migrate()
        await database.close()
    shutil.copy(template, path)
    return f"sqlite:///{path}"


async def _postgres(open_at, url):
    database = open_at(url)
    await database.migrate()
    async with database.write() as connection:
        await connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request, open_at, tmp_path, migrated_sqlite):
    """An empty database with the current schema."""
    if request.param == "sqlite":
        return await _sqlite(open_at, tmp_path, migrated_sqlite)
    return await _postgres(open_at, request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(open_at, database_url):
    return open_at(database_url)


@pytest.fixture
def other_database(open_at, database_url):
    """The same data, as another process would open it."""
    return open_at(database_url)


@pytest.fixture(params=["sqlite", "postgresql"])
async def bare_url(request, open_at, tmp_path):
    """A database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.db'}"
        return
    import asyncpg

    url = request.getfixturevalue("postgres_url")
    connection = await asyncpg.connect(url)
    await connection.execute("DROP DATABASE IF EXISTS bare WITH (FORCE)")
    await connection.execute("CREATE DATABASE bare")
    await connection.close()
    yield url.replace("/postgres?", "/bare?")
