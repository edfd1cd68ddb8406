"""How many calls at once one backend bears, found out from its answers.

Rules
1. What is measured is the time to the first content. A long answer takes long because it is long.
2. The limit changes once a round. A round first lets those calls end that were in flight at the last change (they
   know nothing of the new limit), then takes the mean of `_LEAST_SAMPLES` or more; single very long ones are cut.
3. It rises only when calls have run up against it: else their times say nothing about it.
4. Errors of an overloaded backend lower it by `BACKOFF`, once a round.

`GradientLimit` follows Netflix's concurrency-limits (Gradient2Limit, VegasLimit) and Envoy's adaptive concurrency
filter: the ratio of the time now to the time without load says how far the limit is too high. Against Gradient2's
drift (its long-term mean learns the overload) it measures the time without load as Envoy does and BBR in its PROBE_RTT:
now and then a round at half the limit: one in thirty, at most 3 % of the throughput. But only where calls run up
against the limit: nobody is refused for a measurement that nothing depends on. A round with no more than half of the
limit in flight is such a measurement by itself, as BBR needs no PROBE_RTT after a lull, and does not change the limit
(as in Gradient2Limit). When the time does not fall with the limit, it is not the load that makes the backend slow: then
that time is the one without load.
At first the limit doubles each round, as in TCP's slow start, until the time is longer by a quarter: a doubling beyond
what the backend bears shows clearly, and the noise of a round must not end it, because a limit that begins too low
refuses calls for long. What is measured on the way is taken for the time without load, too.
`AimdLimit` is TCP's rule (Chiu and Jain 1989): one more each round, a tenth less on errors or a time above a bound. For
backends that refuse what they cannot bear, or where somebody knows the bound.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, hypot, sqrt
from statistics import median, stdev
from typing import Protocol

__all__ = ["BACKOFF", "AdaptiveLimit", "AimdLimit", "CallOutcome", "ConcurrencyPolicy", "GradientLimit"]

BACKOFF = 0.9  # Netflix's AIMDLimit.backoffRatio
_LEAST_SAMPLES, _MOST_SAMPLES = 60, 400  # of a round; between: four times the limit. The mean of 60 exponential
# times is off by 13 %, of 400 by 5 % (standard error)
_CUT = 5.0  # a time counts as at most so many medians
_LONG_NS, _FEWEST = 30_000_000_000, 10  # a round that takes so long ends with so many (Netflix's windowSize)
_STALE_NS = 600_000_000_000  # and begins again when it has not got those by then
_TOLERANCE = 1.02  # the time now may be so many times the one without load
_STEEPEST = 0.5  # a round never takes more than half of the limit (Netflix, Envoy)
_START_TOLERANCE = 1.25  # while it doubles (Envoy's min_rtt_calc_params.buffer)
_GROWTH, _LEAST_GROWTH = 0.07, 0.4  # a round adds such a share of the limit, at least so much
_CALM, _FASTEST_GROWTH = 3, 0.5  # after so many quick rounds in a row the share doubles each round, up to this
_PROBE_EVERY = 30  # rounds (Netflix's VegasLimit.probeMultiplier)
_FIRST_PROBE = 2  # rounds; doubles: the first measure may have been taken under load
_NEW = 0.25  # least weight of a probe against what was known
_NEW_UNMOVED = (
    0.5  # of one that is slower than that, and hardly quicker than the round before: that was measured too low
)
_MUCH_LESS = 0.8  # of what was known: that was measured under load, and is forgotten
_DOUBT = (
    0.7  # standard errors that a round must be slower by; twice as many before the first queue and in a round with few
)
_STUCK = 5  # rounds at the minimum and still slow: the backend has become slower (Envoy's number)
_FASTER, _FASTER_ROUNDS = 0.7, 3  # of the time without load, so often in a row: the backend has become faster
_FALLEN, _UNMOVED = 0.6, 0.8  # the limit has fallen to this share, and the time has not fallen below that one
_AS_SLOW = 0.9  # of the time at the whole limit
_FELT = 0.9  # of the limit in flight: calls have run up against it
_QUIET = 0.5  # of the limit in flight at most: as in a probe


class CallOutcome(StrEnum):
    """What the end of a call says about the backend's load."""

    OK = "ok"
    OVERLOADED = "overloaded"  # it timed out, or the backend said that it has too much to do
    IGNORED = "ignored"  # the caller went away or was at fault, or the backend is broken: says nothing


@dataclass(frozen=True, slots=True)
class ConcurrencyPolicy:
    """Between which bounds the limit moves. 20 and 200 are Netflix's and too many for one model on one GPU."""

    minimum: int = 1
    maximum: int = 200
    initial: int = 8
    slow_ms: float | None = None  # AimdLimit's bound on the time to the first content; None: errors only

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.initial <= self.maximum:
            raise ValueError("1 <= minimum <= initial <= maximum")
        if self.slow_ms is not None and self.slow_ms <= 0:
            raise ValueError("`slow_ms` is positive")


