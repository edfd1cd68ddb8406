"""Reports of experiments: made of what is seen while they run, and kept with the evidence of how they ended."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import structlog

from podium.control.experiments.designs import digest_of, is_unchanged
from podium.control.experiments.ports import ExperimentStore
from podium.control.experiments.traffic import Traffic, public_names
from podium.control.ports import ResourceStore
from podium.control.rollouts.ports import Analyst, EvidenceShelf, Judgement
from podium.control.rollouts.standing import Standing
from podium.core.errors import Conflict, PodiumError
from podium.core.resources import Tenant
from podium.core.rollouts import ACTIVE_PHASES, Progress, Rollout
from podium.delivery.analysis.evidence import Bundle
from podium.delivery.analysis.observed import Observed
from podium.delivery.experiments.course import shares_move
from podium.delivery.experiments.ratio import expected_exchanges
from podium.delivery.experiments.report import ExperimentReport, Seen, Segment, report_of
from podium.delivery.experiments.segments import SegmentKind, largest

__all__ = ["ExperimentReports", "ReportingAnalyst"]

_log = structlog.get_logger("podium.control.experiments")

_PAGE, _MOST_PAGES = 200, 25  # of revisions that are looked through for the plan that was frozen
_MOST_SEGMENTS = 30  # of each kind that are reported, the largest
_MOST_KEPT = 100  # decisions that are looked through for the end of a run: shares change 24 times at most
_REPORT_S = 5.0  # a decision does not wait longer for what is said of it


class ExperimentReports:
    """Makes them, and finds those that were kept."""

    def __init__(
        self,
        resources: ResourceStore,
        traffic: Traffic,
        *,
        store: ExperimentStore | None = None,
        shelf: EvidenceShelf | None = None,
    ) -> None:
        self._resources = resources
        self._traffic = traffic
        self._shelf = shelf
        self.store = store

    async def current(self, standing: Standing, now_unix_s: float) -> ExperimentReport:
        """Of the run that goes on, or the last one: by its sums, or where these are gone as it was when it ended.

        Conflict: it was never started.
        """
        name, progress, store = standing.name, standing.progress, self.store
        if progress is None or store is None or not progress.started_unix_s:
            raise Conflict(f"`{name}` was never started: nothing was seen", hint=f"`podium experiment start {name}`")
        ended = progress.phase not in ACTIVE_PHASES
        kept = await self.kept(name, progress) if ended and not await store.arms_seen(name, progress) else None
        return kept or await self._of(standing, progress, store, now_unix_s)

    async def kept(self, name: str, progress: Progress | None = None) -> ExperimentReport | None:
        """As it was kept last, of one run or of any; None: nothing was."""
        shelf = self._shelf
        if shelf is None:
            return None
        for key, _ in await shelf.evidence_of(name, limit=_MOST_KEPT):
            bundle = await shelf.evidence(key)
            if bundle is None or bundle.progress is None:
                continue
            if progress is not None and bundle.progress.started_unix_s != progress.started_unix_s:
                continue
            if (report := _readable(bundle)) is not None:
                return report if progress is None else _as_it_stands(report, progress)
        return None

    async def _of(
        self, standing: Standing, progress: Progress, store: ExperimentStore, now_unix_s: float
    ) -> ExperimentReport:
        name = standing.name
        rollout = await self._as_frozen(standing, progress)
        observed = await _compared(store, name, rollout, progress)
        ratio = await store.observe_whole(name, progress)
        tenants, note = await store.tenants(name, rollout, progress)
        parts, parts_note = await store.segments(name, rollout, progress)
        names, _ = public_names(standing.state, rollout.model)
        seen = Seen(
            name=name,
            rollout=rollout,
            progress=progress,
            design_now=digest_of(standing),
            now_unix_s=now_unix_s,
            observed=observed,
            ratio=ratio,
            ratio_shares=expected_exchanges(rollout, progress, ratio),
            timeline=await store.timeline(name, progress),
            answers_per_day=(await self._traffic.per_day(names))[1],
            segments=(*_segments(standing, tenants), *(Segment(*one) for one in largest(parts))),
            segments_note=f"{note} {parts_note}".strip(),
        )
        return report_of(seen)

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


class ReportingAnalyst:
    """Matches `Analyst`: what is decided about an experiment is kept with what could be reported of it then."""

    def __init__(self, analyst: Analyst, reports: ExperimentReports) -> None:
        self._analyst = analyst
        self._reports = reports

    async def judge(self, standing: Standing, now_unix_s: float) -> Judgement:
        """What is known of the step that it is at."""
        return await self._analyst.judge(standing, now_unix_s)

    async def keep(self, standing: Standing, judgement: Judgement, happening: str, now_unix_s: float) -> str:
        """Store the evidence of a decision; its id."""
        if standing.rollout.experiment is not None and judgement.after is not None:
            report = await self._report(replace(standing, progress=judgement.after), now_unix_s)
            judgement = msgspec.structs.replace(judgement, report=report)
        return await self._analyst.keep(standing, judgement, happening, now_unix_s)

    async def _report(self, standing: Standing, now_unix_s: float) -> bytes:
        """As JSON; empty: it could not be made, and what is decided does not depend on it."""
        try:
            async with asyncio.timeout(_REPORT_S):
                return msgspec.json.encode(await self._reports.current(standing, now_unix_s))
        except (PodiumError, TimeoutError) as error:
            _log.warning("an experiment's report was not kept", experiment=standing.name, why=str(error))
            return b""


def _readable(bundle: Bundle) -> ExperimentReport | None:
    """None: there is none, or one that this Podium does not understand."""
    try:
        return msgspec.convert(bundle.experiment, ExperimentReport | None)
    except msgspec.ValidationError as error:
        _log.warning("a kept report cannot be read", experiment=bundle.name, why=str(error))
        return None


def _as_it_stands(report: ExperimentReport, progress: Progress) -> ExperimentReport:
    """A promotion may have been undone since."""
    return msgspec.structs.replace(
        report, phase=progress.phase, reason=progress.reason, detail=progress.detail, winner=progress.winner
    )


async def _compared(store: ExperimentStore, name: str, rollout: Rollout, progress: Progress) -> dict[str, Observed]:
    """By arm, what it is compared by. Where shares changed, each arm has its own spans beside the first's."""
    whole = await store.observe(name, rollout, progress)
    observed = {arm.name: whole for arm in rollout.arms}
    if shares_move(rollout, progress):
        first = rollout.arms[0].name
        for arm in rollout.arms[1:]:
            observed[arm.name] = await store.observe_even(name, progress, (first, arm.name))
    return observed


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
