"""One rate, measured exactly: a leaky bucket (GCRA) whose charges can be corrected afterwards.

Rules
1. A bucket holds one minute's worth. It drains evenly; a charge is admitted when it fits in. So no window of
   `t` seconds admits more than `(60 + t) / 60` times the limit.
2. All in integers. The unit is 1 / 60,000,000,000 of a request or token: the drain is then `per_minute` units
   each nanosecond, with no rounding.
3. A charge that turns out smaller is corrected *as if it had been so from the start*. What the bucket would then
   have drained idly in the meantime is not given back: else unused reservations could be saved up into a burst.
"""

from bisect import bisect_left, bisect_right

__all__ = ["MINUTE_NS", "UNIT", "Meter"]

MINUTE_NS = 60_000_000_000
UNIT = 60_000_000_000  # units of one request or token; equals a minute in ns, which makes rule 2 come out
_MAX_LOWS = 31  # odd: one more is an even number of marks, which halves cleanly


class Meter:
    """How full one bucket is. `drain` first, then look or change."""

    __slots__ = ("_lows", "_serials", "at_ns", "capacity", "debt", "per_minute")

    def __init__(self, per_minute: int, now_ns: int) -> None:
        self.per_minute = per_minute
        self.capacity = per_minute * MINUTE_NS  # the debt of a full bucket, units
        self.debt = 0  # what is in the bucket at `at_ns`, units
        self.at_ns = now_ns
        # Low marks: the debt just before a charge, and the charge's serial. Only those stay that are lower than all
        # later ones, so both lists rise, and "the lowest debt since charge n" is the first mark after n.
        # Exact up to `_MAX_LOWS` marks, then careful: it gives back less.
        self._lows: list[int] = []
        self._serials: list[int] = []

    def drain(self, now_ns: int) -> int:
        """Let time pass; the debt now, units. An older `now_ns` than before changes nothing."""
        elapsed = now_ns - self.at_ns
        if elapsed > 0:
            self.at_ns = now_ns
            debt = self.debt - elapsed * self.per_minute
            self.debt = debt if debt > 0 else 0  # noqa: FURB136 - a call costs more than the rest of the line
        return self.debt

    def change_rate(self, per_minute: int, now_ns: int) -> None:
        """Go on with another limit; the debt stays what it is."""
        self.drain(now_ns)
        self.per_minute = per_minute
        self.capacity = per_minute * MINUTE_NS

    def charge(self, units: int, serial: int) -> None:
        """Add to the debt, over the brim if need be. `serial` must be higher than in any earlier charge."""
        serials, lows, low = self._serials, self._lows, self.debt
        while lows and lows[-1] >= low:
            lows.pop()
            serials.pop()
        lows.append(low)
        serials.append(serial)
        if len(lows) > _MAX_LOWS:
            # Two neighbours become one: the later serial with the lower debt.
            del lows[1::2], serials[::2]
        self.debt = low + units

    def give_back(self, units: int, serial: int) -> None:
        """Take `units` out of the charge with this serial, as if they had never been in it."""
        serials, lows = self._serials, self._lows
        first = bisect_right(serials, serial)
        if first < len(lows):
            lowest = lows[first]
            units = min(units, lowest)
            if units:
                lows[first:] = [low - units for low in lows[first:]]
                kept = bisect_left(lows, lowest - units, 0, first)
                del lows[kept:first], serials[kept:first]
        self.debt -= min(units, self.debt)

    def wait_ns(self, units: int, now_ns: int) -> int:
        """How long until a charge of `units` fits in, were it no larger than the capacity."""
        missing = self.drain(now_ns) + units - self.capacity
        return -(-missing // self.per_minute) if missing > 0 else 0
