"""A circuit breaker for one backend or one provider account: closed, open, half-open.

Rules
1. Everything that changes the state is a row of `TRANSITIONS`.
2. Only the backend's own failures count. A caller's fault is a success of the backend; a 429 says nothing about
   it (that is `account_backoff`'s matter), nor does a call whose caller has gone (`Breaker.abandon`).
3. Closed: results are counted in a sliding window of ten buckets. Open: nothing passes. Half-open: a few probes
   pass; results of calls that began before it opened come too late and change nothing.
4. A probe holds its place for at most `probe_lease_s`, so one that never reports blocks nobody for ever.
5. Opening again soon after closing doubles the time open: a backend that only passes probes is no use. Once it
   stayed closed as long as it was open, and at least one window, that is forgotten.
6. What another gateway found out (`Breaker.hear`) weighs as the failures of one window. If that does not open it, it
   leaves no trace. Own probes outweigh it: for one window after they have closed it, no word is believed.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from podium.core.reasons import Reason

__all__ = [
    "TRANSITIONS",
    "Admission",
    "Breaker",
    "BreakerCause",
    "BreakerChange",
    "BreakerPolicy",
    "BreakerState",
    "CallResult",
    "call_result",
]

_BUCKETS = 10
_SECOND_NS = 1_000_000_000


class CallResult(StrEnum):
    """What a finished call says about the backend."""

    OK = "ok"
    CALLER_FAULT = "caller_fault"  # it answered, and rightly refused
    RATE_LIMITED = "rate_limited"  # says nothing about its health
    FAILED = "failed"


_RESULTS: dict[Reason, CallResult] = {
    Reason.OK: CallResult.OK,
    Reason.UPSTREAM_REJECTED: CallResult.CALLER_FAULT,
    Reason.UPSTREAM_RATE_LIMITED: CallResult.RATE_LIMITED,
    Reason.UPSTREAM_UNREACHABLE: CallResult.FAILED,
    Reason.UPSTREAM_TIMEOUT: CallResult.FAILED,
    Reason.UPSTREAM_BROKEN: CallResult.FAILED,
    Reason.UPSTREAM_INVALID: CallResult.FAILED,
    Reason.UPSTREAM_ERROR: CallResult.FAILED,
}


def call_result(reason: Reason) -> CallResult | None:
    """What a call that ended with this reason says about its backend; None: nothing, abandon it."""
    return _RESULTS.get(reason)


class BreakerState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerCause(StrEnum):
    """Why the state changed."""

    FAILURE_RATE = "failure_rate"
    SLOW_RATE = "slow_rate"
    CONSECUTIVE = "consecutive"
    HEARD = "heard"  # from another gateway
    WAITED = "waited"
    PROBE_FAILED = "probe_failed"
    PROBE_SLOW = "probe_slow"
    PROBES_PASSED = "probes_passed"


TRANSITIONS: dict[tuple[BreakerState, BreakerCause], BreakerState] = {
    (BreakerState.CLOSED, BreakerCause.FAILURE_RATE): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerCause.SLOW_RATE): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerCause.CONSECUTIVE): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerCause.HEARD): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerCause.WAITED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerCause.PROBE_FAILED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerCause.PROBE_SLOW): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerCause.PROBES_PASSED): BreakerState.CLOSED,
}


class Admission(StrEnum):
    """Whether a call may be made now."""

    ALLOWED = "allowed"
    PROBE = "probe"  # allowed; its result decides about the others, so report it with `probe=True`
    OPEN = "open"
    PROBES_BUSY = "probes_busy"

    @property
    def allowed(self) -> bool:
        """True for both kinds of yes."""
        return self is Admission.ALLOWED or self is Admission.PROBE


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, for how long, and what it takes to close.

    Defaults: half of the calls failing, and 5 s open, as Hystrix (errorThresholdPercentage 50,
    sleepWindowInMilliseconds 5000); five failures in a row, and 300 s at most, as Envoy's outlier detection
    (consecutive_5xx 5, max_ejection_time 300s); a slow-call rate of 100 % as resilience4j
    (slowCallRateThreshold). Model calls are fewer and longer than what those were made for, hence a window of
    30 s with 10 calls (Hystrix: 10 s with 20), and slow calls are off until somebody says what is slow.
    """

    window_s: float = 30.0
    minimum_calls: int = 10  # fewer in the window say nothing about rates
    failure_rate: float = 0.5  # opens at this share of failed calls
    slow_call_ms: float | None = None  # a longer call is slow; None: none is
    slow_call_rate: float = 1.0  # opens at this share of slow calls
    consecutive_failures: int | None = 5  # opens at so many in a row, however few calls; None: off
    open_s: float = 5.0  # the first time; doubles
    max_open_s: float = 300.0
    probes: int = 1  # at once, half-open
    probe_successes: int = 2  # that close it
    probe_lease_s: float = 60.0

    def __post_init__(self) -> None:
        if not (0 < self.failure_rate <= 1 and 0 < self.slow_call_rate <= 1):
            raise ValueError("rates are above 0 and at most 1")
        if min(self.minimum_calls, self.probes, self.probe_successes) < 1:
            raise ValueError("counts are at least 1")
        if self.consecutive_failures is not None and self.consecutive_failures < 1:
            raise ValueError("counts are at least 1")
        if self.window_s < 0.01 or self.probe_lease_s <= 0 or not 0 < self.open_s <= self.max_open_s:  # noqa: PLR2004 - 1 ms a bucket
            raise ValueError("times are positive, and `open_s` is at most `max_open_s`")


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """One step of the state."""

    before: BreakerState
    after: BreakerState
    why: BreakerCause
    at_ns: int

    @property
    def found_out(self) -> bool:
        """True when it opened on calls of our own: what others have not heard yet."""
        return self.before is BreakerState.CLOSED and self.why is not BreakerCause.HEARD


