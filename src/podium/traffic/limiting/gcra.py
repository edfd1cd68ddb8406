"""An even rate, measured exactly: a leaky bucket (GCRA) whose charges can be corrected afterwards.

Rules
1. A bucket holds `burst` and drains `amount` in each window, evenly; a charge is admitted when it fits in. So no
   stretch of `t` ns admits more than `burst + amount * t / window_ns`.
2. All in integers. The unit is 1 / window_ns of what is counted: the drain is then `amount` units each nanosecond,
   with no rounding.
3. A charge that turns out smaller is corrected *as if it had been so from the start*. What the bucket would then
   have drained idly in the meantime is not given back: else unused reservations could be saved up into a burst.
"""

from bisect import bisect_left, bisect_right

from podium.traffic.limiting.buckets import MEASURES, Bucket, Standing
from podium.traffic.limiting.memory import Memory, Taken

__all__ = ["Gcra"]

_MAX_LOWS = 31  # odd: one more is an even number of marks, which halves cleanly
_FIRST_LOWS = 3
_BASE_BYTES = 1000  # object, numbers, lists with the first marks, place in a table; a test measures it
_MARK_BYTES = 120  # two numbers in two lists that grow by an eighth too much


class Gcra:
    """How full one bucket is. Time that is handed in never goes back."""

    __slots__ = (
        "_at_once",
        "_burst_units",
        "_debt",
        "_lows",
        "_marks_paid",
        "_memory",
        "_rate",
        "_serials",
        "_unit",
        "at_ns",
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
        self.at_ns = now_ns
        self._unit = bucket.window_ns
        self._debt = 0  # what is in the bucket at `at_ns`, units
        # Low marks: the debt just before a charge, and the charge's serial. Only those stay that are lower than all
        # later ones, so both lists rise, and "the lowest debt since charge n" is the first mark after n.
        # Exact up to `_MAX_LOWS` marks, then careful: it gives back less.
        self._lows: list[int] = []
        self._serials: list[int] = []
        self._marks_paid = _FIRST_LOWS
        self._memory = memory
        self.cost = _BASE_BYTES + len(bucket.key)
        memory.used += self.cost
        self._set(bucket)

    def bind(self, bucket: Bucket, now_ns: int) -> None:
        """Go on under a changed amount or burst; what was used stays used."""
        self.fits(0, now_ns)
        self._set(bucket)

    def take(self, amount: int, serial: int, now_ns: int, until_ns: int) -> bool:
        """Let time pass; charge when there is room, for a grant whose lease ends at `until_ns`. False: nothing changed.

        `serial` is higher than in any earlier charge.
        """
        low = self._debt
        elapsed = now_ns - self.at_ns
        if elapsed > 0:
            self.at_ns = now_ns
            low -= elapsed * self._rate
            low = low if low > 0 else 0  # noqa: FURB136 - a call costs more than the rest of the line
        debt = low + amount * self._unit
        if debt > self._burst_units:
            self._debt = low
            return False
        self._debt = debt
        self.flying += 1
        self.held_ns = until_ns
        lows = self._lows
        if lows and lows[-1] == low:
            self._serials[-1] = serial
        else:
            self._mark(low, serial)
        return True

    def undo(self, amount: int, serial: int) -> None:  # noqa: ARG002 - one shape
        """Take back the last `take`. Its mark may stay: the debt was as low as that."""
        self.flying -= 1
        self._debt -= amount * self._unit

    def end(self, difference: int, grant: Taken, next_serial: int, now_ns: int) -> None:
        """End a grant, which used `difference` more than it took. `next_serial`: as in `take`."""
        self.flying -= 1
        if not difference:
            return
        debt = self._debt
        elapsed = now_ns - self.at_ns
        if elapsed > 0:
            self.at_ns = now_ns
            debt -= elapsed * self._rate
            debt = debt if debt > 0 else 0  # noqa: FURB136 - as in `take`
        self._debt = debt
        serials = self._serials
        if difference > 0:
            self._mark(debt, next_serial)
            self._debt = debt + difference * self._unit
        elif not debt:
            return  # it has drained away meanwhile
        elif serials and serials[-1] > grant.serial:
            self._give_back(-difference * self._unit, grant.serial)
        else:  # nothing was charged since, and the debt is the lowest
            debt += difference * self._unit
            self._debt = debt if debt > 0 else 0  # noqa: FURB136 - as in `take`

    def renew(self, serial: int, until_ns: int) -> bool:  # noqa: ARG002 - one shape
        """Let the lease of a grant end later."""
        self.held_ns = until_ns
        return True

    def fits(self, amount: int, now_ns: int) -> bool:
        """Let time pass; True when there is room."""
        elapsed = now_ns - self.at_ns
        if elapsed > 0:
            self.at_ns = now_ns
            self._debt = max(0, self._debt - elapsed * self._rate)
        return self._debt + amount * self._unit <= self._burst_units

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """How long until `amount` fits in, if nothing else is taken; None: it is too large to fit in ever."""
        if self.fits(amount, now_ns):
            return 0
        if amount > self.bucket.at_once:
            return None
        return -(-(self._debt + amount * self._unit - self._burst_units) // self._rate)

    def standing(self, now_ns: int) -> Standing:
        """What is left."""
        elapsed = now_ns - self.at_ns
        debt = self._debt - elapsed * self._rate if elapsed > 0 else self._debt
        if debt <= 0:
            return Standing(self.bucket, self._at_once, 0)
        left = (self._burst_units - debt) // self._unit
        return Standing(self.bucket, left if left > 0 else 0, -(-debt // self._rate))  # noqa: FURB136 - as in `take`

    def idle(self, now_ns: int) -> bool:
        """True when a new one would decide the same."""
        self.fits(0, now_ns)
        return not self._debt and not (self.flying and now_ns < self.held_ns)

    def active(self, now_ns: int) -> bool:
        """True when it would refuse the smallest charge, or what it refused last, or has something in flight."""
        if (self.flying and now_ns < self.held_ns) or not self.fits(1, now_ns):
            return True
        return self.refused is not None and not self.fits(min(self.refused[1], self.bucket.at_once), now_ns)

    def _set(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._rate = bucket.amount
        self._at_once = bucket.at_once
        self._burst_units = self._at_once * self._unit

    def _mark(self, low: int, serial: int) -> None:
        serials, lows = self._serials, self._lows
        while lows and lows[-1] >= low:
            lows.pop()
            serials.pop()
        lows.append(low)
        serials.append(serial)
        if len(lows) > self._marks_paid:
            self._grow()

    def _grow(self) -> None:
        if self._marks_paid < _MAX_LOWS:
            more = min(2 * self._marks_paid + 1, _MAX_LOWS) - self._marks_paid
            self._marks_paid += more
            self.cost += more * _MARK_BYTES
            self._memory.used += more * _MARK_BYTES
        else:
            # Two neighbours become one: the later serial with the lower debt.
            del self._lows[1::2], self._serials[::2]

    def _give_back(self, units: int, serial: int) -> None:
        """Take `units` out of the charge with this serial, as if they had never been in it; there is a later one."""
        serials, lows = self._serials, self._lows
        first = bisect_right(serials, serial)
        lowest = lows[first]
        units = min(units, lowest)
        if units:
            lows[first:] = [low - units for low in lows[first:]]
            kept = bisect_left(lows, lowest - units, 0, first)
            del lows[kept:first], serials[kept:first]
        self._debt -= min(units, self._debt)
