"""Database URLs and engines: SQLite through aiosqlite, PostgreSQL through asyncpg."""

import asyncio
import os
import sqlite3
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from podium.core.errors import OperatorError
from podium.store.settings import DatabaseSettings

__all__ = ["create_private_file", "database_url", "make_engine"]

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_POSTGRES_OPTIONS = {"host", "port", "ssl", "sslmode"}
_WAL_RETRY_S = 0.02
_WAL_LIMIT_BYTES = 64 << 20


def database_url(settings: DatabaseSettings, default_file: Path) -> URL:
    """The checked URL with its driver. OperatorError: not one that Podium knows how to use."""
    if settings.url is None:
        return URL.create("sqlite+aiosqlite", database=str(default_file))
    try:
        url = make_url(settings.url)
    except (ArgumentError, ValueError):
        raise _wrong("is not a URL") from None  # the cause could quote the password
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        raise _wrong(f"has the unknown scheme `{url.drivername}`")
    url = url.set(drivername=driver)
    if driver == _DRIVERS["sqlite"]:
        if not url.database or url.database == ":memory:":
            raise _wrong("names no file")
        if url.query:
            raise _wrong("has options, which SQLite URLs here do not take")
        return url
    if unknown := set(url.query) - _POSTGRES_OPTIONS:
        raise _wrong(f"has the unknown option `{min(unknown)}`")
    if "sslmode" in url.query:  # libpq's name of what asyncpg calls `ssl`
        mode = url.query["sslmode"]
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url


def _wrong(what: str) -> OperatorError:
    return OperatorError(
        f"database.url {what}",
        hint="use sqlite:///path/to/file or postgresql://user:password@host:5432/database?sslmode=require",
    )


def make_engine(
    url: URL, settings: DatabaseSettings, *, wait_s: float, run_s: float, pooled: bool = True
) -> AsyncEngine:
    """An engine whose statements wait at most `wait_s` for locks and, on PostgreSQL, run at most `run_s`."""
    if url.drivername == _DRIVERS["sqlite"]:
        return _sqlite_engine(url, settings, wait_s, pooled=pooled)
    return _postgres_engine(url, settings, wait_s, run_s, pooled=pooled)


def _pool(settings: DatabaseSettings, *, pooled: bool) -> dict[str, Any]:
    if not pooled:
        return {"poolclass": NullPool}
    return {"pool_size": settings.pool_size, "max_overflow": 0, "pool_timeout": settings.connect_timeout_s}


def _sqlite_engine(url: URL, settings: DatabaseSettings, wait_s: float, *, pooled: bool) -> AsyncEngine:
    # isolation_level None: sqlite3 opens no transactions of its own; `_begin` decides which kind it is.
    engine = create_async_engine(
        url,
        connect_args={"isolation_level": None, "timeout": wait_s},
        hide_parameters=True,
        **_pool(settings, pooled=pooled),
    )

    def _connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(wait_s * 1000)}")
        _use_wal(cursor, wait_s)
        for pragma in (
            # FULL: a journal segment is deleted after the commit that loaded it; the commit must be on the disk.
            "synchronous=FULL",
            "foreign_keys=ON",
            f"journal_size_limit={_WAL_LIMIT_BYTES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could not wait for another writer: it would fail.
        writes = connection.get_execution_options().get("podium_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", _connect)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _use_wal(cursor: Any, wait_s: float) -> None:
    """Switch to the write-ahead log, for good.

    Of processes that do it together all but one may be told at once that the database is locked, whatever the
    busy timeout says: they try again.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            await_only(asyncio.sleep(_WAL_RETRY_S))
        else:
            return


def _postgres_engine(url: URL, settings: DatabaseSettings, wait_s: float, run_s: float, *, pooled: bool) -> AsyncEngine:
    if find_spec("asyncpg") is None:
        raise OperatorError(
            "database.url is for PostgreSQL, whose driver is not installed", hint="pip install 'podium[postgres]'"
        )
    return create_async_engine(
        url,
        connect_args={
            "timeout": settings.connect_timeout_s,
            "server_settings": {
                "application_name": "podium",
                "lock_timeout": str(int(wait_s * 1000)),
                "statement_timeout": str(int(run_s * 1000)),
                "idle_in_transaction_session_timeout": str(int(run_s * 1000)),
            },
        },
        pool_pre_ping=pooled,
        hide_parameters=True,
        **_pool(settings, pooled=pooled),
    )


def create_private_file(path: Path) -> None:
    """Make sure that an SQLite file exists, mode 0600, and can be written. OperatorError: it cannot."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"the database {path} cannot be opened: {error.strerror or error}",
            hint="make its folder exist and be writable, or set database.url",
        ) from error
    os.close(descriptor)
