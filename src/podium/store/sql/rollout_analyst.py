"""Judges rollouts by the sums in the database, and keeps what decisions were made on (control.rollouts.ports)."""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import msgspec

from podium.control.ports import Revision
from podium.control.rollouts.ports import BadBackend, Judgement
from podium.control.rollouts.standing import Standing
from podium.core.resources import Model
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.before import Reference, reference_from, stood_before
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.analysis.evidence import Bundle, Point, RevisionNote, arm_record
from podium.delivery.analysis.judge import Evidence, judge
from podium.delivery.analysis.observed import ArmSeen, Observed, last_comparison, run_us
from podium.delivery.analysis.report import effects_of
from podium.delivery.analysis.times import Times
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.digest import version_digest

__all__ = ["Kept", "Revisions", "SqlAnalyst"]

_PAGE = 100
_MOST_PAGES = 5  # of revisions that are looked through for those of the run


class Kept(Protocol):
    """What is kept of rollouts: podium.store.sql.rollout_store matches it."""

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """What was seen in the run that goes on."""

    async def read_history(self, name: str, rollout: Rollout, progress: Progress, models: Collection[str]) -> None:
        """Read a bounded part more of what subjects did before the run, if there is more to be read."""

    async def timeline(self, name: str, progress: Progress) -> tuple[Point, ...]:
        """Its course."""

    async def quantiles(self, name: str, progress: Progress) -> dict[str, dict[str, dict[str, float]]]:
        """Of times, by arm and measure."""

    async def times(self, name: str, rollout: Rollout, progress: Progress, seen: Iterable[ArmSeen]) -> Times:
        """How many exchanges took how long, in the stretches that are looked at together."""

    async def keep_evidence(self, bundle: Bundle) -> str:
        """Keep it for good; returns its id."""

    async def forget_sums(self, name: str, before_us: int) -> None:
        """Remove the sums of spans that began before this."""


class Revisions(Protocol):
    """Of the declared state: control.ports.ResourceStore matches it."""

    async def revisions(self, *, before: int | None, limit: int) -> tuple[Revision, ...]:
        """Newest first, numbers below `before`."""


