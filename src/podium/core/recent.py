"""A bounded map of what was asked for lately."""

from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps at least `most` / 2 and at most `most` entries: what was not asked for since as many others came is gone.

    Two dicts of which the older is dropped whole. A dict from which the oldest entry is taken for each new one leaves
    holes behind, and looks through all of them for the next oldest.
    """

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._new) + sum(key not in self._new for key in self._old)

    def get(self, key: K) -> V | None:
        """What was put under this key, if it is still known."""
        found = self._new.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep a value, which is not None."""
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}
        self._new[key] = value
