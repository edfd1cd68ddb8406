"""Events added up, a batch at a time: what the ledger keeps of a rollout instead of its exchanges.

Sums are kept by subject, for the statistics need to know how subjects differ, but not by each of a million of them:
subjects are put into `CLUSTERS` groups by a hash. Variances stay valid, because groups of independent subjects are
independent of each other too, and that is all that a variance by clusters asks for; what is lost is only how sure the
variance is (512 groups: to some 3%). Groups are the same in all spans, so that a subject's totals meet in one.

Rows are by backend too. An arm's totals are those of its backends together, and one that was taken out can be left out.

A span is a step of a run: it begins when its step did. An exchange belongs to the last span that had begun 2 s before
it, because gateways need so long to hear of a step, and until then go by the shares before; in the first span to that.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple
from zlib import crc32

from podium.core.event import Event
from podium.core.reasons import Fault, Reason
from podium.delivery.analysis.measures import INDEX, MEASURES, answered_elsewhere, calls_of, measures_of

__all__ = [
    "CLUSTERS",
    "COUNTS",
    "SETTLING_US",
    "WIDTH",
    "ArmKey",
    "ArmTotals",
    "CellKey",
    "MinuteKey",
    "Tally",
    "TimeKey",
    "bucket_ms",
    "cluster_of",
    "own_backend",
    "span_of",
    "span_us",
]

CLUSTERS: Final = 512
WIDTH: Final = 1 + 2 * len(MEASURES)  # exposures, then y and x of each measure
_FAILURE, _WAIT = INDEX["call_failure_rate"], INDEX["call_wait_ms"]
_TIMED: Final = (INDEX["ttft_ms"], INDEX["duration_ms"])
_STEPS_A_DECADE = 20  # of histograms: each bucket is 12% wide
_HIGHEST_BUCKET = 8 * _STEPS_A_DECADE  # a day and more
_MINUTE_NS = 60 * 10**9
SETTLING_US: Final = 2_000_000  # that gateways need to hear of a step

# Of an arm; what they are is said in `Tally.add`.
COUNTS: Final = ("exchanges", "callers_faults", "callers_gone", "uncalled", "retried", "hedged", "fallen_back")


class CellKey(NamedTuple):
    """A group of subjects at one backend."""

    rollout: str
    span_us: int
    arm: str
    backend: str
    cluster: int


class MinuteKey(NamedTuple):
    """An arm in one minute."""

    rollout: str
    span_us: int
    arm: str
    minute_unix_s: int


class ArmKey(NamedTuple):
    """An arm in one span."""

    rollout: str
    span_us: int
    arm: str


class TimeKey(NamedTuple):
    """One bucket of a histogram of times."""

    rollout: str
    span_us: int
    arm: str
    measure: str
    bucket: int


class ArmTotals:
    """What is known of an arm besides its measures."""

    __slots__ = ("counts", "first_unix_ns", "last_unix_ns", "version")

    def __init__(self) -> None:
        self.version = ""
        self.first_unix_ns = 2**62
        self.last_unix_ns = 0
        self.counts = [0] * len(COUNTS)

    @property
    def row(self) -> tuple[str | int, ...]:
        """Version, times of the first and the last exchange, counts."""
        return (self.version, self.first_unix_ns, self.last_unix_ns, *self.counts)


class Tally:
    """Sums of a batch; rows to be added to those that are stored."""

    __slots__ = ("arms", "cells", "minutes", "times")

    def __init__(self) -> None:
        self.cells: dict[CellKey, list[float]] = {}
        self.minutes: dict[MinuteKey, list[float]] = {}
        self.arms: dict[ArmKey, ArmTotals] = {}
        self.times: dict[TimeKey, int] = {}

    def add(self, event: Event, span: int) -> None:
        """Count an exchange that is analysed (see `measures.is_analysed`)."""
        elsewhere = answered_elsewhere(event)
        self._count(event, span, elsewhere=elsewhere)
        rollout, arm, cluster = event.rollout, event.arm, cluster_of(event.subject)
        backend = own_backend(event)
        cell = self._cell(CellKey(rollout, span, arm, backend, cluster))
        minute = self._minute(MinuteKey(rollout, span, arm, event.started_unix_ns // _MINUTE_NS * 60))
        cell[0] += 1
        minute[0] += 1
        for measure, y, x in measures_of(event):
            at = 2 * measure + 1
            cell[at] += y
            cell[at + 1] += x
            minute[at] += y
            minute[at + 1] += x
            if measure in _TIMED:
                time = TimeKey(rollout, span, arm, MEASURES[measure], _bucket(y))
                self.times[time] = self.times.get(time, 0) + 1
        for call in calls_of(event):
            row = cell if call.backend == backend else self._cell(CellKey(rollout, span, arm, call.backend, cluster))
            row[2 * _FAILURE + 1] += call.failed
            row[2 * _FAILURE + 2] += 1
            if call.wait_ms is not None:
                row[2 * _WAIT + 1] += log(call.wait_ms)
                row[2 * _WAIT + 2] += 1

    def add_opinion(self, event: Event, span: int, measure: str, value: float) -> None:
        """Count what somebody thinks of an exchange that is counted already: a user, or a judge."""
        at = 2 * INDEX[measure] + 1
        key = CellKey(event.rollout, span, event.arm, own_backend(event), cluster_of(event.subject))
        minute = MinuteKey(event.rollout, span, event.arm, event.started_unix_ns // _MINUTE_NS * 60)
        for row in (self._cell(key), self._minute(minute)):
            row[at] += value
            row[at + 1] += 1

    def _cell(self, key: CellKey) -> list[float]:
        row = self.cells.get(key)
        if row is None:
            row = self.cells[key] = [0.0] * WIDTH
        return row

    def _minute(self, key: MinuteKey) -> list[float]:
        row = self.minutes.get(key)
        if row is None:
            row = self.minutes[key] = [0.0] * WIDTH
        return row

    def _count(self, event: Event, span: int, *, elsewhere: bool) -> None:
        key = ArmKey(event.rollout, span, event.arm)
        arm = self.arms.get(key)
        if arm is None:
            arm = self.arms[key] = ArmTotals()
        if not elsewhere:
            arm.version = event.version or arm.version
        arm.first_unix_ns = min(arm.first_unix_ns, event.started_unix_ns)
        arm.last_unix_ns = max(arm.last_unix_ns, event.started_unix_ns)
        gone = event.reason == Reason.CLIENT_GONE
        rejected = event.reason == Reason.UPSTREAM_REJECTED
        counts = arm.counts
        counts[0] += 1
        counts[1] += event.fault == Fault.CALLER and not gone and not rejected
        counts[2] += gone
        counts[3] += event.reason == Reason.OK and not event.attempts
        counts[4] += any(call.kind == "retry" for call in event.trail)
        counts[5] += event.hedges > 0
        counts[6] += elsewhere


def cluster_of(subject: str) -> int:
    """The group of a subject. `subject` is a keyed hash already, so nobody can choose it."""
    return crc32(subject.encode()) % CLUSTERS


def own_backend(event: Event) -> str:
    """The backend of the arm's version that answered, or was tried last; "" when there was none."""
    if not answered_elsewhere(event):
        return event.backend
    return next((call.backend for call in reversed(event.trail) if call.model == event.model), "")


def span_us(unix_s: float) -> int:
    """The name of the span that began then."""
    return round(unix_s * 1e6)


def span_of(started_unix_ns: int, spans: Sequence[int]) -> int | None:
    """Which of the spans (rising) an exchange belongs to; None when it began before all of them."""
    started_us = started_unix_ns // 1000
    position = bisect_right(spans, started_us)
    if position > 1 and started_us < spans[position - 1] + SETTLING_US:
        position -= 1
    return spans[position - 1] if position else None


def _bucket(log_ms: float) -> int:
    return max(0, min(int(log_ms / log(10) * _STEPS_A_DECADE), _HIGHEST_BUCKET))


def bucket_ms(bucket: int) -> tuple[float, float]:
    """Bounds of a histogram's bucket, milliseconds."""
    return 10 ** (bucket / _STEPS_A_DECADE), 10 ** ((bucket + 1) / _STEPS_A_DECADE)
