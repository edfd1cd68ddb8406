"""Moves rollouts on and back by what is seen of them, while this process leads.

Nothing is remembered here that matters: each round reads where a rollout stands, asks for the evidence, computes what
becomes of it and writes that under the condition that nobody else moved anything. Whoever is killed in between has
changed nothing or everything; the next round, here or elsewhere, goes on from the newest revision.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from podium.control.experiments.arms import arms_tripped
from podium.control.rollouts.guard import is_active
from podium.control.rollouts.moves import Asked, check_freeze, moved
from podium.control.rollouts.ports import Analyst, BadBackend, Judgement, RolloutGateways, Trip
from podium.control.rollouts.standing import LOOP_AUTHOR, Move, Standing, Standings
from podium.control.rollouts.steady import SteadyAnalyst
from podium.control.rollouts.trials import Trials
from podium.control.rollouts.views import VerdictView
from podium.control.waiting import wait_for
from podium.core.clock import Clock
from podium.core.errors import PodiumError, Unavailable
from podium.core.resources import Progress, Resource
from podium.delivery.buckets import BASELINE
from podium.delivery.experiments.course import rearranged
from podium.delivery.phases import HELD, Happening, Reason, step_of

__all__ = ["RolloutLoop"]

_log = structlog.get_logger("podium.control.rollouts")

_HOLDS = frozenset({Happening.NO_DATA, Happening.INCONCLUSIVE, Happening.MISMATCH, Happening.ERROR})
_ERROR_PATIENCE_S = 30.0  # an analysis that cannot be made is tried for so long before the rollout is held
_MAX_DETAIL = 2000


class RolloutLoop:
    """The loop. One at a time leads; a second one does no harm, for only one of two revisions is written."""

    def __init__(
        self,
        standings: Standings,
        clock: Clock,
        *,
        analyst: Analyst,
        gateways: RolloutGateways,
        tick_s: float,
        prepare_s: float,
    ) -> None:
        """`prepare_s`: how long a candidate may take until it answers."""
        self._standings = standings
        self._clock = clock
        self._analyst = SteadyAnalyst(analyst)
        self._gateways = gateways
        self._tick_s = tick_s
        self._trials = Trials(gateways, clock, prepare_s=prepare_s)
        self._verdicts: dict[str, VerdictView] = {}  # of rollouts that are under way
        self._errors_since: dict[str, float] = {}
        self._told: dict[str, str] = {}  # why they do not move, so that it is said once
        self._error = ""

    def verdict(self, name: str) -> VerdictView | None:
        """What was seen last of a rollout that is under way."""
        return self._verdicts.get(name)

    async def run(self, stop: asyncio.Event) -> None:
        """Look at every rollout again and again until `stop` is set.

        Bursts are looked for beside everything else, which takes longer the more there is to judge.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(self.return_tripped, stop), name="bursts of rollouts")
                await self._repeat(self.move_on, stop)
        finally:
            await self._trials.close()

    async def _repeat(self, look: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await look()
                self._error = ""
            except PodiumError as error:
                self._tell_failed(error)
            await wait_for(stop, self._tick_s)

    async def once(self) -> None:
        """One round of both. Unavailable: the database is away."""
        await self.return_tripped()
        await self.move_on()

    async def return_tripped(self) -> None:
        """Return what gateways have taken out. Unavailable: the database is away."""
        serving = [one for one in await self._standings.all() if _phase(one) in ("running", "paused")]
        if not serving:
            return
        trips = await self._gateways.trips()
        for name in [one.name for one in serving]:
            standing = self._standings.known(name)  # after those before it have moved: it stands at their revision
            if standing is not None and (found := _trips_of(standing, trips)):
                await self._guarded(standing, self._burst(standing, found))

    async def move_on(self) -> None:
        """Try, judge and move what is under way. Unavailable: the database is away."""
        active = [one for one in await self._standings.all() if is_active(one.progress)]
        names = {one.name for one in active}
        self._verdicts = {name: verdict for name, verdict in self._verdicts.items() if name in names}
        self._errors_since = {name: since for name, since in self._errors_since.items() if name in names}
        self._told = {name: why for name, why in self._told.items() if name in names}
        await self._trials.only({one.name for one in active if _phase(one) == "preparing"})
        for one in active:
            standing = self._standings.known(one.name)  # as in `return_tripped`
            if standing is not None:
                await self._guarded(standing, self._look(standing))

    async def _guarded(self, standing: Standing, look: Awaitable[None]) -> None:
        """What is wrong with one rollout does not stop the others; what is wrong with the database does."""
        try:
            await look
        except Unavailable:
            raise
        except PodiumError as error:
            if self._told.get(standing.name) != error.message:
                _log.info("a rollout does not move", rollout=standing.name, why=error.message)
            self._told[standing.name] = error.message
        except Exception as error:  # noqa: BLE001 - a boundary: a bug that one rollout meets does not stop the others
            if self._told.get(standing.name) != repr(error):
                _log.exception("a rollout does not move", rollout=standing.name)
            self._told[standing.name] = repr(error)
        else:
            self._told.pop(standing.name, None)

    async def _look(self, standing: Standing) -> None:
        progress = standing.progress
        if progress is not None and progress.phase == "preparing":
            await self._prepare(standing)
        elif progress is not None and progress.phase in ("running", "paused"):
            await self._judge(standing, progress)

    async def _prepare(self, standing: Standing) -> None:
        outcome = self._trials.outcome(standing)
        if outcome is None:
            return
        if outcome.happening is Happening.PREPARED:
            await self._happen(standing, outcome.happening, outcome.detail)
        else:
            judgement = Judgement(verdict="error", reason=str(outcome.happening), detail=outcome.detail)
            await self._decide(standing, outcome.happening, judgement)

    async def _burst(self, standing: Standing, trips: tuple[Trip, ...]) -> None:
        detail = "; ".join(f"{trip.gateway}: {trip.detail}" for trip in trips)
        judgement = Judgement(verdict="failed", reason=str(Reason.BURST), detail=detail)
        try:
            async with asyncio.timeout(self._tick_s):
                judgement = msgspec.structs.replace(
                    judgement, body=(await self._analyst.judge(standing, self._now())).body
                )
        except (PodiumError, TimeoutError) as error:
            _log.info("a burst is acted on without the analysis", rollout=standing.name, why=str(error))
        judgement = arms_tripped(standing, judgement, trips)
        if judgement.ended:
            await self._share_out(standing, judgement)
        else:
            await self._decide(standing, Happening.BURST, judgement)

    async def _judge(self, standing: Standing, progress: Progress) -> None:
        now = self._now()
        step = step_of(standing.rollout, progress)
        shown = any(arm.name != BASELINE for arm in progress.arms)
        if not shown and progress.phase == "running" and now >= progress.step_unix_s + step.minimum_s:
            await self._happen(standing, Happening.STEP_DONE, "nobody has it yet but testers")
            return
        judgement = await self._analyst.judge(standing, now)
        self._verdicts[standing.name] = VerdictView(
            verdict=judgement.verdict, reason=judgement.reason, detail=judgement.detail, unix_s=now
        )
        if not shown:
            return  # nobody has it yet: the old version is looked at, and there is nothing to decide
        if judgement.bad_backend is not None and await self._take_out(standing, judgement, judgement.bad_backend):
            return
        if judgement.ended or (judgement.shares and progress.phase == "running" and judgement.happening is None):
            await self._share_out(standing, judgement)
            return
        happening = self._weighed(standing, progress, judgement, now)
        if happening is None and progress.phase == "paused" and progress.reason in HELD:
            happening = Happening.CLEARED
        if happening is None and judgement.enough and now >= progress.step_unix_s + step.minimum_s:
            happening = Happening.STEP_DONE
        if happening is not None:
            await self._decide(standing, happening, judgement)

    def _weighed(
        self, standing: Standing, progress: Progress, judgement: Judgement, now_unix_s: float
    ) -> Happening | None:
        """What the judgement means here: a hold that an operator has lifted is not made again at once."""
        happening = judgement.happening
        if happening is not Happening.ERROR:
            self._errors_since.pop(standing.name, None)
        elif now_unix_s < self._errors_since.setdefault(standing.name, now_unix_s) + _ERROR_PATIENCE_S:
            return None if progress.reason not in HELD else Happening.ERROR
        if happening in _HOLDS and progress.reason == Reason.RESUMED:
            analysis = standing.rollout.analysis
            again_s = progress.changed_unix_s + (analysis.no_data_after_s if analysis is not None else 0.0)
            if happening is not Happening.NO_DATA or now_unix_s < again_s:
                return None
        return happening

    async def _take_out(self, standing: Standing, judgement: Judgement, bad: BadBackend) -> bool:
        """Give a backend no more calls; whether that was done. The last one of its version stays."""
        version, progress = standing.version(bad.version), standing.progress
        if version is None or progress is None:
            return False
        left = [one for one in version.backends if one.weight and _name(one.provider, one.model) != bad.backend]
        taken = [one for one in version.backends if one.weight and _name(one.provider, one.model) == bad.backend]
        if not left or not taken:
            return False
        backends = tuple(
            msgspec.structs.replace(one, weight=0) if _name(one.provider, one.model) == bad.backend else one
            for one in version.backends
        )
        now = self._now()
        evidence = await self._analyst.keep(standing, judgement, "backend_taken_out", now)
        detail = f"backend `{bad.backend}` of `{bad.version}` gets no more calls: {bad.detail}"[:_MAX_DETAIL]
        told = msgspec.structs.replace(progress, detail=detail, evidence=evidence, changed_unix_s=standing.after(now))
        changed = Resource("Version", bad.version, msgspec.structs.replace(version, backends=backends))
        await self._write(standing, Move(told, f"rollout {standing.name}: {detail}", (changed,)))
        return True

    async def _share_out(self, standing: Standing, judgement: Judgement) -> None:
        """Give arms other shares. What is counted from here on is counted anew, as at a step."""
        now, progress = self._now(), standing.progress
        assert progress is not None, "it runs"
        if not judgement.ended:  # an arm that failed is taken out at any time
            check_freeze(standing, now)
        detail = f"other shares: {judgement.shares_detail}"[:_MAX_DETAIL]
        told = rearranged(progress, judgement.shares, standing.after(now), judgement.ended)
        judgement = msgspec.structs.replace(judgement, after=told)
        happening = "arm_ended" if judgement.ended else "shares_changed"
        evidence = await self._analyst.keep(standing, judgement, happening, now)
        told = msgspec.structs.replace(told, detail=detail, evidence=evidence)
        await self._write(standing, Move(told, f"rollout {standing.name}: {detail}"))

    async def _decide(self, standing: Standing, happening: Happening, judgement: Judgement) -> None:
        """Keep the evidence, then act on it. Killed in between: the same evidence is kept under the same id again."""
        now = self._now()
        move = moved(standing, happening, Asked(LOOP_AUTHOR, now, judgement.detail))
        if move is None:
            return
        judgement = msgspec.structs.replace(judgement, after=move.progress)
        evidence = await self._analyst.keep(standing, judgement, str(happening), now)
        progress = msgspec.structs.replace(move.progress, evidence=evidence)
        await self._write(standing, Move(progress, move.message, move.puts))

    async def _happen(self, standing: Standing, happening: Happening, detail: str) -> None:
        move = moved(standing, happening, Asked(LOOP_AUTHOR, self._now(), detail))
        if move is not None:
            await self._write(standing, move)

    async def _write(self, standing: Standing, move: Move) -> None:
        async with self._standings.turn.taken():
            revision = await self._standings.write(standing, move, author=LOOP_AUTHOR)
        if revision is None:
            return  # something else was changed at this moment: the next round looks anew
        _log.info(
            "a rollout moved",
            rollout=standing.name,
            phase=move.progress.phase,
            step=move.progress.step,
            reason=move.progress.reason,
            detail=move.progress.detail,
            revision=revision.number,
        )

    def _tell_failed(self, error: PodiumError) -> None:
        if self._error != error.message:
            _log.warning("rollouts cannot be looked at", error=error.message, hint=error.hint)
        self._error = error.message

    def _now(self) -> float:
        return self._clock.unix_ns() / 1e9


def _phase(standing: Standing) -> str:
    return "" if standing.progress is None else standing.progress.phase


def _trips_of(standing: Standing, trips: tuple[Trip, ...]) -> tuple[Trip, ...]:
    """Those of arms that it has now: a gateway may tell of one that is out already."""
    progress = standing.progress
    if progress is None:
        return ()
    arms = {(standing.name, progress.salt, share.name) for share in progress.arms}
    return tuple(trip for trip in trips if (trip.rollout, trip.salt, trip.arm) in arms)


def _name(provider: str, model: str) -> str:
    return f"{provider}/{model}"
