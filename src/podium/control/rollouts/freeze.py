"""Whether nothing may move forward now. Pure: windows and a time in, the end of the freeze out."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from podium.core.rollouts import FreezeWindow

__all__ = ["frozen_until"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST = timedelta(days=8)  # whoever freezes every hour of the week is told this; it goes on then


def frozen_until(windows: Sequence[FreezeWindow], unix_s: float) -> float | None:
    """When the freeze ends that is on at this time; None: there is none. Windows that meet are one freeze."""
    started = at = datetime.fromtimestamp(unix_s, UTC)
    while (end := _end_of_one(windows, at)) is not None and end - started < _LONGEST:
        at = end
    return None if at == started else at.timestamp()


def _end_of_one(windows: Sequence[FreezeWindow], at: datetime) -> datetime | None:
    day, minute = _DAYS[at.weekday()], f"{at:%H:%M}"
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    for window in windows:
        if day in window.days and window.start <= minute < window.end:
            hours, minutes = map(int, window.end.split(":"))
            return midnight + timedelta(hours=hours, minutes=minutes)
    return None
