"""Arms of rollouts that this gateway sees fail again and again, and takes out at once: faster than any statistics.

What is taken out stays out until the rollout starts anew; the control plane asks for it (`podium.core.standings`).
"""

from collections.abc import Iterable, Mapping

import structlog

from podium.core.event import AnswerFlag, Event
from podium.core.reasons import Fault, Reason
from podium.core.standings import TrippedArm
from podium.delivery.burst import Burst, burst_of, counts_empty
from podium.delivery.choose import Chooser

__all__ = ["Bursts"]

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]  # rollout, its salt, arm

_NOT_THE_VERSION = frozenset({Reason.DRAINING, Reason.JOURNAL_UNAVAILABLE, Reason.NOT_READY})
_PATIENCE_NS = 10_000_000_000  # a caller who waited so long for a first byte, and left, tells something
_EMPTY = int(AnswerFlag.EMPTY)


class _Watched:
    """One arm."""

    __slots__ = ("burst", "changed_unix_s", "empty")

    def __init__(self, chooser: Chooser) -> None:
        self.burst: Burst = burst_of(chooser.spec)
        self.empty = counts_empty(chooser.spec)
        self.changed_unix_s = chooser.progress.changed_unix_s


class Bursts:
    """Counts outcomes of arms as events tell them (podium.gateway.ports.EventSink)."""

    def __init__(self) -> None:
        self._watched: dict[_Key, _Watched] = {}
        self._arms: dict[tuple[str, str], _Watched] = {}  # by rollout and arm

    def follow(self, choosers: Iterable[Chooser]) -> Mapping[tuple[str, str], Burst]:
        """Watch these from now on, those watched already as before. The bursts, by rollout and arm."""
        watched: dict[_Key, _Watched] = {}
        for chooser in choosers:
            for arm in chooser.candidates:
                key = (chooser.rollout, chooser.progress.salt, arm)
                one = watched[key] = self._watched.get(key) or _Watched(chooser)
                one.changed_unix_s = chooser.progress.changed_unix_s
        self._watched = watched
        self._arms = {(rollout, arm): one for (rollout, _, arm), one in watched.items()}
        return {arm: one.burst for arm, one in self._arms.items()}

    def observe(self, event: Event) -> None:
        """Take note of a finished exchange."""
        if not event.rollout:
            return
        watched = self._arms.get((event.rollout, event.arm))
        if watched is None:
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
