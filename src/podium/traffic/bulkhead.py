"""A bound on the calls at one time to one provider account, so that a slow one cannot take all places."""

from enum import StrEnum

__all__ = ["Bulkhead", "BulkheadDecision"]


class BulkheadDecision(StrEnum):
    """Whether there was a place."""

    ENTERED = "entered"
    BULKHEAD_FULL = "bulkhead_full"

    @property
    def entered(self) -> bool:
        """True when a place was taken, which has to be left again."""
        return self is BulkheadDecision.ENTERED


class Bulkhead:
    """Places for at most `limit` calls at once; None: as many as come.

    The limit may be changed while calls run: those over a smaller one finish, and nobody enters meanwhile.
    """

    __slots__ = ("limit", "running")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.running = 0

    def try_enter(self) -> BulkheadDecision:
        """Take a place, if one is free; nobody waits."""
        if self.limit is not None and self.running >= self.limit:
            return BulkheadDecision.BULKHEAD_FULL
        self.running += 1
        return BulkheadDecision.ENTERED

    def leave(self) -> None:
        """Give a place back; once for each time that one was taken."""
        assert self.running > 0, "who leaves has entered"
        self.running -= 1
