"""What active checks say about one backend: unknown, healthy, unhealthy. When the next one is due."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Health", "HealthChange", "HealthPolicy", "HealthState"]

_SECOND_NS = 1_000_000_000


class HealthState(StrEnum):
    """What the checks so far say."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How often to check, and how many checks in a row change the state.

    Every 10 s and three failures as Kubernetes' probes (periodSeconds, failureThreshold); two successes as
    HAProxy's `rise 2`, so that one lucky answer is not enough.
    """

    interval_s: float = 10.0
    jitter: float = 0.1  # of the interval; each wait is longer or shorter by up to this share
    unhealthy_after: int = 3  # failures in a row
    healthy_after: int = 2  # successes in a row; the very first one counts at once

    def __post_init__(self) -> None:
        if self.interval_s <= 0 or not 0 <= self.jitter < 1:
            raise ValueError("`interval_s` is above 0, `jitter` is at least 0 and below 1")
        if self.unhealthy_after < 1 or self.healthy_after < 1:
            raise ValueError("thresholds are at least 1")

    def threshold(self, before: HealthState, after: HealthState) -> int:
        """How many equal results in a row lead from one state to another."""
        if after is HealthState.UNHEALTHY:
            return self.unhealthy_after
        return 1 if before is HealthState.UNKNOWN else self.healthy_after


# Where a check that passed or failed points to; the state itself: nothing to change.
_POINTS_TO: dict[bool, HealthState] = {True: HealthState.HEALTHY, False: HealthState.UNHEALTHY}


@dataclass(frozen=True, slots=True)
class HealthChange:
    """One step of the state, after so many equal results in a row."""

    before: HealthState
    after: HealthState
    results: int


class Health:
    """The checks of one backend. The first is due at a random moment of the first interval, so that they spread."""

    __slots__ = ("due_at_ns", "in_a_row", "passing", "policy", "state")

    def __init__(self, policy: HealthPolicy, now_ns: int, random: float) -> None:
        self.policy = policy
        self.state = HealthState.UNKNOWN
        self.passing = True  # the last result
        self.in_a_row = 0  # results equal to the last one
        self.due_at_ns = now_ns + int(policy.interval_s * random * _SECOND_NS)

    @property
    def usable(self) -> bool:
        """False when calls should go elsewhere. An unknown backend is usable: the breaker watches it."""
        return self.state is not HealthState.UNHEALTHY

    def record(self, passed: bool, now_ns: int, random: float) -> HealthChange | None:  # noqa: FBT001 - the result is the subject
        """Take note of a check's result and set when the next is due; `random` is evenly spread over [0, 1)."""
        policy = self.policy
        share = 1.0 + policy.jitter * (2.0 * random - 1.0)
        self.due_at_ns = now_ns + int(policy.interval_s * share * _SECOND_NS)
        self.in_a_row = self.in_a_row + 1 if passed == self.passing else 1
        self.passing = passed
        before, after = self.state, _POINTS_TO[passed]
        if after is before or self.in_a_row < policy.threshold(before, after):
            return None
        self.state = after
        return HealthChange(before, after, self.in_a_row)

    def explain(self) -> str:
        """A sentence for operators."""
        if self.in_a_row == 0:
            return "Not checked yet."
        checks = "check" if self.in_a_row == 1 else f"{self.in_a_row} checks"
        return f"{self.state.value.capitalize()}: the last {checks} {'passed' if self.passing else 'failed'}."
