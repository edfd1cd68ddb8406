"""How often flags gave what, and when last: for the page of metrics, and for the report of stale flags."""

from collections.abc import Iterable

from podium.core.standings import FlagAsker, FlagUse
from podium.delivery.flags.values import Evaluation

__all__ = ["OTHER", "FlagCounts"]

OTHER = "other"
_MAX = 20_000  # of flags, variants and askers, together: callers cannot make any, operators may


class FlagCounts:
    """One object a gateway process; it outlives snapshots."""

    def __init__(self, unix_s: float) -> None:
        self.since_unix_s = unix_s
        self._requests: dict[int, int] = {}
        self._counts: dict[tuple[str, str, FlagAsker], int] = {}
        self._last_unix_s: dict[tuple[str, str, FlagAsker], float] = {}

    def count(self, flag: str, evaluation: Evaluation, asker: FlagAsker, unix_s: float) -> None:
        """Take note of one evaluation of a flag that is declared; an error counts as variant ""."""
        key = flag, evaluation.variant, asker
        counts = self._counts
        if key not in counts and len(counts) >= _MAX:
            key = OTHER, "", asker
        counts[key] = counts.get(key, 0) + 1
        self._last_unix_s[key] = unix_s

    def request(self, status: int) -> None:
        """Take note of one answer to a client."""
        self._requests[status] = self._requests.get(status, 0) + 1

    def requests(self) -> dict[tuple[str, ...], float]:
        """Answers to clients by their status."""
        return {(str(status),): float(count) for status, count in self._requests.items()}

    def asked_again(self, flags: Iterable[str], unix_s: float) -> None:
        """Somebody asked for all of these, and has what they give already."""
        wanted = set(flags)
        for key in self._last_unix_s:
            if key[2] == "ofrep_all" and key[0] in wanted:
                self._last_unix_s[key] = unix_s

    def uses(self) -> tuple[FlagUse, ...]:
        """All of it."""
        last = self._last_unix_s
        return tuple(
            FlagUse(flag=flag, variant=variant, asker=asker, count=count, last_unix_s=last[flag, variant, asker])
            for (flag, variant, asker), count in self._counts.items()
        )

    def totals(self) -> dict[tuple[str, ...], float]:
        """Evaluations by flag, variant and asker."""
        return {key: float(count) for key, count in self._counts.items()}
