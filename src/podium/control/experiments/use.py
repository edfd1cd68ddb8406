"""What operators do with experiments: plan, start, list, report, stop.

An experiment is a rollout with a design. It starts and moves as rollouts do; what ends it is here as well, because an
experiment is stopped with a winner or without.
"""

from collections.abc import Collection

import msgspec

from podium.control.changes import state_of
from podium.control.experiments.designs import digest_of
from podium.control.experiments.reports import ExperimentReports
from podium.control.experiments.traffic import RECENT_S, Traffic, public_names
from podium.control.experiments.views import ExperimentView, PlanRequest, experiment_view
from podium.control.ports import ResourceStore
from podium.control.rollouts.standing import Standing, Standings
from podium.control.rollouts.use import Rollouts
from podium.control.rollouts.views import RolloutView
from podium.core.clock import Clock
from podium.core.errors import InvalidRequest, NotFound
from podium.delivery.analysis.compared import direction_of
from podium.delivery.analysis.observed import ArmSeen
from podium.delivery.buckets import steps_of
from podium.delivery.experiments.effects import guard_look
from podium.delivery.experiments.plan import Base, GuardPlan, Plan, Question, expected_of, guard_plan, plan
from podium.delivery.experiments.recent import recent_of
from podium.delivery.experiments.report import ExperimentReport
from podium.delivery.statistics.planning import Look

__all__ = ["Experiments"]

_ALPHA, _POWER, _EVEN = 0.05, 0.8, (1.0, 1.0)


