"""Whether a call starts, waits or is shed, decided when it arrives.

Rules
1. Whoever comes while a place is free and nobody waits starts. Nobody overtakes the queue.
2. Who could not start in time is told so at once, from what stands before it and the measured drain rate. Who waits
   and turns out late, or has to make room, is told at that moment (`expire`, `Decision.displaced`). So the queue is
   as short as `max_wait_s` allows, and what is started is still wanted (Google, "Site Reliability Engineering",
   chapters 21 and 22; Maurer, "Fail at Scale", ACM Queue 2015: long queues serve only those who have given up).
3. When all that waits would take longer than `shed_lowest_at` of `max_wait_s`, the lowest class is not queued any
   more, so that the others keep the rest of the queue. A full queue is `FairQueue`'s rule 5.
4. `retry_after_s` is how long the pool needs for what stands before the caller: who comes back then and finds no
   new load, starts. Many are told the same; whoever writes the header should spread them.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from podium.traffic.queueing.drain_rate import DrainRate
from podium.traffic.queueing.fair_queue import LOWEST_RANK, Entry, FairQueue, QueuePolicy, ShedReason
from podium.traffic.queueing.saturation import Saturation

__all__ = ["Admission", "AdmissionPolicy", "Decision", "Shed", "Verdict"]

_SECOND_NS = 1_000_000_000
_CAREFUL = 1.25  # the expected wait is a mean: were no more than that left, half of the last in line would be too late


class Verdict(StrEnum):
    """What becomes of a call that arrives."""

    START = "start"
    QUEUE = "queue"
    SHED = "shed"


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """How long calls may wait, and what those that are shed are told."""

    queue: QueuePolicy = field(default_factory=QueuePolicy)
    max_wait_s: float = 10.0  # for anybody, whatever the deadline
    shed_lowest_at: float = 0.5  # rule 3, share of `max_wait_s`; above 1: never before the queue is full
    least_retry_s: float = 0.1
    most_retry_s: float = 60.0
    unknown_retry_s: float = 1.0  # as long as the drain rate is not known
    window_s: float = 10.0  # of the drain rate

    def __post_init__(self) -> None:
        if self.max_wait_s <= 0 or self.shed_lowest_at <= 0 or self.window_s <= 0:
            raise ValueError("waits, windows and shares are positive")
        if not 0 < self.least_retry_s <= self.unknown_retry_s <= self.most_retry_s:
            raise ValueError("retry times are positive, and the unknown one lies between the least and the most")


@dataclass(frozen=True, slots=True)
class Shed:
    """Who is not served, why, and when to come again."""

    entry: Entry
    reason: ShedReason
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one call, and of another one that made room for it."""

    verdict: Verdict
    shed: Shed | None = None  # with SHED
    wait_s: float | None = None  # with QUEUE: as expected; None: not known
    displaced: Shed | None = None  # with QUEUE: tell it


_START = Decision(Verdict.START)


