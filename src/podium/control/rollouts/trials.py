"""Tries candidates before anybody gets them, beside the loop: one that hangs holds up nothing else."""

import asyncio
from dataclasses import dataclass

import structlog

from podium.control.rollouts.ports import RolloutGateways, Trial
from podium.control.rollouts.standing import Standing
from podium.control.waiting import Backoff
from podium.core.clock import Clock
from podium.delivery.phases import Happening

__all__ = ["Outcome", "Trials"]

_log = structlog.get_logger("podium.control.rollouts")

_ONE_TRIAL_S = 20.0
_FIRST_WAIT_S, _MOST_WAIT_S = 0.5, 5.0  # between trials: each is an exchange that somebody answers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to happen after a trial."""

    happening: Happening
    detail: str


class Trials:
    """The running trials, by rollout. Each is about one start: its time of change tells it from others."""

    def __init__(self, gateways: RolloutGateways, clock: Clock, *, prepare_s: float) -> None:
        self._gateways = gateways
        self._clock = clock
        self._prepare_s = prepare_s
        self._running: dict[str, tuple[float, asyncio.Task[tuple[Trial, ...]]]] = {}
        self._last: dict[str, str] = {}  # why the last trial of it was not good
        self._waits: dict[str, tuple[Backoff, int]] = {}  # and when the next one may begin, monotonic

    def outcome(self, standing: Standing) -> Outcome | None:
        """What came of it; None: not known yet. Starts the next trial when none runs."""
        name, now = standing.name, self._clock.unix_ns() / 1e9
        left_s = standing.seen + self._prepare_s - now
        started, task = self._running.get(name, (0.0, None))
        if task is not None and started != standing.seen:  # it was about an earlier start
            task.cancel()
            self._forget(name)
            task = None
        if task is not None and task.done() and not task.cancelled():
            outcome = self._judged(name, task.result())
            if outcome is not None:
                return outcome  # kept as long as it stands: it is the same in the next round
            task = None
            del self._running[name]
            self._wait(name)
        if left_s <= 0:
            why = self._last.get(name) or "it did not answer"
            return Outcome(
                Happening.COULD_NOT_PREPARE, f"the candidate did not come up within {self._prepare_s:g} s: {why}"
            )
        if task is None and self._clock.monotonic_ns() >= self._waits.get(name, (None, 0))[1]:
            trial = self._gateways.try_candidate(standing, min(left_s, _ONE_TRIAL_S))
            self._running[name] = standing.seen, asyncio.create_task(trial, name=f"trial of rollout {name}")
        return None

    async def only(self, names: set[str]) -> None:
        """Forget the trials of all others."""
        for name in self._running.keys() - names:
            _, task = self._running.pop(name)
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
        for name in (self._last.keys() | self._waits.keys()) - names:
            self._forget(name)

    async def close(self) -> None:
        """End them all."""
        await self.only(set())

    def _forget(self, name: str) -> None:
        self._last.pop(name, None)
        self._waits.pop(name, None)

    def _wait(self, name: str) -> None:
        """The next trial comes later, and the one after it later still."""
        backoff, _ = self._waits.get(name) or (Backoff(first_s=_FIRST_WAIT_S, most_s=_MOST_WAIT_S), 0)
        self._waits[name] = backoff, self._clock.monotonic_ns() + int(backoff.next_s() * 1e9)

    def _judged(self, name: str, trials: tuple[Trial, ...]) -> Outcome | None:
        bad = [trial for trial in trials if trial.answered is False]
        good = [trial for trial in trials if trial.answered]
        if not trials:
            return Outcome(Happening.PREPARED, "it was not tried: no gateway is known here (set control.gateways)")
        if good and not bad:
            return Outcome(Happening.PREPARED, f"the candidate answers at {', '.join(one.gateway for one in good)}")
        why = "; ".join(f"{trial.gateway}: {trial.detail}" for trial in bad or trials)
        if self._last.get(name) != why:
            _log.info("a candidate does not answer yet", rollout=name, why=why)
        self._last[name] = why
        return None
