"""Passive ejection of the odd ones out of a pool, as in Envoy.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier

Rules
1. A backend is ejected at once when it fails so often in a row, and at a sweep when its share of successes lies
   far below what is usual in this pool.
2. Never more than `max_ejected_share` of the pool is out, and never all of it: a pool that fails as a whole has no
   outliers. When the pool shrinks, those that would have come back first come back now.
3. Each ejection is longer than the one before, up to a limit; each sweep without a need for one takes that back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import floor, sqrt

from podium.traffic.breaker import CallResult

__all__ = ["OutlierAction", "OutlierChange", "OutlierPolicy", "OutlierReason", "Outliers"]

_SECOND_NS = 1_000_000_000


class OutlierAction(StrEnum):
    """What to do with a backend."""

    EJECT = "eject"
    RETURN = "return"


class OutlierReason(StrEnum):
    """Why."""

    CONSECUTIVE = "consecutive"
    SUCCESS_RATE = "success_rate"
    TIME_OVER = "time_over"
    POOL_SHRANK = "pool_shrank"


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """What makes an outlier.

    Envoy's defaults: 5 failures in a row, 30 s at first and 300 s at most, 1.9 standard deviations among at least
    5 backends (with fewer, none can lie that far out). Two differ, because pools of models are small and
    their calls few and long: half of the pool instead of a tenth, and 20 calls in 30 s instead of 100 in 10 s.
    """

    consecutive_failures: int = 5
    interval_s: float = 30.0  # between sweeps; success rates are counted from one to the next
    base_ejection_s: float = 30.0  # times how often it was ejected
    max_ejection_s: float = 300.0
    max_ejected_share: float = 0.5  # rounded down
    minimum_backends: int = 5  # with enough calls to compare their success rates
    minimum_calls: int = 20
    deviations: float = 1.9  # below the mean
    minimum_gap: float = 0.05  # below the mean too: among very even backends a hair is many deviations

    def __post_init__(self) -> None:
        if min(self.consecutive_failures, self.minimum_backends, self.minimum_calls) < 1:
            raise ValueError("counts are at least 1")
        if self.interval_s <= 0 or not 0 < self.base_ejection_s <= self.max_ejection_s:
            raise ValueError("times are positive, and `base_ejection_s` is at most `max_ejection_s`")
        if not 0 <= self.max_ejected_share <= 1 or min(self.deviations, self.minimum_gap) < 0:
            raise ValueError("`max_ejected_share` lies between 0 and 1, and no distance is negative")

    def places(self, backends: int) -> int:
        """How many of a pool of this size may be out."""
        return max(0, min(floor(self.max_ejected_share * backends), backends - 1))


@dataclass(frozen=True, slots=True)
class OutlierChange:
    """One backend to eject or to return."""

    backend: str
    action: OutlierAction
    why: OutlierReason
    until_ns: int | None  # the end of an ejection


class _Watched:
    """What is known of one backend."""

    __slots__ = ("calls", "in_a_row", "successes", "times", "until_ns", "why")

    def __init__(self) -> None:
        self.calls = 0  # since the last sweep
        self.successes = 0
        self.in_a_row = 0  # failures
        self.times = 0  # ejected, less the calm sweeps since
        self.until_ns: int | None = None  # None: in the pool
        self.why = OutlierReason.CONSECUTIVE


class Outliers:
    """One pool's outliers. `now_ns` is monotonic.

    The caller takes each change to heart: `ejected` and what was returned say the same.
    """

    __slots__ = ("_backends", "_ejected", "_swept_at_ns", "policy")

    def __init__(self, policy: OutlierPolicy, backends: Iterable[str], now_ns: int) -> None:
        self.policy = policy
        self._backends = {backend: _Watched() for backend in backends}
        self._ejected = 0
        self._swept_at_ns = now_ns

    def ejected(self, backend: str) -> bool:
        """True when calls should go elsewhere; an unknown backend is not ejected."""
        watched = self._backends.get(backend)
        return watched is not None and watched.until_ns is not None

    @property
    def due_at_ns(self) -> int:
        """When `sweep` has something to do."""
        sweep_ns = self._swept_at_ns + int(self.policy.interval_s * _SECOND_NS)
        if not self._ejected:
            return sweep_ns
        return min(sweep_ns, *(end for each in self._backends.values() if (end := each.until_ns) is not None))

    def set_backends(self, backends: Iterable[str]) -> list[OutlierChange]:
        """Go on with another pool: what stays keeps its record. Returns whom a smaller pool has to take back."""
        known = self._backends
        self._backends = {backend: known.get(backend) or _Watched() for backend in backends}
        out = [(end, name) for name, each in self._backends.items() if (end := each.until_ns) is not None]
        self._ejected = len(out)
        too_many = self._ejected - self.policy.places(len(self._backends))
        return [self._return(name, OutlierReason.POOL_SHRANK) for _, name in sorted(out)[: max(0, too_many)]]

    def record(self, backend: str, result: CallResult, now_ns: int) -> OutlierChange | None:
        """Take note of a finished call; the ejection that follows from it, if any."""
        watched = self._backends.get(backend)
        if watched is None or result is CallResult.RATE_LIMITED:
            return None
        watched.calls += 1
        if result is not CallResult.FAILED:
            watched.successes += 1
            watched.in_a_row = 0
            return None
        watched.in_a_row += 1
        if watched.in_a_row < self.policy.consecutive_failures:
            return None
        return self._eject(backend, OutlierReason.CONSECUTIVE, now_ns)

    def sweep(self, now_ns: int) -> list[OutlierChange]:
        """Return those whose time is over and, once an interval, eject those that succeed too seldom."""
        calm = [watched for watched in self._backends.values() if watched.until_ns is None]
        changes = [
            self._return(backend, OutlierReason.TIME_OVER)
            for backend, watched in self._backends.items()
            if watched.until_ns is not None and watched.until_ns <= now_ns
        ]
        if now_ns - self._swept_at_ns >= self.policy.interval_s * _SECOND_NS:
            self._swept_at_ns = now_ns
            ejections = [self._eject(backend, OutlierReason.SUCCESS_RATE, now_ns) for backend in self._worst_first()]
            changes.extend(change for change in ejections if change is not None)
            for watched in calm:
                if watched.until_ns is None and watched.times:
                    watched.times -= 1
            for watched in self._backends.values():
                watched.calls = watched.successes = 0
        return changes

    def explain(self, backend: str, now_ns: int) -> str:
        """A sentence for operators."""
        watched = self._backends.get(backend)
        if watched is None:
            return "Not in the pool."
        if watched.until_ns is not None:
            why = {
                OutlierReason.CONSECUTIVE: f"{self.policy.consecutive_failures} calls in a row failed",
                OutlierReason.SUCCESS_RATE: "it fails more often than the other backends",
            }[watched.why]
            left_s = max(0, watched.until_ns - now_ns) / _SECOND_NS
            return f"Ejected for {left_s:.1f} s more, because {why}."
        if watched.in_a_row >= self.policy.consecutive_failures:
            places = self.policy.places(len(self._backends))
            return f"Kept although {watched.in_a_row} calls in a row failed: at most {places} of the pool may be out."
        return f"In the pool: {watched.successes} of {watched.calls} calls succeeded since the last sweep."

    def _worst_first(self) -> list[str]:
        """Backends whose success rate lies too far below the mean of all that have one."""
        policy = self.policy
        rates = {
            backend: watched.successes / watched.calls
            for backend, watched in self._backends.items()
            if watched.until_ns is None and watched.calls >= policy.minimum_calls
        }
        if len(rates) < policy.minimum_backends:
            return []
        mean = sum(rates.values()) / len(rates)
        deviation = sqrt(sum((rate - mean) ** 2 for rate in rates.values()) / len(rates))
        bound = mean - max(policy.deviations * deviation, policy.minimum_gap)
        return sorted((backend for backend, rate in rates.items() if rate < bound), key=rates.__getitem__)

    def _eject(self, backend: str, why: OutlierReason, now_ns: int) -> OutlierChange | None:
        """None when it is out already, or no more may be."""
        watched, policy = self._backends[backend], self.policy
        if watched.until_ns is not None or self._ejected >= policy.places(len(self._backends)):
            return None
        self._ejected += 1
        watched.times += 1
        watched.why = why
        length_s = min(policy.base_ejection_s * watched.times, policy.max_ejection_s)
        watched.until_ns = now_ns + int(length_s * _SECOND_NS)
        return OutlierChange(backend, OutlierAction.EJECT, why, watched.until_ns)

    def _return(self, backend: str, why: OutlierReason) -> OutlierChange:
        watched = self._backends[backend]
        self._ejected -= 1
        watched.until_ns = None
        watched.in_a_row = 0  # it starts anew
        return OutlierChange(backend, OutlierAction.RETURN, why, None)
