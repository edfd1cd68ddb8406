"""Adds rows of sums to those that are stored.

SQL by hand, and one statement a table on PostgreSQL, as in podium.store.sql.bulk.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.delivery.analysis.tally import COUNTS
from podium.store.sql.rollout_tables import (
    HISTORY_COLUMNS,
    SUM_COLUMNS,
    rollout_arms,
    rollout_cells,
    rollout_history,
    rollout_minutes,
    rollout_segments,
    rollout_tenants,
    rollout_times,
)

__all__ = ["put_sums"]


def _upsert(table: Table, *, sqlite: bool) -> str:
    """The statement that adds rows to a table's, in the words of the database."""
    name, keys = table.name, [column.name for column in table.primary_key.columns]
    names = ", ".join(column.name for column in table.columns)
    least, most = ("min", "max") if sqlite else ("least", "greatest")
    special = {
        "step": "excluded.step",
        "version": f"CASE WHEN excluded.version <> '' THEN excluded.version ELSE {name}.version END",
        "first_unix_ns": f"{least}({name}.first_unix_ns, excluded.first_unix_ns)",
        "last_unix_ns": f"{most}({name}.last_unix_ns, excluded.last_unix_ns)",
    }
    changes = ", ".join(
        f"{column.name} = {special.get(column.name, f'{name}.{column.name} + excluded.{column.name}')}"
        for column in table.columns
        if column.name not in keys
    )
    start, end = f"INSERT INTO {name} ({names})", f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    if sqlite:
        return f"{start} VALUES ({', '.join('?' * len(table.columns))}) {end}"
    dialect = PGDialect()  # type: ignore[no-untyped-call]
    arrays = (f"${number}::{column.type.compile(dialect=dialect)}[]" for number, column in enumerate(table.columns, 1))
    return f"{start} SELECT * FROM unnest({', '.join(arrays)}) {end}"  # noqa: S608 - names of ours


_TABLES = (
    rollout_cells,
    rollout_minutes,
    rollout_arms,
    rollout_times,
    rollout_tenants,
    rollout_segments,
    rollout_history,
)
_SQLITE = {table.name: _upsert(table, sqlite=True) for table in _TABLES}
_POSTGRES = {table.name: _upsert(table, sqlite=False) for table in _TABLES}
assert tuple(rollout_arms.columns.keys())[-len(COUNTS) :] == COUNTS
assert tuple(rollout_cells.columns.keys())[5:] == SUM_COLUMNS
assert tuple(rollout_tenants.columns.keys())[5:] == SUM_COLUMNS
assert tuple(rollout_segments.columns.keys())[6:] == SUM_COLUMNS
assert tuple(rollout_history.columns.keys())[4:] == HISTORY_COLUMNS


async def put_sums(connection: AsyncConnection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows to those of the same keys. They must be in the order of these."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(_SQLITE[table.name], list(rows))
    else:
        await connection.exec_driver_sql(_POSTGRES[table.name], tuple(map(list, zip(*rows, strict=True))))
