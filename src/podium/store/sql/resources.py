"""Declared resources and their revisions: podium.control.ports.ResourceStore."""

from typing import Any

import msgspec
from sqlalchemy import Row, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.control.ports import Change, Revision
from podium.core.clock import Clock, SystemClock
from podium.core.errors import Conflict, OperatorError
from podium.core.resources import SPECS, Kind, Resource, spec_from_builtins
from podium.store.sql.database import Database
from podium.store.sql.tables import resources, revisions

__all__ = ["SqlResourceStore"]

_DELETE = text("DELETE FROM resources WHERE kind = :kind AND name = :name")
_PUT = text(
    "INSERT INTO resources (kind, name, spec, revision) VALUES (:kind, :name, :spec, :revision)"
    " ON CONFLICT (kind, name) DO UPDATE SET spec = excluded.spec, revision = excluded.revision"
)


_KINDS: dict[str, Kind] = {kind: kind for kind in SPECS}


class SqlResourceStore:
    """Resources as JSON, one row each, and every change of them."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def newest_number(self) -> int:
        """The newest revision's number; 0: none."""
        async with self._database.read() as connection:
            return await _newest(connection)

    async def current(self) -> tuple[int, tuple[Resource, ...]]:
        """The newest revision's number (0: none) and all resources, ordered by kind and name.

        OperatorError: a stored spec is not one that this Podium can read.
        """
        async with self._database.read() as connection:
            number = await _newest(connection)
            rows = (await connection.execute(select(resources.c.kind, resources.c.name, resources.c.spec))).all()
        # Sorted here: databases have orders of their own for text.
        return number, tuple(_resource(*row) for row in sorted(rows, key=lambda row: (row[0], row[1])))

    async def commit(
        self, *, expected: int, author: str, message: str, changes: tuple[Change, ...], undoes: int | None = None
    ) -> Revision:
        """Write `changes` as revision `expected` + 1; `Conflict` when the newest is not `expected`."""
        revision = Revision(
            number=expected + 1,
            author=author,
            message=message,
            created_unix_s=self._clock.unix_ns() / 1e9,
            changes=changes,
            undoes=undoes,
        )
        try:
            async with self._database.write() as connection:
                if (newest := await _newest(connection)) != expected:
                    raise _moved(expected, newest)
                await connection.execute(insert(revisions).values(_columns(revision)))
                await _apply(connection, revision)
        except IntegrityError:
            raise _moved(expected, expected + 1) from None  # another one took the number just now
        return revision

    async def revisions(self, *, before: int | None, limit: int) -> tuple[Revision, ...]:
        """Newest first, numbers below `before`."""
        statement = select(revisions).order_by(revisions.c.number.desc()).limit(limit)
        if before is not None:
            statement = statement.where(revisions.c.number < before)
        async with self._database.read() as connection:
            return tuple(map(_revision, (await connection.execute(statement)).all()))

    async def revision(self, number: int) -> Revision | None:
        """One revision."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(revisions).where(revisions.c.number == number))).first()
        return None if row is None else _revision(row)


async def _newest(connection: AsyncConnection) -> int:
    return await connection.scalar(select(func.max(revisions.c.number))) or 0


def _moved(expected: int, newest: int) -> Conflict:
    return Conflict(
        f"The declared state is at revision {newest}, not at {expected}: it was changed meanwhile.",
        hint="look at the change (`podium history`), then try again",
    )


async def _apply(connection: AsyncConnection, revision: Revision) -> None:
    """Two statements for however many changes: each takes a round trip for itself. A resource is in one change."""
    gone = [{"kind": change.kind, "name": change.name} for change in revision.changes if change.after is None]
    put = [
        {
            "kind": change.kind,
            "name": change.name,
            "spec": msgspec.json.encode(change.after).decode(),
            "revision": revision.number,
        }
        for change in revision.changes
        if change.after is not None
    ]
    if gone:
        await connection.execute(_DELETE, gone)
    if put:
        await connection.execute(_PUT, put)


def _columns(revision: Revision) -> dict[str, object]:
    return {
        "number": revision.number,
        "author": revision.author,
        "message": revision.message,
        "created_unix_s": revision.created_unix_s,
        "undoes": revision.undoes,
        "changes": msgspec.json.encode(revision.changes).decode(),
    }


def _revision(row: Row[Any]) -> Revision:
    return Revision(
        number=row.number,
        author=row.author,
        message=row.message,
        created_unix_s=row.created_unix_s,
        undoes=row.undoes,
        changes=msgspec.json.decode(row.changes, type=tuple[Change, ...]),
    )


def _resource(kind: str, name: str, spec: str) -> Resource:
    try:
        known = _KINDS.get(kind) or msgspec.convert(kind, Kind)
        return Resource(known, name, spec_from_builtins(known, msgspec.json.decode(spec)))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise OperatorError(
            f"the database holds {kind} `{name}`, which this Podium cannot read: {error}",
            hint="another version of Podium wrote it: undo that change there, or start that version",
        ) from error
