"""What operators do with experiments: plan, start, list, report, stop.

An experiment is a rollout with a design. It starts and moves as rollouts do; what ends it is here as well, because an
experiment is stopped with its evidence, and with a winner or without.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from podium.control.changes import state_of
from podium.control.experiments.designs import digest_of, is_unchanged
from podium.control.experiments.views import ExperimentView, PlanRequest, experiment_view
from podium.control.ports import Ledger, ResourceStore, UsageQuery
from podium.control.rollouts.standing import Standing, Standings
from podium.control.rollouts.use import Rollouts
from podium.control.rollouts.views import RolloutView
from podium.control.specs import State
from podium.core.clock import Clock
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.core.event import Event
from podium.core.resources import Model, Tenant
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.compared import direction_of
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.observed import ArmSeen, Observed, shares_of
from podium.delivery.analysis.tally import span_us
from podium.delivery.buckets import arms_at, steps_of
from podium.delivery.experiments.effects import guard_look
from podium.delivery.experiments.plan import Base, GuardPlan, Plan, Question, expected_of, guard_plan, plan
from podium.delivery.experiments.recent import recent_of
from podium.delivery.experiments.report import ExperimentReport, Seen, Segment, SegmentKind, report_of
from podium.delivery.statistics.planning import Look

__all__ = ["ExperimentStore", "Experiments"]

_DAY_S = 86_400.0
_RECENT_DAYS = 7.0
_SHORTER_S = (3600.0, _DAY_S, 2 * _DAY_S, 4 * _DAY_S)
_PAGE, _MOST_PAGES = 200, 25  # of revisions that are looked through for the plan that was frozen
_ALPHA, _POWER, _EVEN = 0.05, 0.8, (1.0, 1.0)
_MOST_SEGMENTS = 30  # of each kind that are reported, the largest


class ExperimentStore(Protocol):
    """What is kept of experiments; podium.store.sql.experiment_store matches it. Unavailable: the database is away."""

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """What was seen in the run; of an adaptive experiment evened over its shares."""

    async def observe_even(self, name: str, progress: Progress, arms: Collection[str]) -> Observed:
        """Of these arms, in the spans in which each had exchanges."""

    async def observe_span(self, name: str, progress: Progress, span_us: int) -> Observed:
        """All arms in one span."""

    async def arms_seen(self, name: str, progress: Progress) -> tuple[ArmSeen, ...]:
        """Each arm in each span of the run."""

    async def timeline(self, name: str, progress: Progress) -> tuple[Point, ...]:
        """Its course."""

    async def recent(self, models: Collection[str], since_unix_s: float) -> tuple[Event, ...]:
        """The newest exchanges since then of models of these names; a bounded number."""

    async def tenants(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[Mapping[str, Mapping[str, Observed]], str]:
        """What was seen of each tenant, as a report reads it by arm; and what is missing there, in a sentence."""


class Experiments:
    """The use cases."""

    def __init__(
        self,
        rollouts: Rollouts,
        standings: Standings,
        resources: ResourceStore,
        ledger: Ledger,
        clock: Clock,
        *,
        store: ExperimentStore | None = None,
    ) -> None:
        self._rollouts = rollouts
        self._standings = standings
        self._resources = resources
        self._ledger = ledger
        self._clock = clock
        self._store = store

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
        names, declared = _public_names(state, model)
        per_day = asked.exchanges_per_day
        if per_day is None and declared:
            per_day = (await self._traffic(names))[0]
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
        """Of the run that goes on, or the last one. Conflict: it was never started, or its design is gone."""
        standing = await self._experiment(name)
        progress, store = standing.progress, self._store
        if progress is None or store is None or not progress.started_unix_s:
            raise Conflict(f"`{name}` was never started: nothing was seen", hint=f"`podium experiment start {name}`")
        rollout, design_now = await self._as_frozen(standing, progress), digest_of(standing)
        observed = await self._compared(name, rollout, progress)
        ratio, shares = await self._ratio(name, rollout, progress, observed)
        tenants, note = await store.tenants(name, rollout, progress)
        names, _ = _public_names(standing.state, rollout.model)
        seen = Seen(
            name=name,
            rollout=rollout,
            progress=progress,
            design_now=design_now,
            now_unix_s=self._now(),
            observed=observed,
            ratio=ratio,
            ratio_shares=shares,
            timeline=await store.timeline(name, progress),
            answers_per_day=(await self._traffic(names))[1],
            segments=tuple(_segments(standing, tenants)),
            segments_note=note,
        )
        return report_of(seen)

    async def _experiment(self, name: str) -> Standing:
        standing = await self._standings.one(name)
        if standing.rollout.experiment is None:
            raise NotFound(
                f"rollout `{name[:128]}` is no experiment: it has no `experiment`",
                hint="`podium experiment list` shows those that are",
            )
        return standing

    async def _arms_seen(self, standing: Standing) -> tuple[ArmSeen, ...]:
        if self._store is None or standing.progress is None:
            return ()
        return await self._store.arms_seen(standing.name, standing.progress)

    async def _as_frozen(self, standing: Standing, progress: Progress) -> Rollout:
        """The plan that was frozen. Another one may have been declared since the end: what it replaced is known."""
        found = standing.rollout
        if is_unchanged(standing):
            return found
        before: int | None = None
        for _ in range(_MOST_PAGES):
            page = await self._resources.revisions(before=before, limit=_PAGE)
            for revision in page:
                if revision.created_unix_s < progress.started_unix_s:
                    return found
                for change in revision.changes:
                    if (change.kind, change.name) == ("Rollout", standing.name) and change.before is not None:
                        found = msgspec.convert(change.before, Rollout)
            if len(page) < _PAGE:
                break
            before = page[-1].number
        return found

    async def _compared(self, name: str, rollout: Rollout, progress: Progress) -> dict[str, Observed]:
        """By arm, what it is compared by. Of an adaptive experiment each arm has its own spans beside the first's."""
        assert self._store is not None
        assert rollout.experiment is not None
        whole = await self._store.observe(name, rollout, progress)
        observed = {arm.name: whole for arm in rollout.arms}
        if rollout.experiment.adaptive is None:
            return observed
        first = rollout.arms[0].name
        for arm in rollout.arms[1:]:
            observed[arm.name] = await self._store.observe_even(name, progress, (first, arm.name))
        return observed

    async def _ratio(
        self, name: str, rollout: Rollout, progress: Progress, observed: Mapping[str, Observed]
    ) -> tuple[Observed, Mapping[str, int]]:
        """Exchanges under the shares of now, and these. No shares: they are not known any more."""
        assert self._store is not None
        assert rollout.experiment is not None
        planned = shares_of(arms_at(rollout, 0, progress.before))
        if rollout.experiment.adaptive is None:
            return observed[rollout.arms[0].name], planned
        seen = await self._store.arms_seen(name, progress)
        last = span_us(progress.step_unix_s)
        shares = shares_of(progress.arms) or (planned if {one.span_us for one in seen} == {last} else {})
        return await self._store.observe_span(name, progress, last), shares

    async def _traffic(self, names: Collection[str]) -> tuple[float, float]:
        """Exchanges and answers a day, of the last week, or of as much of it as there was any."""
        week_s = self._now() - _RECENT_DAYS * _DAY_S
        exchanges, answers = await self._used(names, week_s, None)
        days = _RECENT_DAYS
        for back_s in _SHORTER_S if exchanges else ():  # a model of yesterday is not taken for a quiet one
            if not (await self._used(names, week_s, self._now() - back_s))[0]:
                days = back_s / _DAY_S
                break
        return exchanges / days, answers / days

    async def _used(self, names: Collection[str], since_unix_s: float, until_unix_s: float | None) -> tuple[int, int]:
        """Exchanges, and those of them that were answered."""
        exchanges = answers = 0
        for name in names:
            query = UsageQuery(by=(), since_unix_s=since_unix_s, until_unix_s=until_unix_s, model=name)
            for row in await self._ledger.usage(query):
                exchanges += row.exchanges
                answers += row.exchanges - row.errors
        return exchanges, answers

    async def _base(
        self, asked: PlanRequest, question: Question, names: Collection[str], per_day: float | None
    ) -> Base:
        if asked.base is not None:
            expected = expected_of(question.measure, asked.base, asked.deviation, asked.design_effect)
            return Base(expected, exchanges_per_day=per_day)
        since_s = self._now() - _RECENT_DAYS * _DAY_S
        events = await self._store.recent(tuple(names), since_s) if self._store is not None else ()
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
        rollout, analysis = standing.rollout, standing.rollout.analysis
        if analysis is None or self._store is None or question.samples is None:
            return ()
        events = await self._store.recent(tuple(names), self._now() - _RECENT_DAYS * _DAY_S)
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


