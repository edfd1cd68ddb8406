"""A window that slides: never more than `amount` in any stretch of `window_ns`.

Rules
1. A window is cut into SLOTS parts, at multiples of a part since time 0. What counts is the part that runs and the
   SLOTS before it, so any stretch as long as a window lies inside what counts.
2. So room comes back at most one part (and the rounding of a part to whole nanoseconds) after its use is a window old.
3. A charge that turns out smaller is taken out of the part that it was charged in; larger: the rest counts from now.
"""

from podium.traffic.limiting.buckets import MEASURES, SLOTS, Bucket, Standing
from podium.traffic.limiting.memory import Memory, Taken

__all__ = ["SlidingWindow"]

_RING = SLOTS + 1
_BASE_BYTES = 1500  # object, ring, numbers, place in a table; a test measures it


class SlidingWindow:
    """What one subject has used in the last window. Time that is handed in never goes back."""

    __slots__ = (
        "_amount",
        "_counts",
        "_part_ns",
        "_slot",
        "_total",
        "bucket",
        "cost",
        "flying",
        "held_ns",
        "refused",
        "seen_ns",
        "what",
    )

    def __init__(self, bucket: Bucket, now_ns: int, memory: Memory) -> None:
        self.what = MEASURES.index(bucket.what)
        self.flying = 0  # grants that have taken from it and have not ended
        self.seen_ns = 0  # for who makes room: `held_ns` when it looked last
        self.held_ns = 0  # when the last of their leases ends
        self.refused: tuple[int, int, int | None] | None = (
            None  # the last refusal: at_ns, amount, wait_ns (None: too large)
        )
        self._part_ns = -(-bucket.window_ns // SLOTS)
        self._slot = now_ns // self._part_ns  # the part that runs, counted from time 0
        self._counts = [0] * _RING  # of part `n` at `n % _RING`
        self._total = 0
        self.cost = _BASE_BYTES + len(bucket.key)
        memory.used += self.cost
        self.bind(bucket, now_ns)

    def bind(self, bucket: Bucket, now_ns: int) -> None:  # noqa: ARG002 - one shape
        """Go on under a changed amount; what was used stays used."""
        self.bucket = bucket
        self._amount = bucket.amount

    def take(self, amount: int, serial: int, now_ns: int, until_ns: int) -> bool:  # noqa: ARG002 - one shape
        """Let time pass; charge when there is room, for a grant leased until `until_ns`. False: nothing changed."""
        slot = now_ns // self._part_ns
        if slot > self._slot:
            self._advance(slot)
        total = self._total + amount
        if total > self._amount:
            return False
        self._total = total
        self._counts[self._slot % _RING] += amount
        self.flying += 1
        self.held_ns = until_ns
        return True

    def undo(self, amount: int, serial: int) -> None:  # noqa: ARG002 - one shape
        """Take back the last `take`."""
        self.flying -= 1
        self._total -= amount
        self._counts[self._slot % _RING] -= amount

    def end(self, difference: int, grant: Taken, next_serial: int, now_ns: int) -> None:  # noqa: ARG002 - one shape
        """End a grant, which used `difference` more than it took."""
        self.flying -= 1
        if difference:
            self.fits(0, now_ns)
            slot = self._slot if difference > 0 else grant.at_ns // self._part_ns
            if slot > self._slot - _RING:
                difference = max(difference, -self._counts[slot % _RING])
                self._counts[slot % _RING] += difference
                self._total += difference

    def renew(self, serial: int, until_ns: int) -> bool:  # noqa: ARG002 - one shape
        """Let the lease of a grant end later."""
        self.held_ns = until_ns
        return True

    def fits(self, amount: int, now_ns: int) -> bool:
        """Let time pass; True when there is room."""
        slot = now_ns // self._part_ns
        if slot > self._slot:
            self._advance(slot)
        return self._total + amount <= self._amount

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """How long until `amount` fits in, if nothing else is taken; None: it is too large to fit in ever."""
        if self.fits(amount, now_ns):
            return 0
        missing = self._total + amount - self._amount
        for slot in range(self._slot - SLOTS, self._slot + 1):
            missing -= self._counts[slot % _RING]
            if missing <= 0:
                return self._gone_ns(slot) - now_ns
        return None

    def standing(self, now_ns: int) -> Standing:
        """What is left."""
        self.fits(0, now_ns)
        used = (slot for slot in range(self._slot, self._slot - _RING, -1) if self._counts[slot % _RING])
        latest = next(used, None)
        reset_ns = 0 if latest is None else self._gone_ns(latest) - now_ns
        return Standing(self.bucket, max(0, self._amount - self._total), reset_ns)

    def idle(self, now_ns: int) -> bool:
        """True when a new one would decide the same."""
        self.fits(0, now_ns)
        return not self._total and not (self.flying and now_ns < self.held_ns)

    def active(self, now_ns: int) -> bool:
        """True when it would refuse the smallest charge, or what it refused last, or has something in flight."""
        if (self.flying and now_ns < self.held_ns) or not self.fits(1, now_ns):
            return True
        return self.refused is not None and not self.fits(min(self.refused[1], self._amount), now_ns)

    def _advance(self, slot: int) -> None:
        for passed in range(self._slot + 1, min(slot, self._slot + _RING) + 1):
            self._total -= self._counts[passed % _RING]
            self._counts[passed % _RING] = 0
        self._slot = slot

    def _gone_ns(self, slot: int) -> int:
        """When what was used in `slot` counts no more."""
        return (slot + _RING) * self._part_ns
