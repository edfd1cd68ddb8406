"""Arms of rollouts that this gateway sees fail again and again, and takes out at once: faster than any statistics.

What is taken out stays out until the rollout starts anew; the control plane asks for it (`podium.core.standings`).
"""

from collections import deque
from collections.abc import Iterable, Mapping

import structlog

from podium.core.event import AnswerFlag, Event
from podium.core.exchange import Exchange
from podium.core.reasons import Fault, Reason
from podium.core.standings import TrippedArm
from podium.delivery.burst import Burst, burst_of, counts_empty
from podium.delivery.choose import Chooser

__all__ = ["Bursts", "Watched"]

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]  # rollout, its salt, arm

_NOT_THE_VERSION = frozenset({Reason.DRAINING, Reason.JOURNAL_UNAVAILABLE, Reason.NOT_READY})
_PATIENCE_NS = 10_000_000_000  # a caller who waited so long for a first byte, and left, tells something
_PATIENCE_UNKNOWN_NS = 60_000_000_000  # while nothing is known of how long answers usually take
_FAR_LONGER = 3  # than the slowest of the last ones
_USUAL = 50
_MOST_WAITING = 100
_EMPTY = int(AnswerFlag.EMPTY)


class Watched:
    """One arm."""

    __slots__ = ("_most_waiting", "_usual", "_waiting", "burst", "changed_unix_s", "empty")

    def __init__(self, chooser: Chooser, usual: deque[int]) -> None:
        self.burst: Burst = burst_of(chooser.spec)
        self.empty = counts_empty(chooser.spec)
        self.changed_unix_s = chooser.progress.changed_unix_s
        self._usual = usual  # first bytes of the arms that served before
        self._most_waiting = min(self.burst.in_a_row_at_most, _MOST_WAITING)
        self._waiting: deque[Exchange] = deque()  # the oldest ones without an answer, and some that have one by now

    def begin(self, exchange: Exchange) -> bool:
        """Note that an exchange goes to the arm now. False: so many wait for so long that it hangs, and is out."""
        waiting, now_ns = self._waiting, exchange.admitted_at_ns
        while waiting and _answered(waiting[0]):
            waiting.popleft()
        if len(waiting) < self._most_waiting:
            waiting.append(exchange)
            return True
        if now_ns - waiting[0].admitted_at_ns < self._patience_ns():
            return True
        self._waiting = waiting = deque(one for one in waiting if not _answered(one))
        if len(waiting) < self._most_waiting or now_ns - waiting[-1].admitted_at_ns < self._patience_ns():
            return True
        self.burst.hang(len(waiting))
        waiting.clear()
        return False

    def _patience_ns(self) -> int:
        return max(_PATIENCE_NS, _FAR_LONGER * max(self._usual)) if self._usual else _PATIENCE_UNKNOWN_NS


def _answered(exchange: Exchange) -> bool:
    return bool(exchange.first_byte_at_ns or exchange.status or exchange.error is not None)


class Bursts:
    """Counts outcomes of arms as events tell them (podium.gateway.ports.EventSink)."""

    def __init__(self) -> None:
        self._watched: dict[_Key, Watched] = {}
        self._arms: dict[tuple[str, str], Watched] = {}  # by rollout and arm
        self._usual: dict[str, deque[int]] = {}  # by rollout: nanoseconds to the first byte of arms that served before

    def follow(self, choosers: Iterable[Chooser]) -> Mapping[tuple[str, str], Watched]:
        """Watch these from now on, those watched already as before. By rollout and arm."""
        watched: dict[_Key, Watched] = {}
        usual: dict[str, deque[int]] = {}
        for chooser in choosers:
            known = self._usual.get(chooser.rollout)
            times = usual[chooser.rollout] = deque(maxlen=_USUAL) if known is None else known
            for arm in chooser.candidates:
                key = (chooser.rollout, chooser.progress.salt, arm)
                one = watched[key] = self._watched.get(key) or Watched(chooser, times)
                one.changed_unix_s = chooser.progress.changed_unix_s
        self._watched, self._usual = watched, usual
        self._arms = {(rollout, arm): one for (rollout, _, arm), one in watched.items()}
        return self._arms

    def observe(self, event: Event) -> None:
        """Take note of a finished exchange."""
        if not event.rollout:
            return
        watched = self._arms.get((event.rollout, event.arm))
        if watched is None:
            usual = self._usual.get(event.rollout) if event.arm and event.first_byte_ns >= 0 else None
            if usual is not None:
                usual.append(event.first_byte_ns)
            return
        failed = _failed(event, empty=watched.empty)
        if failed is not None and watched.burst.record(failed=failed):
            log.warning(
                "rollout_tripped",
                rollout=event.rollout,
                arm=event.arm,
                version=event.version,
                why=str(watched.burst.tripped),
                failures=watched.burst.failures,
                of=watched.burst.of,
                reason=str(event.reason),
            )

    def tripped(self) -> tuple[TrippedArm, ...]:
        """What is taken out here."""
        return tuple(
            TrippedArm(
                rollout=rollout,
                salt=salt,
                arm=arm,
                changed_unix_s=one.changed_unix_s,
                failures=one.burst.failures,
                of=one.burst.of,
                reason=str(one.burst.tripped),
            )
            for (rollout, salt, arm), one in self._watched.items()
            if one.burst.tripped is not None
        )


def _failed(event: Event, *, empty: bool) -> bool | None:
    """Whether the version failed; None: it cannot be told by this exchange."""
    if event.fallbacks:
        return True
    if event.reason == Reason.CLIENT_GONE:
        return True if event.first_byte_ns < 0 and event.ended_ns >= _PATIENCE_NS else None
    if event.fault == Fault.CALLER:
        return None
    if event.fault != Fault.NOBODY:
        return None if event.reason in _NOT_THE_VERSION else True
    return empty and bool(event.answer_flags & _EMPTY)
