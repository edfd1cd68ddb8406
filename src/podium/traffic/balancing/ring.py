"""A consistent-hash ring: when one joins or leaves, only the share that it takes or gives moves.

Each key stands at many points, more of them for more weight; a value belongs to the first point after it (Karger et
al., "Consistent Hashing and Random Trees", 1997). Points come from a hash that is the same in every process, so all
gateways agree.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import blake2b, shake_128
from struct import unpack

__all__ = ["Ring", "ring_hash"]

_POINTS = 128  # of the heaviest keys, which are thus off their share by a tenth or less, mostly
_OWNER_BITS = 20  # the low bits of a point say whose it is
_OWNER = (1 << _OWNER_BITS) - 1


def ring_hash(value: str) -> int:
    """Where a value stands on every ring."""
    return int.from_bytes(blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest())


class Ring:
    """Keys by their share of the ring. Does not change; a choice costs O(log points)."""

    __slots__ = ("_points", "keys", "weights")

    def __init__(self, weights: Mapping[str, int]) -> None:
        """Weights are above 0. One that changes leaves the others' points alone.

        Unless the largest passes a power of two: the number of points is relative to that.
        """
        self.weights = dict(weights)
        self.keys = tuple(self.weights)
        full = 1 << (max(self.weights.values(), default=1) - 1).bit_length()
        points: list[int] = []
        for owner, (key, weight) in enumerate(self.weights.items()):
            count = max(1, round(_POINTS * weight / full))
            hashed = unpack(f">{count}Q", shake_128(key.encode()).digest(8 * count))
            points += [point & ~_OWNER | owner for point in hashed]
        points.sort()
        self._points = array("Q", points)

    def owners(self, value: int) -> Iterator[int]:
        """Indexes into `keys` from `value` once around the ring; the same one comes more than once."""
        points = self._points
        start = bisect_left(points, value)
        for at in range(start, len(points)):
            yield points[at] & _OWNER
        for at in range(start):
            yield points[at] & _OWNER
