"""API keys: podium.control.ports.KeyStore."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.control.ports import ApiKeyRecord
from podium.core.errors import Conflict
from podium.core.snapshot import KeyEntry
from podium.store.sql.database import Database
from podium.store.sql.tables import api_keys, counters

__all__ = ["SqlKeyStore"]

_COUNTER = "api_keys"
_COUNT = text(
    "INSERT INTO counters (name, value) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1"
    " RETURNING value"
)
_AT_ONCE = 5_000  # keys that are read of a million
_MOST_CHANGES = 10_000  # that are looked at one by one
_decode_entry = msgspec.json.Decoder(KeyEntry).decode


class SqlKeyStore:
    """Keys, one row each. Each change counts up a number that other processes watch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, record: ApiKeyRecord) -> None:
        """Add a key; `Conflict` when its id is taken."""
        values = {
            "id": record.entry.id,
            "tenant": record.entry.tenant,
            "entry": _encode_entry(record.entry),
            "created_unix_s": record.created_unix_s,
            "created_by": record.created_by,
        }
        try:
            async with self._database.write() as connection:
                number = await _count(connection)
                await connection.execute(insert(api_keys).values(**values, changed=number))
        except IntegrityError:
            raise Conflict(f"A key with the id `{record.entry.id}` exists.") from None

    async def replace(self, entry: KeyEntry, *, expected: KeyEntry) -> None:
        """Change a key; `Conflict` when it is no longer `expected`."""
        mine = api_keys.c.id == expected.id
        async with self._database.write() as connection:
            number = await _count(connection)
            stored = await connection.scalar(select(api_keys.c.entry).where(mine).with_for_update())
            if entry.id != expected.id or stored is None or _decode_entry(stored) != expected:
                raise Conflict(f"The key `{expected.id}` was changed meanwhile.", hint="look at it, then try again")
            await connection.execute(
                update(api_keys).where(mine).values(tenant=entry.tenant, entry=_encode_entry(entry), changed=number)
            )

    async def find(self, key_id: str) -> ApiKeyRecord | None:
        """One key."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(api_keys).where(api_keys.c.id == key_id))).first()
        return None if row is None else _record(row)

    async def all(self) -> tuple[ApiKeyRecord, ...]:
        """Every key, oldest first, revoked ones too."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(api_keys))).all()
        return tuple(_record(row) for row in sorted(rows, key=lambda row: (row.created_unix_s, row.id)))

    async def batches(self) -> AsyncIterator[tuple[KeyEntry, ...]]:
        """Every key, in no order, some thousand at a time; a key that changes meanwhile comes as it was or as it is."""
        last = ""
        while True:
            some = select(api_keys.c.id, api_keys.c.entry).where(api_keys.c.id > last).order_by(api_keys.c.id)
            async with self._database.read() as connection:
                rows = (await connection.execute(some.limit(_AT_ONCE))).all()
            if not rows:
                return
            yield tuple(_decode_entry(row.entry) for row in rows)
            last = rows[-1].id

    async def changed_after(self, number: int, through: int) -> tuple[KeyEntry, ...] | None:
        """The keys of the changes `number` + 1 to `through`, and perhaps of later ones.

        None: they are too many, or a key changed twice, or a version before made one of them.
        """
        if through - number > _MOST_CHANGES:
            return None
        changes = select(api_keys.c.changed, api_keys.c.entry).where(api_keys.c.changed > number)
        async with self._database.read() as connection:
            rows = (await connection.execute(changes)).all()
        known = {row.changed for row in rows}.issuperset(range(number + 1, through + 1))
        return tuple(_decode_entry(row.entry) for row in rows) if known else None

    async def change_number(self) -> int:
        """A number that grows with each insert and replace, so that a change by another process is seen."""
        async with self._database.read() as connection:
            return await connection.scalar(select(counters.c.value).where(counters.c.name == _COUNTER)) or 0


async def _count(connection: AsyncConnection) -> int:
    # First in its transaction: writers queue up here, so that a number once seen has all changes below it.
    number: int = (await connection.execute(_COUNT, {"name": _COUNTER})).scalar_one()
    return number


def _encode_entry(entry: KeyEntry) -> str:
    return msgspec.json.encode(entry).decode()


def _record(row: Row[Any]) -> ApiKeyRecord:
    return ApiKeyRecord(entry=_decode_entry(row.entry), created_unix_s=row.created_unix_s, created_by=row.created_by)
