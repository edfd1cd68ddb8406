"""The keys of what is published, packed and kept: after the first time only those are read that changed."""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from podium.control.ports import KeyStore
from podium.core.clock import Clock
from podium.core.key_table import KeyEntry, KeyTable, KeyTableBuilder

__all__ = ["PublishedKeys"]

_KEPT_AFTER_END_S = 86_400.0  # so that a key of yesterday is still told that it is revoked or expired, not unknown
_ANEW_AFTER_S = 86_400.0  # all are read again, and what ended is left out


class PublishedKeys:
    """Belongs to one event loop. Keys that ended more than a day ago are left out, sooner or later."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._table: KeyTable | None = None
        self._number = -1  # of the store's changes: the table has all up to this one
        self._made_unix_s = 0.0
        self._own: dict[str, KeyEntry] = {}

    def forget(self) -> None:
        """Read everything the next time: the store may have lost what it told before."""
        self._table = None

    async def at(self, number: int, own: Sequence[KeyEntry] = ()) -> KeyTable:
        """All keys as of the store's change `number`, or later. `own`: of Podium itself, which are in no store."""
        if self._table is None or not await self._catch_up(self._table, number):
            self._table = None  # it goes before the next one comes
            self._table = await self._read()
            self._number, self._own = number, {}
        wanted = {entry.id: entry for entry in own}
        if wanted != self._own:
            changes = dict.fromkeys(self._own) | wanted
            self._table = await asyncio.to_thread(self._table.changed, changes)
            self._own = wanted
        return self._table

    async def _catch_up(self, table: KeyTable, number: int) -> bool:
        now = self._now()
        if number < self._number or now > self._made_unix_s + _ANEW_AFTER_S:
            return False
        if number > self._number:
            entries = await self._store.changed_after(self._number, number)
            if entries is None:
                return False
            changes = {entry.id: _published(entry, now) for entry in entries}
            self._table = await asyncio.to_thread(table.changed, changes)
            self._number = number
        return True

    async def _read(self) -> KeyTable:
        now = self._made_unix_s = self._now()
        builder = KeyTableBuilder()
        async for entries in self._store.batches():
            await asyncio.to_thread(builder.add, _all_published(entries, now))
        return await asyncio.to_thread(builder.table)

    def _now(self) -> float:
        return self._clock.unix_ns() / 1e9


def _all_published(entries: Iterable[KeyEntry], now: float) -> Iterable[KeyEntry]:
    return (published for entry in entries if (published := _published(entry, now)) is not None)


def _published(entry: KeyEntry, now: float) -> KeyEntry | None:
    """The key with the secrets that still prove it; None: it is long over."""
    ends = [end for end in (entry.revoked_unix_s, entry.expires_unix_s) if end is not None]
    if ends and min(ends) < now - _KEPT_AFTER_END_S:
        return None
    live = tuple(secret for secret in entry.secrets if secret.expires_unix_s is None or now < secret.expires_unix_s)
    return entry if live == entry.secrets else msgspec.structs.replace(entry, secrets=live)
