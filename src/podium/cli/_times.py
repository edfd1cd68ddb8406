"""Times as people write and read them."""

import re
from datetime import UTC, datetime, timedelta

from podium.core.errors import OperatorError

__all__ = ["duration_s", "moment", "moment_text"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_S = 100 * 366 * 86_400


def duration_s(text: str, option: str) -> float:
    """Seconds of `90s`, `15m`, `24h`, `7d`, `2w`, or `0`."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else -1.0
    if not 0 <= seconds <= _LONGEST_S:
        raise OperatorError(f"{option}: {text!r} is not a duration.", hint="Durations are 90s, 15m, 24h, 7d or 2w.")
    return seconds


def moment(text: str, option: str, now: datetime) -> float:
    """Seconds since 1970 of `2026-03-01`, `2026-03-01T12:00:00Z` or, counted back from `now`, of `7d`.

    Without a time zone it is UTC, as the days of the ledger are.
    """
    if _DURATION.fullmatch(text.strip()):
        return (now - timedelta(seconds=duration_s(text, option))).timestamp()
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise OperatorError(
            f"{option}: {text!r} is not a time.", hint="Times are 2026-03-01, 2026-03-01T12:00:00Z, or 7d ago as 7d."
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def moment_text(unix_s: float | None) -> str:
    """`2026-03-01 12:00:00Z`; nothing for None."""
    if unix_s is None:
        return ""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%SZ}"