def _public_names(state: State, model: str) -> tuple[tuple[str, ...], bool]:
    """What callers may ask for to get this model, and whether it is declared."""
    resource = state.get(("Model", model))
    if resource is None or not isinstance(resource.spec, Model):
        return (model,), False
    return (model, *resource.spec.aliases), True


def _segments(standing: Standing, tenants: Mapping[str, Mapping[str, Observed]]) -> Iterable[Segment]:
    """Tenants, and tiers of tenants as these are declared now; the largest of each."""
    tiers: dict[str, list[str]] = {}
    for name in tenants:
        resource = standing.state.get(("Tenant", name))
        if resource is not None and isinstance(resource.spec, Tenant) and resource.spec.tier:
            tiers.setdefault(resource.spec.tier, []).append(name)
    merged = {tier: _together([tenants[name] for name in names]) for tier, names in tiers.items()}
    kinds: tuple[tuple[SegmentKind, Mapping[str, Mapping[str, Observed]]], ...] = (
        ("tier", merged),
        ("tenant", tenants),
    )
    for kind, found in kinds:
        sizes = {name: max((_size(one) for one in observed.values()), default=0.0) for name, observed in found.items()}
        for name in sorted(found, key=lambda name: (-sizes[name], name))[:_MOST_SEGMENTS]:
            yield Segment(kind, name, found[name])


def _together(parts: list[Mapping[str, Observed]]) -> dict[str, Observed]:
    """Subjects belong to one tenant each, so groups of subjects add up."""
    arms = {arm for part in parts for arm in part}
    return {
        arm: Observed(cells=tuple(cell for part in parts if arm in part for cell in part[arm].cells)) for arm in arms
    }


def _size(observed: Observed) -> float:
    return sum(cell.totals[0] for cell in observed.cells)
