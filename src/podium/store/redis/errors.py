"""Why the shared store gave no answer."""

from enum import StrEnum

from podium.core.errors import Unavailable

__all__ = ["StoreTrouble", "StoreUnavailable"]


class StoreTrouble(StrEnum):
    """What kept a call from its answer; metrics and logs show the same word."""

    DOWN = "down"  # known to be down: nothing was sent
    UNUSABLE = "unusable"  # it answers, but forbids what is needed: nothing was sent
    BUSY = "busy"  # our own queue was full, or the call's turn did not come in time: nothing was sent
    TIMEOUT = "timeout"  # sent; whether it was executed is not known
    BROKEN = "broken"  # the connection broke or could not be opened; whether it was executed is not known
    REFUSED = "refused"  # the server answered that it cannot: loading, read-only, out of memory, disk full


class StoreUnavailable(Unavailable):
    """The shared store gave no answer, for the reason in `trouble`. Only BUSY says nothing about its health."""

    def __init__(self, trouble: StoreTrouble, sentence: str = "") -> None:
        super().__init__("The shared store cannot be reached.", hint=f"redis: {sentence or trouble}", retry_after_s=1.0)
        self.trouble = trouble

    @property
    def in_doubt(self) -> bool:
        """True when the call may have been executed all the same."""
        return self.trouble in {StoreTrouble.TIMEOUT, StoreTrouble.BROKEN}