class AdaptiveLimit(Protocol):
    """A limit that learns. `now_ns` is monotonic."""

    @property
    def limit(self) -> int:
        """Calls at once, now."""

    def started(self, now_ns: int) -> None:
        """A call goes out, whether within the limit or not."""

    def first_content(self, now_ns: int, latency_ms: float) -> None:
        """Its first content is here. May be left out, but with long answers the limit learns much sooner by it."""

    def ended(self, now_ns: int, latency_ms: float | None, outcome: CallOutcome) -> None:
        """It is over. Once for each `started`.

        `latency_ms`: to the first content; None: there was none, or `first_content` has told.
        """


class _Rounds(ABC):
    """What both algorithms share: rule 2 and the calls in flight."""

    __slots__ = (
        "_began_ns",
        "_overloaded",
        "_peak",
        "_samples",
        "_size",
        "_skip",
        "_value",
        "in_flight",
        "limit",
        "policy",
    )

    _peak: int  # in flight, in this round
    _skip: int  # calls that have to end first
    _size: int  # samples that it takes
    _began_ns: int

    def __init__(self, policy: ConcurrencyPolicy, now_ns: int) -> None:
        self.policy = policy
        self.in_flight = 0
        self._value = float(policy.initial)  # the limit with its fraction
        self._samples: list[float] = []
        self._begin(now_ns, self._value)

    def started(self, now_ns: int) -> None:  # noqa: ARG002 - the face has it, for algorithms that need it
        """See AdaptiveLimit."""
        self.in_flight = in_flight = self.in_flight + 1
        if in_flight > self._peak:  # noqa: PLR1730 - a call costs more than the rest
            self._peak = in_flight

    def first_content(self, now_ns: int, latency_ms: float) -> None:
        """See AdaptiveLimit."""
        if now_ns - latency_ms * 1e6 >= self._began_ns:
            self._samples.append(latency_ms)
            self._end_if_complete(now_ns)

    def ended(self, now_ns: int, latency_ms: float | None, outcome: CallOutcome) -> None:
        """See AdaptiveLimit."""
        assert self.in_flight > 0, "what ends has started"
        self.in_flight -= 1
        if self._skip > 0:
            self._skip -= 1
            return
        if outcome is CallOutcome.OVERLOADED:
            self._overloaded = True
            self._turn(now_ns)
        elif outcome is CallOutcome.OK and latency_ms is not None:
            self._samples.append(latency_ms)
            self._end_if_complete(now_ns)

    def _end_if_complete(self, now_ns: int) -> None:
        count, elapsed_ns = len(self._samples), now_ns - self._began_ns
        if count >= self._size or (elapsed_ns > _LONG_NS and count >= _FEWEST):
            self._turn(now_ns)
        elif elapsed_ns > _STALE_NS:
            self._begin(now_ns, self._value)

    @abstractmethod
    def _turn(self, now_ns: int) -> None:
        """End a round, by overload (`_overloaded`) or with enough samples."""

    def _begin(self, now_ns: int, value: float, limit: float | None = None) -> None:
        """Begin a round. `limit`: for this round only, in place of `value`."""
        low, high = self.policy.minimum, self.policy.maximum
        self._value = min(max(value, low), high)
        self.limit = min(max(int(self._value if limit is None else limit), low), high)
        self._skip = self._peak = self.in_flight
        self._size = min(max(4 * self.limit, _LEAST_SAMPLES), _MOST_SAMPLES)
        self._overloaded = False
        self._began_ns = now_ns
        self._samples.clear()

    def _felt(self) -> bool:
        """Rule 3."""
        return self._peak >= ceil(_FELT * self.limit)

    def _quiet(self) -> bool:
        return self._peak <= _QUIET * self.limit


class AimdLimit(_Rounds):
    """Additive increase, multiplicative decrease."""

    __slots__ = ()

    def _turn(self, now_ns: int) -> None:
        slow_ms, value = self.policy.slow_ms, self._value
        if self._overloaded or (slow_ms is not None and _mean(self._samples) > slow_ms):
            value = min(value * BACKOFF, value - 1)
        elif self._felt():
            value += 1
        self._begin(now_ns, value)


