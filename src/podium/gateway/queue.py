"""The queue before a pool, as callers wait in it. `podium.traffic.queueing` decides; here somebody sleeps and is woken.

Rules
1. A place is taken once for an exchange at a pool, before its first call there, and given back when it has its answer,
   has failed or goes on to another pool. Retries and second calls share it; a stream keeps it to its end.
2. While no backend of the pool takes calls there is no bound: waiting would not help, so callers are told, or go to
   another model, at once.
3. The places follow the backends: limits that find themselves, backends that go and come back. Who waits notices
   within `_LOOK_NS`; one timer a pool, and none while nobody waits.
4. One object a model. It outlives snapshots and changes of the version, whose calls run at the same backends.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from podium.core.clock import Clock
from podium.core.errors import Overloaded, PodiumError, RateLimited
from podium.core.reasons import Reason
from podium.core.serving import Queueing
from podium.gateway.turns import TurnTable
from podium.traffic.latency import LatencyWindow
from podium.traffic.queueing.admission import Admission, AdmissionPolicy, Shed, Verdict
from podium.traffic.queueing.fair_queue import Entry, Priority, QueuePolicy, ShedReason

__all__ = ["Capacity", "PoolQueue", "Turn", "shed_error"]

_LOOK_NS = 100_000_000
_TIMER_NS = 1_000_000  # timers of event loops are as fine as this, and what is due is due after its moment
_OBSERVE_NS = 250_000_000
_UNBOUNDED = 1 << 40  # places
_LEAST_SAMPLES = 10  # of service times
_TYPICAL_FOR_NS = 1_000_000_000  # how long a computed service time is used
_LEAST_SPREAD_S = 1.0  # `Retry-After` has whole seconds: less would not spread anybody


class Capacity(Protocol):
    """The pool behind a queue."""

    def places(self, now_ns: int) -> int | None:
        """Exchanges that it can serve at once; None: nobody takes calls."""


class Turn(Entry):
    """An exchange that waits. Its future gets None when it has a place, or why it is shed."""

    __slots__ = ("future", "started")

    future: "asyncio.Future[Shed | None]"

    def __init__(self, tenant: str, start_by_ns: int, priority: Priority = Priority.STANDARD, weight: int = 1) -> None:
        super().__init__(tenant, start_by_ns, priority, weight)
        self.started = False


class PoolQueue:
    """Places and queue of one model's pool. For one event loop; times are monotonic."""

    __slots__ = (
        "_admission",
        "_capacity",
        "_clock",
        "_look_at_ns",
        "_loop",
        "_observe_at_ns",
        "_queue",
        "_tenants_bounded",
        "_timer",
        "_times",
        "_typical_ns",
        "_typical_until_ns",
        "turns",
    )

    _clock: Clock  # of whoever began to wait first
    _loop: asyncio.AbstractEventLoop
    _capacity: Capacity
    _tenants_bounded: bool
    turns: TurnTable

    def __init__(self, spec: Queueing, capacity: Capacity, now_ns: int) -> None:
        self._admission = Admission(_policy(spec), 1, now_ns)  # places: as many as `_capacity` says, once it is asked
        self._queue = self._admission.queue
        self._times = LatencyWindow(now_ns)
        self._typical_ns = 0
        self._typical_until_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_ns = 0  # when the timer rings
        self._observe_at_ns = now_ns
        self.follow(spec, capacity, now_ns)

    def follow(self, spec: Queueing, capacity: Capacity, now_ns: int) -> None:
        """Go on under a changed spec and before another pool. Who waits goes on waiting."""
        policy = _policy(spec)
        self._admission.policy = policy
        self._queue.policy = policy.queue
        self._admission.saturation.bearable_wait_s = policy.max_wait_s
        self._capacity = capacity
        self._tenants_bounded = spec.max_per_tenant is not None
        self.turns = TurnTable(spec)
        if self._queue.size:
            self.look(now_ns)

    def try_enter(self, now_ns: int) -> bool:
        """Take a place if one is free and nobody waits; False: `wait` for one. Each place is given to `leave`."""
        self._resize(now_ns)
        return self._admission.try_start(now_ns)

    async def wait(
        self, turn: Turn, clock: Clock, loop: asyncio.AbstractEventLoop, random: Callable[[], float]
    ) -> None:
        """Wait for a place; Overloaded, RateLimited: there is none in time. Cancelled, it leaves nothing behind."""
        now_ns = clock.monotonic_ns()
        typical_ns = self.typical_ns(now_ns)
        if typical_ns:
            self._admission.guess_per_s = self._admission.limit * 1e9 / typical_ns
        decision = self._admission.arrive(turn, now_ns)
        if decision.verdict is Verdict.START:
            return
        if decision.shed is not None:
            raise self._error(decision.shed, random())
        self._clock, self._loop = clock, loop
        turn.future = loop.create_future()
        if decision.displaced is not None:
            _tell(decision.displaced)
        self._set_timer(now_ns)
        try:
            shed = await turn.future
        except BaseException:
            self._withdraw(turn, clock.monotonic_ns())
            raise
        if shed is not None:
            raise self._error(shed, random())

    def leave(self, now_ns: int, *, worked: bool = True, served_ns: int = 0) -> None:
        """Give a place back. `worked`: calls were made. `served_ns`: how long a success took; 0: it was none."""
        self._admission.leave(now_ns, int(worked))
        if served_ns:
            self._times.add(served_ns / 1e6, now_ns)
        if self._queue.size:
            self.look(now_ns)

    def look(self, now_ns: int) -> None:
        """Do what the backends' state and time bring about: places come and go, and some have waited for too long."""
        self._resize(now_ns)
        self._start_next(now_ns)
        for shed in self._admission.expire(now_ns):
            _tell(shed)

    def typical_ns(self, now_ns: int) -> int:
        """How long an exchange keeps its place: the median of the last minute or two; 0 when that is not known."""
        if now_ns >= self._typical_until_ns:
            self._typical_until_ns = now_ns + _TYPICAL_FOR_NS
            typical_ms = self._times.percentile_ms(0.5, now_ns)
            known = typical_ms is not None and self._times.count >= _LEAST_SAMPLES
            self._typical_ns = int(typical_ms * 1e6) if known and typical_ms is not None else 0
        return self._typical_ns

    # For those who watch.

    @property
    def running(self) -> int:
        """Places that are taken."""
        return self._admission.running

    @property
    def limit(self) -> int:
        """Places that there were when last looked; 0 while no backend takes calls."""
        limit = self._admission.limit
        return 0 if limit == _UNBOUNDED else limit

    def places(self, now_ns: int) -> int:
        """Places that there are; 0 while no backend takes calls."""
        self._resize(now_ns)
        return self.limit

    def waiting(self, priority: Priority) -> int:
        """How many of a class wait."""
        return self._queue.count(priority)

    def wait_s(self, now_ns: int) -> float:
        """How long the pool needs for all that waits."""
        return self._admission.wait_s(now_ns)

    def saturation(self, now_ns: int) -> float:
        """See podium.traffic.queueing.saturation; smoothed."""
        self._resize(now_ns)
        self._observe(now_ns)
        return self._admission.saturation.smoothed(now_ns)

    def _observe(self, now_ns: int) -> None:
        self._observe_at_ns = now_ns + _OBSERVE_NS
        self._admission.saturation.observe(now_ns, in_flight=self.running, limit=self.limit, wait_s=self.wait_s(now_ns))

    def _resize(self, now_ns: int) -> None:
        places = self._capacity.places(now_ns)
        limit = _UNBOUNDED if places is None else places
        if limit != self._admission.limit:
            self._admission.resize(limit, now_ns)
            self._start_next(now_ns)
        if now_ns >= self._observe_at_ns:
            self._observe(now_ns)

    def _start_next(self, now_ns: int) -> None:
        admission = self._admission
        while self._queue.size and (turn := admission.next(now_ns)) is not None:
            assert isinstance(turn, Turn)
            if turn.future.done():  # its caller has gone, and the task does not know it yet
                admission.leave(now_ns, 0)
            else:
                turn.started = True
                turn.future.set_result(None)

    def _error(self, shed: Shed, chance: float) -> PodiumError:
        if shed.reason is ShedReason.TENANT_QUEUE_FULL and not self._tenants_bounded:
            shed = replace(shed, reason=ShedReason.QUEUE_FULL)  # one tenant alone fills it, as it may
        return shed_error(shed, chance)

    def _withdraw(self, turn: Turn, now_ns: int) -> None:
        if turn.started:
            self.leave(now_ns, worked=False)
        else:
            self._admission.cancel(turn, now_ns)

    def _set_timer(self, now_ns: int) -> None:
        due_ns = self._queue.due_at_ns
        if due_ns is None:
            return
        at_ns = min(max(due_ns, now_ns) + _TIMER_NS, now_ns + _LOOK_NS)
        if self._timer is not None:
            if self._look_at_ns <= at_ns:
                return
            self._timer.cancel()
        self._look_at_ns = at_ns
        self._timer = self._loop.call_later((at_ns - now_ns) / 1e9, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_ns = self._clock.monotonic_ns()
        self.look(now_ns)
        self._set_timer(now_ns)


def _policy(spec: Queueing) -> AdmissionPolicy:
    return AdmissionPolicy(
        queue=QueuePolicy(spec.max_entries, spec.max_per_tenant or spec.max_entries),
        max_wait_s=spec.max_wait_s,
        shed_lowest_at=spec.shed_batch_at,
    )


def _tell(shed: Shed) -> None:
    turn = shed.entry
    assert isinstance(turn, Turn)
    if not turn.future.done():
        turn.future.set_result(shed)


_IN_TIME = "The model has too much to do to start this in time."
_SENTENCES = {
    ShedReason.QUEUE_FULL: "The model has too much to do, and its queue is full.",
    ShedReason.SATURATED: "The model has too much to do for requests of the class batch.",
    ShedReason.DISPLACED: "The model has too much to do; another request took this one's place in the queue.",
}


def shed_error(shed: Shed, chance: float) -> PodiumError:
    """What the caller is told. `chance`, 0 to 1, spreads those who are told the same over half as long again."""
    retry_after_s = shed.retry_after_s + chance * max(shed.retry_after_s / 2, _LEAST_SPREAD_S)
    if shed.reason is ShedReason.TENANT_QUEUE_FULL:
        return RateLimited(
            "Too many requests of this tenant wait for the model.",
            reason=Reason.TENANT_QUEUE_FULL,
            retry_after_s=retry_after_s,
        )
    late = shed.reason in (ShedReason.CANNOT_START_IN_TIME, ShedReason.DEADLINE_PASSED)
    return Overloaded(
        _IN_TIME if late else _SENTENCES[shed.reason],
        reason=Reason.CANNOT_START_IN_TIME if late else Reason.OVERLOADED,
        retry_after_s=retry_after_s,
        hint="Add backends or places, or see docs/queueing.md.",
    )
