"""The database of the control plane."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from podium.store.settings import DatabaseSettings
from podium.store.sql.engine import create_private_file, database_url, make_engine
from podium.store.sql.failures import translated
from podium.store.sql.listen import SqlListener
from podium.store.sql.schema import SchemaState, schema_state, upgrade

__all__ = ["LOAD_LOCK", "Database", "open_database"]

# Any number that nothing else in the same PostgreSQL database uses for its advisory locks: "podium" in ASCII.
_MIGRATION_LOCK = 0x706F6469756D
LOAD_LOCK = _MIGRATION_LOCK + 1


def open_database(settings: DatabaseSettings, default_file: Path) -> "Database":
    """The database that the settings name, or the SQLite file `default_file`. Connects at first use.

    OperatorError: the URL is wrong, or the file cannot be written.
    """
    url = database_url(settings, default_file)
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        create_private_file(Path(url.database))
    return Database(url, settings)


class Database:
    """Transactions with a bound on every wait. Belongs to one event loop; `close` it there."""

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        self._url = url
        self._settings = settings
        self._engine = make_engine(url, settings, wait_s=settings.lock_timeout_s, run_s=settings.statement_timeout_s)
        self._writer = self._engine.execution_options(podium_writes=True)
        self._reader = (
            self._engine
            if self.is_sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        )
        # SQLite has one writer at a time, and lets others poll for their turn: ours queue here instead.
        self._turn = asyncio.Lock() if self.is_sqlite else None
        self._timeout_s = settings.connect_timeout_s + settings.lock_timeout_s + settings.statement_timeout_s

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    @property
    def name(self) -> str:
        """The URL, without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """SQLite; otherwise PostgreSQL."""
        return self._url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of the database and changes nothing."""
        with translated():
            async with asyncio.timeout(self._timeout_s), self._transaction(self._reader) as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end, or rolled back by an exception."""
        with translated():
            async with asyncio.timeout(self._timeout_s):
                if self._turn is None:
                    async with self._transaction(self._writer) as connection:
                        yield connection
                else:
                    async with self._turn, self._transaction(self._writer) as connection:
                        yield connection

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """On PostgreSQL a connection that answers is had soon or not at all: a server that stalls is noticed here.

        What waits after that is a statement, which may take much longer.
        """
        async with AsyncExitStack() as stack:
            connection = engine.connect()
            if self.is_sqlite:
                await stack.enter_async_context(connection)
            else:
                limit_s = self._settings.connect_timeout_s
                try:
                    async with asyncio.timeout(limit_s):
                        await stack.enter_async_context(connection)
                except TimeoutError:
                    raise TimeoutError(f"no connection that answers within {limit_s:g} s") from None
            async with connection.begin():
                yield connection

    async def ping(self) -> None:
        """Nothing, when the database answers; `Unavailable` otherwise."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def check(self) -> SchemaState:
        """How the schema compares; changes nothing. OperatorError: newer than this Podium, or not whole."""
        async with self.read() as connection:
            return await connection.run_sync(schema_state)

    async def migrate(self) -> bool:
        """Bring the schema to this version's, in one transaction; True when there was something to do.

        Processes that start together do it one after the other. OperatorError: as `check`; nothing is
        ever reset.
        """
        limit_s = self._settings.migration_timeout_s
        engine = make_engine(self._url, self._settings, wait_s=limit_s, run_s=limit_s, pooled=False)
        try:
            with translated():
                async with asyncio.timeout(limit_s), engine.execution_options(podium_writes=True).begin() as connection:
                    if not self.is_sqlite:  # there, BEGIN IMMEDIATE is the lock
                        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                    if await connection.run_sync(schema_state) is SchemaState.CURRENT:
                        return False
                    await connection.run_sync(upgrade)
                    await connection.run_sync(schema_state)
                    return True
        finally:
            await engine.dispose()

    def listener(self, channel: str, heard: Callable[[str], None]) -> SqlListener:
        """Hears what is told on a channel of PostgreSQL, on a connection of its own, while it is open."""
        assert not self.is_sqlite, "SQLite tells nothing"
        return SqlListener(self._url, self._settings, channel, heard)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