class Experiments:
    """The use cases."""

    def __init__(
        self,
        rollouts: Rollouts,
        standings: Standings,
        resources: ResourceStore,
        reports: ExperimentReports,
        traffic: Traffic,
        clock: Clock,
    ) -> None:
        self._rollouts = rollouts
        self._standings = standings
        self._resources = resources
        self._reports = reports
        self._traffic = traffic
        self._clock = clock

    async def all(self) -> tuple[ExperimentView, ...]:
        """Every declared experiment, by name."""
        found = []
        for standing in await self._standings.all():
            if standing.rollout.experiment is not None:
                seen = await self._arms_seen(standing)
                found.append(experiment_view(standing, seen, digest_of(standing)))
        return tuple(found)

    async def plan(self, asked: PlanRequest) -> Plan:
        """What an experiment takes. InvalidRequest: it makes no sense, or too little is known of the model."""
        standing = await self._experiment(asked.experiment) if asked.experiment else None
        question, model = _question(asked, standing)
        state = standing.state if standing is not None else state_of((await self._resources.current())[1])
        names, declared = public_names(state, model)
        per_day = asked.exchanges_per_day
        if per_day is None and declared:
            per_day = (await self._traffic.per_day(names))[0]
        made = plan(question, await self._base(asked, question, names, per_day))
        if standing is None or question.samples is None:
            return made
        return msgspec.structs.replace(made, guardrails=await self._guardrails(standing, question, names))

    async def start(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Freeze the design and start. NotFound: there is no such experiment."""
        await self._experiment(name)
        return await self._rollouts.start(name, author=author, message=message, seen=seen)

    async def stop(
        self, name: str, *, author: str, message: str = "", seen: float | None = None, winner: str = ""
    ) -> RolloutView:
        """End it. `winner`: the arm whose version the model has from then on; empty: it keeps the one before."""
        standing = await self._experiment(name)
        if winner and winner not in {arm.name for arm in standing.rollout.arms}:
            names = ", ".join(arm.name for arm in standing.rollout.arms)
            raise InvalidRequest(f"`{winner[:128]}` is no arm; there are {names}", parameter="winner")
        if winner:
            return await self._rollouts.promote(
                name, author=author, message=message, seen=seen, to_end=True, arm=winner
            )
        return await self._rollouts.abort(name, author=author, message=message, seen=seen)

    async def report(self, name: str) -> ExperimentReport:
        """Of the run that goes on, or the last one; of an experiment that was deleted, what was kept last.

        NotFound; Conflict: it was never started.
        """
        try:
            standing = await self._experiment(name)
        except NotFound:
            kept = await self._reports.kept(name)
            if kept is None:
                raise
            return kept
        return await self._reports.current(standing, self._now())

    async def _experiment(self, name: str) -> Standing:
        standing = await self._standings.one(name)
        if standing.rollout.experiment is None:
            raise NotFound(
                f"rollout `{name[:128]}` is no experiment: it has no `experiment`",
                hint="`podium experiment list` shows those that are",
            )
        return standing

    async def _arms_seen(self, standing: Standing) -> tuple[ArmSeen, ...]:
        if self._reports.store is None or standing.progress is None:
            return ()
        return await self._reports.store.arms_seen(standing.name, standing.progress)

    async def _base(
        self, asked: PlanRequest, question: Question, names: Collection[str], per_day: float | None
    ) -> Base:
        if asked.base is not None:
            expected = expected_of(question.measure, asked.base, asked.deviation, asked.design_effect)
            return Base(expected, exchanges_per_day=per_day)
        store = self._reports.store
        events = await store.recent(tuple(names), self._now() - RECENT_S) if store is not None else ()
        recent = recent_of(events, question.measure)
        if recent is None:
            raise InvalidRequest(
                f"the ledger does not tell `{question.measure}` of this model's last week: say what it is now",
                parameter="base",
                hint="`--base 0.02` for a rate, `--base 800 --deviation 600` for others",
            )
        return Base(
            recent.expected,
            samples_per_exchange=recent.samples_per_exchange,
            exchanges_per_day=per_day,
            subjects=recent.subjects,
            samples=recent.samples,
            by_subject=recent.by_subject,
        )

    async def _guardrails(
        self, standing: Standing, question: Question, names: Collection[str]
    ) -> tuple[GuardPlan, ...]:
        """Of those whose measure is known, from the same exchanges as the rest of the plan."""
        rollout, analysis, store = standing.rollout, standing.rollout.analysis, self._reports.store
        if analysis is None or store is None or question.samples is None:
            return ()
        events = await store.recent(tuple(names), self._now() - RECENT_S)
        guard, weights = guard_look(rollout, analysis), question.weights
        ratio = min(weights[1:]) / weights[0]
        look = Look(alpha=guard.alpha, tuning=guard.tuning, ratio=ratio)
        of_first = question.samples * weights[0] / min(weights)
        found = []
        for metric in analysis.metrics:
            known = recent_of(events, metric.name) if metric.role == "guardrail" else None
            if known is not None and direction_of(metric) is not None and known.samples:
                samples = of_first * known.samples_per_exchange
                found.append(guard_plan(metric, known.expected, look, samples, question.power))
        return tuple(found)

    def _now(self) -> float:
        return self._clock.unix_ns() / 1e9


def _question(asked: PlanRequest, standing: Standing | None) -> tuple[Question, str]:
    """What is asked goes before what the design says."""
    design = standing.rollout.experiment if standing is not None else None
    if design is None or standing is None:
        if asked.model is None or asked.measure is None:
            raise InvalidRequest("name an experiment, or a model and a measure", parameter="model")
        return (
            Question(
                asked.measure,
                effect=asked.effect,
                samples=asked.samples,
                days=asked.days,
                alpha=asked.alpha or _ALPHA,
                power=asked.power or _POWER,
                weights=asked.weights or _EVEN,
                share=asked.share or 1.0,
                tolerance=asked.tolerance,
            ),
            asked.model,
        )
    rollout, measure = standing.rollout, asked.measure or design.primary
    question = Question(
        measure,
        effect=asked.effect if asked.effect is not None or measure != design.primary else design.effect,
        samples=asked.samples or (design.samples if asked.days is None else None),
        days=asked.days,
        alpha=asked.alpha or design.alpha,
        power=asked.power or design.power,
        weights=asked.weights or tuple(float(arm.weight) for arm in rollout.arms),
        share=asked.share or steps_of(rollout)[0].percent / 100,
        tolerance=asked.tolerance,
    )
    return question, asked.model or rollout.model