class Admission:
    """Places and queue of one pool. For one event loop; `now_ns` is monotonic.

    Each start, whoever says it (`try_start`, `arrive`, `next`), is ended by one `leave`; after that, and after
    `resize`, call `next` until it has nothing more.
    """

    __slots__ = ("_busy", "_drain", "guess_per_s", "limit", "policy", "queue", "running", "saturation")

    def __init__(self, policy: AdmissionPolicy, limit: int, now_ns: int) -> None:
        self.policy = policy
        self.queue = FairQueue(policy.queue)
        self.saturation = Saturation(policy.max_wait_s, now_ns)
        self.limit = limit  # places; change it by `resize`
        self.running = 0
        self.guess_per_s: float | None = None  # the drain rate as it must be about, until it is measured
        self._drain = DrainRate(policy.window_s)
        self._busy = False
        self._look(now_ns)

    def try_start(self, now_ns: int) -> bool:
        """Take a place if one is free and nobody waits. The quick way: False means ask `arrive`."""
        running = self.running + 1
        if running > self.limit or self.queue.size:
            return False
        self.running = running
        if running == self.limit:
            self._look(now_ns)
        return True

    def arrive(self, entry: Entry, now_ns: int) -> Decision:
        """Start, queue or shed. A queued entry's `start_by_ns` is brought forward to `max_wait_s` from now."""
        if self.try_start(now_ns):
            return _START
        policy = self.policy
        entry.start_by_ns = min(entry.start_by_ns, now_ns + int(policy.max_wait_s * _SECOND_NS))
        rate = self.drain_per_s(now_ns)
        wait_s = None if rate is None else (self.queue.cost_before(entry) + entry.cost) / rate
        if now_ns + int((wait_s or 0.0) * _CAREFUL * _SECOND_NS) > entry.start_by_ns:
            return self._refuse(entry, ShedReason.CANNOT_START_IN_TIME, wait_s)
        if entry.rank == LOWEST_RANK and self.wait_s(now_ns) > policy.shed_lowest_at * policy.max_wait_s:
            return self._refuse(entry, ShedReason.SATURATED, wait_s)
        pushed = self.queue.push(entry, now_ns)
        if pushed.refused is not None:
            return self._refuse(entry, pushed.refused, wait_s)
        displaced = None if pushed.displaced is None else self._shed(pushed.displaced, ShedReason.DISPLACED, now_ns)
        return Decision(Verdict.QUEUE, None, wait_s, displaced)

    def leave(self, now_ns: int, cost: int = 1) -> None:
        """Give a place back. `cost`: the entry's."""
        assert self.running > 0, "who leaves has started"
        self._drain.finished(now_ns, cost)
        self.running -= 1
        if self._busy and not self.queue.size:
            self._look(now_ns)

    def next(self, now_ns: int) -> Entry | None:
        """The entry that takes a free place now; None: no place, or nobody waits."""
        if self.running >= self.limit:
            return None
        entry = self.queue.pop(now_ns) if self.queue.size else None
        if entry is not None:
            self.running += 1
        self._look(now_ns)
        return entry

    def expire(self, now_ns: int) -> list[Shed]:
        """Those that waited and can start no more; tell them. `queue.due_at_ns` says when to ask."""
        late = self.queue.expire(now_ns)
        self._look(now_ns)
        return [self._shed(entry, ShedReason.DEADLINE_PASSED, now_ns) for entry in late]

    def cancel(self, entry: Entry, now_ns: int) -> bool:
        """Forget an entry whose caller has gone; False: it has started or been shed already."""
        removed = self.queue.remove(entry)
        self._look(now_ns)
        return removed

    def resize(self, limit: int, now_ns: int) -> None:
        """Go on with another number of places, e.g. the sum of the backends' adaptive limits."""
        self.limit = limit
        self._look(now_ns)

    def wait_s(self, now_ns: int) -> float:
        """How long the pool needs for all that waits; a guess from how full the queue is until the rate is known."""
        if not self.queue.size:
            return 0.0
        rate = self.drain_per_s(now_ns)
        if rate is None:
            return self.policy.max_wait_s * self.queue.size / self.policy.queue.max_entries
        return self.queue.cost / rate

    def drain_per_s(self, now_ns: int) -> float | None:
        """Cost that the pool finishes in a second when it is fully used; None: not known, and no guess."""
        rate = self._drain.per_s(now_ns)
        return self.guess_per_s if rate is None else rate

    def observe(self, now_ns: int) -> float:
        """Bring `saturation` up to date; its figure of this moment. A few times a second is enough."""
        return self.saturation.observe(now_ns, in_flight=self.running, limit=self.limit, wait_s=self.wait_s(now_ns))

    def _look(self, now_ns: int) -> None:
        """Note whether the pool is fully used."""
        busy = bool(self.queue.size) or self.running >= self.limit
        if busy is self._busy:
            return
        self._busy = busy
        if busy:
            self._drain.busy(now_ns)
        else:
            self._drain.idle(now_ns)
            self.queue.rest()

    def _shed(self, entry: Entry, reason: ShedReason, now_ns: int) -> Shed:
        rate = self.drain_per_s(now_ns)
        wait_s = None if rate is None else (self.queue.cost_before(entry) + entry.cost) / rate
        return Shed(entry, reason, self._retry_s(wait_s))

    def _refuse(self, entry: Entry, reason: ShedReason, wait_s: float | None) -> Decision:
        return Decision(Verdict.SHED, Shed(entry, reason, self._retry_s(wait_s)))

    def _retry_s(self, wait_s: float | None) -> float:
        policy = self.policy
        wait_s = policy.unknown_retry_s if wait_s is None else wait_s
        return min(max(wait_s, policy.least_retry_s), policy.most_retry_s)
