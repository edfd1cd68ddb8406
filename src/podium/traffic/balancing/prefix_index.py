"""Which backends have seen the beginning of a prompt. Bounded in entries and in bytes; the least recently used goes.

A prompt is marked at a few lengths, each mark a hash of the tenant and of everything up to there. Tenants never share
a mark: who could tell by timing that a prefix is warm would learn that another tenant had sent it. The hash is
Python's own, keyed anew in each process, so nobody can make two prompts meet; the marks never leave the process.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence

__all__ = ["PrefixIndex", "marks_of"]

# A mark at 1, 2, 4, 8... chunks: a long prompt costs few of them, and half of what two share is found at least.
_CHUNKS = tuple(1 << power for power in range(16))
_MAX_HOLDERS = 4  # backends an entry; a hot prefix spreads over so many
# An entry's memory with one holder, measured with tracemalloc at many sizes: 160 to 290 bytes, 325 while a table grows.
_ENTRY_BYTES = 320
_HOLDER_BYTES = 8


def marks_of(tenant: str, prefix: bytes, *, chunk_bytes: int, max_bytes: int) -> list[int]:
    """The marks of a prompt, shortest first; none for one that is shorter than a chunk."""
    length = min(len(prefix), max_bytes)
    marks: list[int] = []
    mark, start = hash((tenant, chunk_bytes)), 0
    for chunks in _CHUNKS:
        end = chunks * chunk_bytes
        if end > length:
            break
        mark = hash((mark, prefix[start:end]))
        marks.append(mark)
        start = end
    return marks


class PrefixIndex:
    """Marks, and the keys of the backends that hold them."""

    __slots__ = ("_entries", "_max_bytes", "_max_entries", "size_bytes")

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._entries: OrderedDict[int, tuple[str, ...]] = OrderedDict()  # least recently used first
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.size_bytes = 0  # about

    def __len__(self) -> int:
        return len(self._entries)

    def holders(self, marks: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Who has seen the longest part that anyone has seen, then who has seen shorter ones."""
        entries = self._entries
        for mark in reversed(marks):
            found = entries.get(mark)
            if found is not None:
                yield found

    def learn(self, marks: Sequence[int], key: str, lost: Collection[str] = ()) -> None:
        """From now on this backend holds these marks, and those in `lost` do not."""
        entries = self._entries
        for mark in reversed(marks):  # so that the shorter ones, which more prompts share, go later
            found = entries.get(mark)
            if found is None:
                entries[mark] = (key,)
                self.size_bytes += _ENTRY_BYTES
                continue
            entries.move_to_end(mark)
            if lost or key not in found:
                held = (*(holder for holder in found if holder != key and holder not in lost), key)[-_MAX_HOLDERS:]
                entries[mark] = held
                self.size_bytes += (len(held) - len(found)) * _HOLDER_BYTES
        while len(entries) > self._max_entries or self.size_bytes > self._max_bytes:
            _, gone = entries.popitem(last=False)
            self.size_bytes -= _ENTRY_BYTES + (len(gone) - 1) * _HOLDER_BYTES
