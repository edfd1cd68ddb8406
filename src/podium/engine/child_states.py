"""The life of a supervised child as a table, and the wait before its restart. Pure."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["TABLE", "Backoff", "ChildState", "Occurrence", "Restarts", "next_state"]


class ChildState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"  # the process runs, its readiness is not seen yet
    READY = "ready"
    BACKING_OFF = "backing_off"  # no process; one will be started after a wait
    STOPPING = "stopping"  # the process was asked to end
    STOPPED = "stopped"  # ended as asked; for good
    FAILED = "failed"  # ended in a way that a restart cannot mend; for good


class Occurrence(StrEnum):
    """What can happen to a child."""

    ANSWERED = "answered"  # its readiness was seen
    EXITED = "exited"
    MISCONFIGURED = "misconfigured"  # exited with EX_CONFIG
    GAVE_UP = "gave_up"  # exited once too often without ever having been ready
    WAITED = "waited"  # the back-off is over
    STOP = "stop"  # it is to end


TABLE: dict[tuple[ChildState, Occurrence], ChildState] = {
    (ChildState.STARTING, Occurrence.ANSWERED): ChildState.READY,
    (ChildState.STARTING, Occurrence.EXITED): ChildState.BACKING_OFF,
    (ChildState.STARTING, Occurrence.MISCONFIGURED): ChildState.FAILED,
    (ChildState.STARTING, Occurrence.GAVE_UP): ChildState.FAILED,
    (ChildState.STARTING, Occurrence.STOP): ChildState.STOPPING,
    (ChildState.READY, Occurrence.EXITED): ChildState.BACKING_OFF,
    (ChildState.READY, Occurrence.MISCONFIGURED): ChildState.FAILED,
    (ChildState.READY, Occurrence.STOP): ChildState.STOPPING,
    (ChildState.BACKING_OFF, Occurrence.WAITED): ChildState.STARTING,
    (ChildState.BACKING_OFF, Occurrence.STOP): ChildState.STOPPED,
    (ChildState.STOPPING, Occurrence.EXITED): ChildState.STOPPED,
    (ChildState.STOPPING, Occurrence.MISCONFIGURED): ChildState.STOPPED,
    (ChildState.STOPPED, Occurrence.STOP): ChildState.STOPPED,
    (ChildState.FAILED, Occurrence.STOP): ChildState.FAILED,
}


def next_state(state: ChildState, occurrence: Occurrence) -> ChildState:
    """Where `occurrence` leads from `state`; KeyError when it cannot happen there."""
    return TABLE[state, occurrence]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before restarts."""

    min_s: float = 0.25
    max_s: float = 15.0
    stable_s: float = 60.0  # a process that ran this long starts again with the shortest wait
    first_attempts: int = 5  # an essential child that was never ready is given up after so many exits

    def wait_s(self, exits: int) -> float:
        """The wait after the `exits`-th exit in a row, counted from 1."""
        doublings = min(exits - 1, 60)  # beyond that a float would overflow long after `max_s` was reached
        return min(self.max_s, self.min_s * 2.0**doublings)


@dataclass(frozen=True, slots=True)
class Restarts:
    """What a child's exits so far mean for the next one."""

    in_a_row: int = 0
    was_ready: bool = False

    def answered(self) -> "Restarts":
        """After readiness was seen."""
        return Restarts(self.in_a_row, was_ready=True)

    def exited(self, ran_s: float, backoff: Backoff) -> "Restarts":
        """After an exit."""
        return Restarts(1 if ran_s >= backoff.stable_s else self.in_a_row + 1, self.was_ready)

    def hopeless(self, backoff: Backoff, *, essential: bool) -> bool:
        """Whether to give up."""
        return essential and not self.was_ready and self.in_a_row >= backoff.first_attempts