class SqlAnalyst:
    """Matches `Analyst`. `lag_s`: how far the ledger is behind the gateways' journals, as the loader says."""

    def __init__(self, kept: Kept, revisions: Revisions, lag_s: Callable[[], float]) -> None:
        self._kept = kept
        self._revisions = revisions
        self._lag_s = lag_s

    async def judge(self, standing: Standing, now_unix_s: float) -> Judgement:
        """What is known of the step that it is at. Its body is the verdict as JSON."""
        progress = standing.progress
        assert progress is not None, "only what was started is judged"
        await self._kept.read_history(standing.name, standing.rollout, progress, _names_of(standing))
        observed = await self._kept.observe(standing.name, standing.rollout, progress)
        evidence = Evidence(
            observed,
            lag_s=self._lag_s(),
            taken_out=_taken_out(standing),
            before=await self._before(standing, progress, observed),
            times=await self._times(standing, progress, observed),
        )
        verdict = judge(standing.rollout, progress, evidence, now_unix_s)
        done = verdict.outcome == "success"
        return Judgement(
            verdict=verdict.outcome,
            reason=str(verdict.reason),
            detail=verdict.detail,
            happening=None if done else verdict.happening,
            enough=done,
            bad_backend=_bad_backend(verdict, standing),
            body=msgspec.json.encode(verdict),
        )

    async def _before(self, standing: Standing, progress: Progress, observed: Observed) -> Reference | None:
        """The version before, where nobody has it any more."""
        stood = stood_before(standing.rollout, progress, observed.arms)
        if stood is None:
            return None
        then = await self._kept.observe(standing.name, standing.rollout, stood)
        return reference_from(standing.rollout, stood, then)

    async def _times(self, standing: Standing, progress: Progress, observed: Observed) -> Times:
        """Only where a limit asks for them."""
        rollout = standing.rollout
        metrics = rollout.analysis.metrics if rollout.analysis is not None else ()
        if all(metric.limit_quantile is None for metric in metrics):
            return {}
        return await self._kept.times(standing.name, rollout, progress, observed.arms)

    async def keep(self, standing: Standing, judgement: Judgement, happening: str, now_unix_s: float) -> str:
        """Store the evidence of a decision; its id. The sums of runs before this one are forgotten then."""
        before, rollout, name = standing.progress, standing.rollout, standing.name
        bundle = Bundle(
            name=name,
            decided_unix_s=now_unix_s,
            happening=happening,
            reason=judgement.reason,
            detail=judgement.detail,
            rollout=rollout,
            progress=before,
            verdict=msgspec.json.decode(judgement.body, type=Verdict) if judgement.body else None,
            digests=_digests(standing),
            experiment=msgspec.json.decode(judgement.report) if judgement.report else None,
        )
        if before is not None:
            observed = await self._kept.observe(name, rollout, before)
            quantiles = await self._kept.quantiles(name, before)
            bundle = msgspec.structs.replace(
                bundle,
                arms=tuple(arm_record(seen, quantiles.get(seen.name)) for seen in observed.arms),
                metrics=await self._effects(standing, before, observed),
                timeline=await self._kept.timeline(name, before),
                revisions=await self._notes(name, before),
            )
            await self._kept.forget_sums(name, run_us(before))
        return await self._kept.keep_evidence(bundle)

    async def report(self, standing: Standing) -> tuple[MetricResult, ...]:
        """Every measure of every arm, of the run that goes on or the last one; empty when there was none."""
        progress = standing.progress
        if progress is None:
            return ()
        return await self._effects(
            standing, progress, await self._kept.observe(standing.name, standing.rollout, progress)
        )

    async def _effects(self, standing: Standing, progress: Progress, observed: Observed) -> tuple[MetricResult, ...]:
        rollout = standing.rollout
        then = last_comparison(rollout, progress, observed.arms)
        if then is not progress:
            observed = await self._kept.observe(standing.name, rollout, then)
        return effects_of(rollout, then, observed, taken_out=_taken_out(standing))

    async def _notes(self, name: str, progress: Progress) -> tuple[RevisionNote, ...]:
        """The revisions that moved the run, oldest first."""
        notes: list[RevisionNote] = []
        before: int | None = None
        for _ in range(_MOST_PAGES):
            page = await self._revisions.revisions(before=before, limit=_PAGE)
            mine = [one for one in page if one.created_unix_s >= progress.started_unix_s - 1 and _moves(one, name)]
            notes += [
                RevisionNote(
                    number=one.number, author=one.author, message=one.message, created_unix_s=one.created_unix_s
                )
                for one in mine
            ]
            if len(page) < _PAGE or page[-1].created_unix_s < progress.started_unix_s - 1:
                break
            before = page[-1].number
        return tuple(reversed(notes))


def _moves(revision: Revision, name: str) -> bool:
    return any(change.kind == "Progress" and change.name == name for change in revision.changes)


def _versions(standing: Standing) -> dict[str, str]:
    """Each arm's version."""
    return {} if standing.progress is None else {share.name: share.version for share in standing.progress.arms}


def _names_of(standing: Standing) -> tuple[str, ...]:
    """What callers may call the model."""
    name = standing.rollout.model
    resource = standing.state.get(("Model", name))
    aliases = resource.spec.aliases if resource is not None and isinstance(resource.spec, Model) else ()
    return (name, *aliases)


def _taken_out(standing: Standing) -> frozenset[str]:
    """Backends of the arms' versions that get nothing."""
    specs = [standing.version(name) for name in set(_versions(standing).values())]
    return frozenset(f"{one.provider}/{one.model}" for spec in specs if spec for one in spec.backends if not one.weight)


def _bad_backend(verdict: Verdict, standing: Standing) -> BadBackend | None:
    """The first of them: others are seen again at the next look."""
    for found in verdict.backends:
        version = _versions(standing).get(found.arm)
        if version is not None:
            return BadBackend(version=version, backend=found.backend, detail=found.sentence)
    return None


def _digests(standing: Standing) -> dict[str, str]:
    names = set(_versions(standing).values()) | ({standing.progress.before} if standing.progress else set())
    specs = {name: standing.version(name) for name in sorted(names)}
    return {name: version_digest(spec) for name, spec in specs.items() if spec is not None}