class Breaker:
    """One breaker. For one event loop; `now_ns` is monotonic, and a step back counts as no time."""

    __slots__ = (
        "_bucket",
        "_bucket_ns",
        "_calls",
        "_closed",
        "_closed_at_ns",
        "_failures",
        "_in_a_row",
        "_leases",
        "_marks",
        "_open_ns",
        "_passed",
        "_ring",
        "_sentence",
        "_slow",
        "_slow_ms",
        "_until_ns",
        "change",
        "policy",
        "state",
    )

    _in_a_row: int  # failures up to the last call, closed

    def __init__(self, policy: BreakerPolicy, now_ns: int) -> None:
        self.policy = policy
        self.state = BreakerState.CLOSED  # as of the last call of `admit` or `record`
        self.change: BreakerChange | None = None  # the last one
        self._closed = True  # the state once more: quicker to ask
        self._slow_ms = float("inf") if policy.slow_call_ms is None else policy.slow_call_ms
        self._bucket_ns = int(policy.window_s * _SECOND_NS) // _BUCKETS
        self._closed_at_ns = now_ns
        self._open_ns = 0  # how long it was open the last time, until probed; 0: forgotten
        self._until_ns = 0  # the end of the time open
        self._sentence = ""  # why it opened, with the figures of that moment
        self._leases: deque[int] = deque()  # when each running probe loses its place; rising
        self._passed = 0  # probes
        self._clear(now_ns)

    def admit(self, now_ns: int) -> Admission:
        """Whether a call may be made; a PROBE takes a place until it is recorded or abandoned."""
        if self._closed:
            return Admission.ALLOWED
        if self.state is BreakerState.OPEN and now_ns >= self._until_ns:
            self._step(BreakerCause.WAITED, now_ns)
        admission = self.would_admit(now_ns)
        if admission is Admission.PROBE:
            self._drop_expired(now_ns)
            self._leases.append(now_ns + int(self.policy.probe_lease_s * _SECOND_NS))
        return admission

    def would_admit(self, now_ns: int) -> Admission:
        """What `admit` would say; changes nothing."""
        if self._closed:
            return Admission.ALLOWED
        if self.state is BreakerState.OPEN:
            return Admission.OPEN if now_ns < self._until_ns else Admission.PROBE
        running = sum(1 for lease in self._leases if lease > now_ns)
        return Admission.PROBE if running < self.policy.probes else Admission.PROBES_BUSY

    def record(self, result: CallResult, duration_ms: float, now_ns: int, *, probe: bool) -> BreakerChange | None:
        """Take note of a finished call; the change of state that it made, if any.

        `duration_ms`: what a slow call is slow in, the same measure for all calls (to the first content, say).
        `probe`: it was admitted as one.
        """
        if result is CallResult.RATE_LIMITED:
            self.abandon(probe=probe)
            return None
        if not self._closed:
            return self._record_probe(result, duration_ms, now_ns) if probe else None
        bucket = now_ns // self._bucket_ns
        if bucket > self._bucket:
            self._advance(bucket)
        self._calls += 1
        if duration_ms > self._slow_ms:
            self._slow += 1
        if result is CallResult.FAILED:
            self._failures += 1
            self._in_a_row += 1
        else:
            self._in_a_row = 0
        if not (self._failures or self._slow):
            return None
        cause = self._cause_to_open()
        return None if cause is None else self._step(cause, now_ns)

    def hear(self, now_ns: int) -> BreakerChange | None:
        """Take note that the breaker of another gateway opened on its calls; the change, when that is believed."""
        if not self._closed:
            return None
        policy = self.policy
        if self.change is not None and now_ns - self._closed_at_ns < policy.window_s * _SECOND_NS:
            return None
        if policy.consecutive_failures is None:
            self._advance(max(self._bucket, now_ns // self._bucket_ns))
            told = policy.minimum_calls  # failures
            if self._failures + told < policy.failure_rate * (self._calls + told):
                return None
        self._sentence = "another gateway found it out of order"
        return self._step(BreakerCause.HEARD, now_ns)

    def abandon(self, *, probe: bool) -> None:
        """Forget a call whose end says nothing about the backend, and free its place if it was a probe."""
        if probe and self._leases:
            self._leases.popleft()

    @property
    def half_open_at_ns(self) -> int | None:
        """When an open breaker lets a probe through; None when it is not open."""
        return self._until_ns if self.state is BreakerState.OPEN else None

    @property
    def changes_at_ns(self) -> int | None:
        """When time alone may turn a no into a yes; None when it is no matter of time."""
        if self.state is BreakerState.HALF_OPEN:
            return self._leases[0] if len(self._leases) >= self.policy.probes else None
        return self.half_open_at_ns

    def explain(self, now_ns: int) -> str:
        """A sentence for operators."""
        if self._closed:
            self._advance(max(self._bucket, now_ns // self._bucket_ns))
            return f"Closed: {self._figures()}."
        if self.state is BreakerState.HALF_OPEN:
            running = sum(1 for lease in self._leases if lease > now_ns)
            passed = f"{self._passed} of {self.policy.probe_successes} probes passed"
            return f"Half-open: {passed}, {running} running. It had opened because {self._sentence}."
        left_s = max(0, self._until_ns - now_ns) / _SECOND_NS
        when = f"for {left_s:.1f} s more" if left_s else "until the next call, which is a probe"
        return f"Open {when}, because {self._sentence}."

    def _record_probe(self, result: CallResult, duration_ms: float, now_ns: int) -> BreakerChange | None:
        """A probe's result. Without a running probe it is a late one from an earlier time half-open."""
        if self.state is not BreakerState.HALF_OPEN or not self._leases:
            return None
        self._leases.popleft()
        if result is CallResult.FAILED:
            self._sentence = "a probe failed"
            return self._step(BreakerCause.PROBE_FAILED, now_ns)
        if duration_ms > self._slow_ms:
            self._sentence = f"a probe took longer than {self._slow_ms:g} ms"
            return self._step(BreakerCause.PROBE_SLOW, now_ns)
        self._passed += 1
        if self._passed < self.policy.probe_successes:
            return None
        return self._step(BreakerCause.PROBES_PASSED, now_ns)

    def _cause_to_open(self) -> BreakerCause | None:
        policy, calls = self.policy, self._calls
        if policy.consecutive_failures is not None and self._in_a_row >= policy.consecutive_failures:
            self._sentence = f"{self._in_a_row} calls in a row failed"
            return BreakerCause.CONSECUTIVE
        if calls < policy.minimum_calls:
            return None
        if self._failures >= policy.failure_rate * calls:
            self._sentence = self._figures()
            return BreakerCause.FAILURE_RATE
        if self._slow >= policy.slow_call_rate * calls:
            self._sentence = self._figures()
            return BreakerCause.SLOW_RATE
        return None

    def _step(self, cause: BreakerCause, now_ns: int) -> BreakerChange:
        before = self.state
        after = self.state = TRANSITIONS[before, cause]
        self._closed = after is BreakerState.CLOSED
        self._leases.clear()
        self._passed = 0
        if after is BreakerState.OPEN:
            self._open(before, now_ns)
        elif after is BreakerState.CLOSED:
            self._closed_at_ns = now_ns
            self._clear(now_ns)
        self.change = BreakerChange(before, after, cause, now_ns)
        return self.change

    def _open(self, before: BreakerState, now_ns: int) -> None:
        """Rule 5."""
        policy = self.policy
        calm_ns = now_ns - self._closed_at_ns
        if before is BreakerState.CLOSED and calm_ns >= max(self._open_ns, policy.window_s * _SECOND_NS):
            self._open_ns = 0
        first_ns, most_ns = int(policy.open_s * _SECOND_NS), int(policy.max_open_s * _SECOND_NS)
        self._open_ns = min(2 * self._open_ns, most_ns) if self._open_ns else first_ns
        self._until_ns = now_ns + self._open_ns

    def _drop_expired(self, now_ns: int) -> None:
        while self._leases and self._leases[0] <= now_ns:
            self._leases.popleft()

    def _clear(self, now_ns: int) -> None:
        """Start with an empty window."""
        self._bucket = now_ns // self._bucket_ns
        self._calls = self._failures = self._slow = 0  # in the window
        self._in_a_row = 0
        self._marks = (0, 0, 0)  # the three, as they were when the current bucket began
        self._ring: deque[tuple[int, int, int]] = deque(((0, 0, 0),) * (_BUCKETS - 1))  # of the buckets before it

    def _advance(self, bucket: int) -> None:
        """Close the current bucket and drop those that leave the window."""
        for _ in range(min(bucket - self._bucket, _BUCKETS)):
            calls, failures, slow = self._marks
            self._ring.append((self._calls - calls, self._failures - failures, self._slow - slow))
            calls, failures, slow = self._ring.popleft()
            self._calls -= calls
            self._failures -= failures
            self._slow -= slow
            self._marks = (self._calls, self._failures, self._slow)
        self._bucket = bucket

    def _figures(self) -> str:
        within = f"in the last {self.policy.window_s:g} s"
        failed = f"{self._failures} of {self._calls} calls failed {within}"
        if self.policy.slow_call_ms is None:
            return failed
        return f"{failed}, and {self._slow} took longer than {self._slow_ms:g} ms"
