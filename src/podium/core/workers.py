"""What the engine and the gateways of one machine tell each other about workers of registered versions.

One connection for each gateway, on the loopback interface; a line is a JSON object. The gateway begins with the key.
Then the engine tells all workers whenever one of them changes, and the gateway tells which of them it calls, and which
of them its callers wait for.
"""

from enum import StrEnum

import msgspec

__all__ = ["MAX_LINE", "EngineSays", "GatewaySays", "WorkerNews", "WorkerState"]

MAX_LINE = 4 * 1024 * 1024  # bytes


class WorkerState(StrEnum):
    """Where a worker is, as far as its callers have to know."""

    UNLOADED = "unloaded"  # a call loads it
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"  # it finishes what runs
    FAILING = "failing"  # it could not be loaded, or does not answer; it is tried again
    FAILED = "failed"  # it cannot be loaded; what is wrong has to be mended
    MISSING = "missing"  # its files are not on this machine

    @property
    def usable(self) -> bool:
        """Whether a call may be sent, or wait for it."""
        return self in _USABLE


_USABLE = frozenset({WorkerState.UNLOADED, WorkerState.LOADING, WorkerState.READY, WorkerState.UNLOADING})


class WorkerNews(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one moment."""

    name: str  # as backends name it
    state: WorkerState
    url: str = ""  # http://127.0.0.1:port; the same for as long as the engine runs
    reason: str = ""  # a sentence for operators; "" when there is nothing to say
    ready_in_s: float = 0.0  # about; 0 when it is ready, or nobody knows


class EngineSays(msgspec.Struct, frozen=True, kw_only=True):
    """All workers."""

    workers: tuple[WorkerNews, ...] = ()


class GatewaySays(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway does with them."""

    key: str = ""  # in the first line only
    running: dict[str, int] = {}  # calls under way now, by worker
    used: tuple[str, ...] = ()  # called since the last line
    wanted: tuple[str, ...] = ()  # callers wait for these
