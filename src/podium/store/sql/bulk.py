"""Fast inserts. SQL by hand, because building a statement for each row would cost more than the row."""

from collections.abc import Sequence

from sqlalchemy import Table, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.store.sql.rows import SUMS, Row
from podium.store.sql.tables import exchanges, usage_hours

__all__ = ["add_usage", "insert_new_exchanges"]

_CHUNK = 1000


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _arrays(table: Table) -> str:
    dialect = PGDialect()  # type: ignore[no-untyped-call]
    return ", ".join(
        f"${number}::{column.type.compile(dialect=dialect)}[]" for number, column in enumerate(table.columns, 1)
    )


_SQLITE_INSERT = f"INSERT INTO exchanges ({_names(exchanges)}) VALUES ({', '.join('?' * len(exchanges.columns))})"  # noqa: S608 - names of ours
_POSTGRES_INSERT = (
    f"INSERT INTO exchanges ({_names(exchanges)}) SELECT * FROM unnest({_arrays(exchanges)})"  # noqa: S608 - names of ours
    " ON CONFLICT (id) DO NOTHING RETURNING id"
)
_ADD_USAGE = text(
    f"INSERT INTO usage_hours ({_names(usage_hours)})"  # noqa: S608 - names of ours
    f" VALUES ({', '.join(':' + column.name for column in usage_hours.columns)})"
    " ON CONFLICT (hour_unix_s, tenant, key_id, model, provider) DO UPDATE SET "
    + ", ".join(f"{name} = usage_hours.{name} + excluded.{name}" for name in SUMS)
)


async def insert_new_exchanges(connection: AsyncConnection, rows: Sequence[Row]) -> set[bytes]:
    """Insert those whose id is not there yet, in chunks; returns their ids. `rows` have distinct ids."""
    insert = _insert_sqlite if connection.dialect.name == "sqlite" else _insert_postgres
    new: set[bytes] = set()
    for start in range(0, len(rows), _CHUNK):
        new |= await insert(connection, rows[start : start + _CHUNK])
    return new


async def _insert_sqlite(connection: AsyncConnection, rows: Sequence[Row]) -> set[bytes]:
    # Nobody else writes during this transaction (BEGIN IMMEDIATE): looking first is safe, and it is much
    # faster than RETURNING, which has no bulk form.
    ids = tuple(row[0] for row in rows)
    marks = ", ".join("?" * len(ids))
    found = await connection.exec_driver_sql(f"SELECT id FROM exchanges WHERE id IN ({marks})", ids)  # noqa: S608 - marks only
    known = set(found.scalars())
    fresh = [row for row in rows if row[0] not in known]
    if fresh:
        await connection.exec_driver_sql(_SQLITE_INSERT, fresh)
    return {row[0] for row in fresh}


async def _insert_postgres(connection: AsyncConnection, rows: Sequence[Row]) -> set[bytes]:
    columns = tuple(map(list, zip(*rows, strict=True)))
    inserted = await connection.exec_driver_sql(_POSTGRES_INSERT, columns)
    return set(inserted.scalars())


async def add_usage(connection: AsyncConnection, sums: Sequence[Row]) -> None:
    """Add sums to the hours that they belong to."""
    names = tuple(usage_hours.columns.keys())
    if sums:
        await connection.execute(_ADD_USAGE, [dict(zip(names, row, strict=True)) for row in sums])