class GradientLimit(_Rounds):
    """The time without load over the time now."""

    __slots__ = (
        "_base_error_ms",
        "_calm",
        "_fall",
        "_fast",
        "_full_ms",
        "_probe_in",
        "_probes",
        "_probing",
        "_starting",
        "_stuck",
        "unloaded_ms",
    )

    def __init__(self, policy: ConcurrencyPolicy, now_ns: int) -> None:
        super().__init__(policy, now_ns)
        self.unloaded_ms: float | None = None  # the mean without load; None: not measured yet
        self._base_error_ms = 0.0  # its standard error
        self._probing = False
        self._full_ms = 0.0  # the time at the whole limit, before the probe
        self._probe_in = _FIRST_PROBE
        self._probes = 0  # that `unloaded_ms` is the mean of
        self._starting = True  # doubles until it meets the first queue, as TCP's slow start
        self._stuck = self._fast = self._calm = 0  # rounds in a row
        self._fall: tuple[float, float] | None = None  # the limit before it began to fall, the longest time since

    def _turn(self, now_ns: int) -> None:
        if self._overloaded:
            self._starting = self._probing = False
            self._calm = 0
            self._begin(now_ns, min(self._value * BACKOFF, self._value - 1))
            return
        time_ms, unloaded_ms = _mean(self._samples), self.unloaded_ms
        if unloaded_ms is None:
            self._learn(time_ms)
        elif self._probing or self._quiet():
            self._probed(time_ms, unloaded_ms)
        elif self._probe_is_due():
            self._probing, self._full_ms = True, time_ms
            self._begin(now_ns, self._value, _QUIET * self._value)
            return
        else:
            self._value = self._moved(time_ms, unloaded_ms)
        self._begin(now_ns, self._value)

    def _probe_is_due(self) -> bool:
        """Count a round that a probe could be of use to."""
        if self._starting or not self._felt():
            return False
        self._probe_in -= 1
        return self._probe_in <= 0 and self._value > self.policy.minimum

    def _error_ms(self) -> float:
        """The standard error of the round's mean."""
        return stdev(self._samples) / sqrt(len(self._samples))

    def _learn(self, unloaded_ms: float) -> None:
        """Forget what was known of the time without load."""
        self.unloaded_ms = unloaded_ms
        self._base_error_ms = self._error_ms()
        self._probing = False
        self._probes = 1
        self._probe_in = _FIRST_PROBE
        self._stuck = self._fast = 0
        self._fall = None

    def _probed(self, time_ms: float, unloaded_ms: float) -> None:
        """Take a probe into the mean."""
        if time_ms + self._error_ms() < _MUCH_LESS * unloaded_ms:
            self._learn(time_ms)
            return
        if self._probing and time_ms > max(unloaded_ms, _AS_SLOW * self._full_ms):
            self._mix((time_ms + self._full_ms) / 2, unloaded_ms, _NEW_UNMOVED)
        else:
            self._mix(time_ms, unloaded_ms, _NEW)
        self._probing = False
        self._probe_in = min(_FIRST_PROBE**self._probes, _PROBE_EVERY)
        self._fall = None

    def _mix(self, time_ms: float, unloaded_ms: float, least: float) -> None:
        """Take a time into what is known of the one without load, with at least so much weight."""
        self._probes += 1
        new = max(least, 1 / self._probes)
        self.unloaded_ms = unloaded_ms + new * (time_ms - unloaded_ms)
        self._base_error_ms = hypot((1 - new) * self._base_error_ms, new * self._error_ms())

    def _moved(self, time_ms: float, unloaded_ms: float) -> float:
        """The next limit."""
        value = self._value
        doubt_ms = _DOUBT * hypot(self._error_ms(), self._base_error_ms)
        if self._starting or len(self._samples) < _LEAST_SAMPLES:
            doubt_ms *= 2
        at_least_ms = max(time_ms - doubt_ms, 1e-6)
        gradient = _TOLERANCE * unloaded_ms / at_least_ms
        if at_least_ms > (_START_TOLERANCE if self._starting else _TOLERANCE) * unloaded_ms:
            return self._fallen(time_ms, max(gradient, _STEEPEST))
        self._stuck, self._fall = 0, None
        self._fast = self._fast + 1 if time_ms < _FASTER * unloaded_ms else 0
        if self._fast >= _FASTER_ROUNDS:
            self._learn(time_ms)
        if not self._felt():
            return value
        if self._starting:
            self._mix(time_ms, unloaded_ms, _NEW)
            return 2 * value
        self._calm += 1
        share = min(_GROWTH * 2.0 ** max(0, self._calm - _CALM), _FASTEST_GROWTH)
        return value + max(_LEAST_GROWTH, share * value)

    def _fallen(self, time_ms: float, gradient: float) -> float:
        """The next limit after a slow round; the old one, if the load is not what makes it slow."""
        value = self._value
        self._starting, self._fast, self._calm = False, 0, 0
        before, longest_ms = self._fall or (value, time_ms)
        self._fall = before, max(longest_ms, time_ms)
        if value <= _FALLEN * before and time_ms > _UNMOVED * longest_ms:
            self._learn(time_ms)
            return before
        self._stuck = self._stuck + 1 if self.limit == self.policy.minimum else 0
        if self._stuck >= _STUCK:
            self._learn(time_ms)
            self._starting = True
        return value * gradient


def _mean(samples: list[float]) -> float:
    most = _CUT * median(samples)
    return sum(min(sample, most) for sample in samples) / len(samples)
