"""What is known to be spent of budgets, in PostgreSQL: a row beside the published snapshot's."""

import asyncio
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ProgrammingError

from podium.core.errors import OperatorError
from podium.economics.budgets.truth import BudgetTruth
from podium.store.sql.database import Database
from podium.store.sql.tables import snapshots
from podium.store.truth_file import opened_truth, sealed_truth

__all__ = ["SqlTruth"]

_NAME = "budgets"


class SqlTruth:
    """As podium.store.truth_file.TruthFile, for many machines. Unavailable: the database cannot be reached."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    async def stamp(self) -> object | None:
        """Changes with each publication; None when there is none."""
        try:
            async with self._database.read() as connection:
                stamp: object | None = await connection.scalar(select(snapshots.c.revision).where(_MINE))
                return stamp
        except ProgrammingError:  # control has not made the table yet
            return None

    async def read(self) -> BudgetTruth:
        """The last reading. OperatorError: it cannot be used."""
        async with self._database.read() as connection:
            data = await connection.scalar(select(snapshots.c.body).where(_MINE))
        if data is None:
            raise OperatorError("what is known of budgets was removed")
        return await asyncio.to_thread(opened_truth, data, self._key)

    async def publish(self, truth: BudgetTruth) -> None:
        """Replace what is published."""
        row: dict[str, Any] = {
            "name": _NAME,
            "revision": truth.read_unix_ns,
            "published_unix_s": truth.read_unix_ns / 1e9,
            "body": await asyncio.to_thread(sealed_truth, truth, self._key),
        }
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        offered = make(snapshots).values(row)
        values = {name: offered.excluded[name] for name in row if name != "name"}
        statement = offered.on_conflict_do_update(index_elements=[snapshots.c.name], set_=values)
        async with self._database.write() as connection:
            await connection.execute(statement)


_MINE = snapshots.c.name == _NAME
