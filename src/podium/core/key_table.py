"""API keys as the data plane knows them, packed: a million take some hundred bytes each and are read one by one.

    pages 8 · keys 8 · where each page begins, and the last one ends, 8 each · the pages

Numbers are little-endian. A key is on the page that a hash of its id tells; a page is the msgpack of its entries.
"""

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Self

import msgspec

__all__ = ["KeyEntry", "KeySecret", "KeyTable", "KeyTableBuilder"]

_KEYS_A_PAGE = 4  # at most, on average: to look one up decodes them all, some microseconds
_HEAD = 16


class KeySecret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One secret that proves a key. A rotated key has two for the time of its grace."""

    digest: bytes  # podium.identity.keys.digest_secret
    expires_unix_s: float | None = None


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key as the data plane knows it."""

    id: str  # the public part of `pk_<id>_<secret>`
    tenant: str
    name: str
    secrets: tuple[KeySecret, ...]
    models: tuple[str, ...] = ("*",)  # `*` matches any run of characters
    endpoints: tuple[str, ...] = (
        "*",
    )  # chat.completions, completions, embeddings, models, feedback, flags, or `*` for these; versions
    admin: bool = False  # may use the admin API
    expires_unix_s: float | None = None
    revoked_unix_s: float | None = None
    tier: str = ""  # a label that limits may be set for; empty: the tenant's
    tags: str = ""  # that budgets may count by, in the form of podium.core.tags


_encode = msgspec.msgpack.Encoder().encode
_decode_page = msgspec.msgpack.Decoder(tuple[KeyEntry, ...]).decode


class KeyTable:
    """Keys by their public ids; immutable, in no order. Two are equal when they hold the same keys."""

    __slots__ = ("_count", "_data", "_pages", "_view")

    def __init__(self, data: bytes | memoryview) -> None:
        """Of what `data` of another one was, which is not copied; ValueError: it was something else."""
        self._data = data
        self._view = memoryview(data)
        if len(data) < _HEAD:
            raise ValueError("it is too short for a table of keys")
        self._pages = self._number(0)
        self._count = self._number(8)
        begin = _HEAD + 8 * (self._pages + 1)
        if self._pages < 1 or self._pages & (self._pages - 1) or len(data) < begin:
            raise ValueError("it is no table of keys")
        if self._number(_HEAD) != begin or self._number(begin - 8) != len(data):
            raise ValueError("the table of keys was cut")

    @classmethod
    def of(cls, entries: Iterable[KeyEntry]) -> Self:
        """A table of these; of several with one id the last one counts."""
        builder = KeyTableBuilder()
        builder.add(entries)
        return cls(builder.packed())

    @property
    def data(self) -> bytes | memoryview:
        """All of it."""
        return self._data

    def find(self, key_id: str) -> KeyEntry | None:
        """The key with this public id, made anew at each call."""
        for entry in self._page(_page_of(key_id, self._pages)):
            if entry.id == key_id:
                return entry
        return None

    def changed(self, entries: Mapping[str, KeyEntry | None]) -> Self:
        """The same with these in place of those of their ids; None: without. The other pages are copied as they are."""
        by_page: dict[int, dict[str, KeyEntry | None]] = {}
        for key_id, entry in entries.items():
            by_page.setdefault(_page_of(key_id, self._pages), {})[key_id] = entry
        parts: list[bytes | memoryview] = []
        sizes = [end - begin for begin, end in pairwise(self._offsets())]
        count, copied = self._count, _HEAD + 8 * (self._pages + 1)
        for page in sorted(by_page):
            before = self._page(page)
            after = {entry.id: entry for entry in before} | by_page[page]
            encoded = _encode([entry for entry in after.values() if entry is not None])
            begin, end = self._bounds(page)
            parts += [self._view[copied:begin], encoded]
            sizes[page], copied = len(encoded), end
            count += sum(entry is not None for entry in after.values()) - len(before)
        if not _pages_for(count) // 2 <= self._pages <= _pages_for(count) * 2:  # it grew or shrank a lot
            return self.of(self._with(entries))
        parts.append(self._view[copied:])
        return type(self)(b"".join((_head(sizes, count), *parts)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[KeyEntry]:
        for page in range(self._pages):
            yield from self._page(page)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyTable):
            return NotImplemented
        if len(self) != len(other):
            return False
        return self._view == other._view or {one.id: one for one in self} == {one.id: one for one in other}

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"KeyTable({self._count} keys)"

    def _with(self, entries: Mapping[str, KeyEntry | None]) -> Iterator[KeyEntry]:
        yield from (entry for entry in self if entry.id not in entries)
        yield from (entry for entry in entries.values() if entry is not None)

    def _page(self, page: int) -> tuple[KeyEntry, ...]:
        begin, end = self._bounds(page)
        return _decode_page(self._view[begin:end])

    def _bounds(self, page: int) -> tuple[int, int]:
        at = _HEAD + 8 * page
        return self._number(at), self._number(at + 8)

    def _number(self, at: int) -> int:
        return int.from_bytes(self._view[at : at + 8], "little")

    def _offsets(self) -> "array[int]":
        offsets = array("Q", self._view[_HEAD : _HEAD + 8 * (self._pages + 1)].tobytes())
        if sys.byteorder == "big":
            offsets.byteswap()
        return offsets


class KeyTableBuilder:
    """Makes a table of keys that come bit by bit."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def add(self, entries: Iterable[KeyEntry]) -> None:
        """Of several with one id the last one counts."""
        self._packed.update((entry.id, _encode(entry)) for entry in entries)

    def table(self) -> KeyTable:
        """The table of all that were added; they are given away, and the builder is empty again."""
        return KeyTable(self.packed())

    def packed(self) -> bytes:
        """What a table is made of; the builder is empty again."""
        keys, count = len(self._packed), _pages_for(len(self._packed))
        pages: list[list[bytes]] = [[] for _ in range(count)]
        while self._packed:  # of a million each copy counts: what was used goes at once
            key_id, entry = self._packed.popitem()
            pages[_page_of(key_id, count)].append(entry)
        encoded = []
        pages.reverse()
        while pages:
            encoded.append(_encode([msgspec.Raw(entry) for entry in pages.pop()]))
        return b"".join((_head([len(page) for page in encoded], keys), *encoded))


def _head(sizes: list[int], count: int) -> bytes:
    begin = _HEAD + 8 * (len(sizes) + 1)
    numbers = array("Q", (len(sizes), count))
    numbers.extend(accumulate(sizes, initial=begin))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _page_of(key_id: str, pages: int) -> int:
    return zlib.crc32(key_id.encode("utf-8", "surrogatepass")) & (pages - 1)


def _pages_for(count: int) -> int:
    """The power of two that leaves `_KEYS_A_PAGE` at most to a page."""
    return 1 << max(0, (count - 1) // _KEYS_A_PAGE).bit_length()
