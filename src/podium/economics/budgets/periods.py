"""Which period of a budget a moment lies in, and when that ends.

Rules
1. Days, weeks and months begin at the first moment of their first day in the budget's time zone, whatever the clocks
   do that night: a day may have 23, 24 or 25 hours, and none is lost or counted twice.
2. A rolling window is kept in buckets of a sixtieth of it, in whole seconds. What was used counts for the whole
   window, and up to one bucket longer; never shorter.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from podium.core.budgets import Budget

__all__ = ["Calendar", "Period", "time_zone"]

_SECOND_NS = 1_000_000_000
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_BUCKETS = 60  # of a rolling window


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_ns` up to but without `end_ns`, Unix time.

    Of a rolling window: the moment's own bucket, with `bucket_ns` its length and `buckets` those before it that
    count too; both 0 for calendar periods.
    """

    key: str  # the same for all moments in a period, and of another kind of period never; every bucket's, if rolling
    label: str  # for people: 2026-11, 2026-11-22, week of 2026-11-16, last 3600 s
    start_ns: int
    end_ns: int
    bucket_ns: int = 0
    buckets: int = 0


class Calendar:
    """The periods of one budget; remembers the last one that was asked for."""

    __slots__ = ("_budget", "_last", "_zone")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._zone = time_zone(budget.time_zone)
        self._last = Period("", "", 0, 0)

    def period_at(self, unix_ns: int) -> Period:
        """The period that the moment lies in: the same object as long as it is the same one."""
        last = self._last
        if last.start_ns <= unix_ns < last.end_ns:
            return last
        self._last = self._rolling(unix_ns) if self._budget.rolling_s is not None else self._calendar(unix_ns)
        return self._last

    def _rolling(self, unix_ns: int) -> Period:
        window_s = self._budget.rolling_s or 0
        bucket_s = -(-window_s // _BUCKETS)
        buckets = -(-window_s // bucket_s)
        bucket_ns = bucket_s * _SECOND_NS
        start_ns = unix_ns // bucket_ns * bucket_ns
        return Period(
            f"r{bucket_s}x{buckets}", f"last {window_s} s", start_ns, start_ns + bucket_ns, bucket_ns, buckets
        )

    def _calendar(self, unix_ns: int) -> Period:
        budget = self._budget
        day = datetime.fromtimestamp(unix_ns // _SECOND_NS, self._zone).date()
        if budget.period == "day":
            first, after, label = day, day + timedelta(days=1), day.isoformat()
        elif budget.period == "week":
            first = day - timedelta(days=(day.weekday() - _WEEKDAYS.index(budget.week_starts)) % 7)
            after, label = first + timedelta(days=7), f"week of {first.isoformat()}"
        else:
            first = day.replace(day=1)
            after, label = (first + timedelta(days=31)).replace(day=1), f"{day:%Y-%m}"
        start_ns, end_ns = self._begin_ns(first), self._begin_ns(after)
        return Period(f"{budget.period[0]}{start_ns // _SECOND_NS}", label, start_ns, end_ns)

    def _begin_ns(self, day: date) -> int:
        """The first moment of a day.

        Where midnight is skipped, `fold=0` reads it with the offset from before, which is the moment of the skip;
        where it comes twice, the first (PEP 495).
        """
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return int(midnight.timestamp()) * _SECOND_NS


def time_zone(name: str) -> tzinfo:
    """The zone of a checked name; UTC needs no time zone data."""
    return UTC if name == "UTC" else ZoneInfo(name)
