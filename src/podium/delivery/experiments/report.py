"""What an experiment has shown: effects, the sample ratio, money, segments, and what must not be believed. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from podium.core.experiments import ArmEnd, Experiment, Method
from podium.core.measures import MetricName
from podium.core.rollouts import ACTIVE_PHASES, Metric, Progress, Rollout
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.observed import Observed, shares_of
from podium.delivery.buckets import arms_at
from podium.delivery.experiments.course import arms_in, is_complete, samples_of
from podium.delivery.experiments.design import short
from podium.delivery.experiments.effects import MEASURED, EffectRow, declared_measures, effect_of
from podium.delivery.experiments.history import HistoryReport, history_of
from podium.delivery.experiments.money import Money, money_of
from podium.delivery.experiments.segments import SegmentKind
from podium.delivery.experiments.words import concluded, ended_text
from podium.delivery.statistics.sample_ratio import ALPHA, sample_ratio

__all__ = ["ArmReport", "ExperimentReport", "Ratio", "Seen", "Segment", "SegmentReport", "report_of"]

_FEWEST_ARMS = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the subjects, and what was seen of it."""

    kind: SegmentKind
    name: str
    observed: Mapping[str, Observed]  # as of `Seen`


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a report reads."""

    name: str
    rollout: Rollout
    progress: Progress
    design_now: str  # digest of the design as it is declared now
    now_unix_s: float
    observed: Mapping[str, Observed]  # by arm, what it is compared by; evened where shares changed
    ratio: Observed  # all spans of the run, as they are
    ratio_shares: Mapping[str, float]  # exchanges that each arm should have had in these; empty: unknown
    timeline: tuple[Point, ...] = ()
    answers_per_day: float | None = None  # of the model, now
    segments: tuple[Segment, ...] = ()
    segments_note: str = ""
    others: tuple[str, ...] = field(default_factory=tuple)  # sentences to be added to the warnings


class ArmReport(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of the run."""

    name: str
    version: str
    exchanges: Annotated[int, Meta(description="All of them, however they ended.")]
    planned: Annotated[float, Meta(description="Share of the subjects that take part, as designed.")]
    share: Annotated[float | None, Meta(description="Its share now; null: the experiment has ended.")]
    taken_out: Annotated[bool, Meta(description="It ended before the others: it gets nothing any more.")]
    complete: Annotated[bool, Meta(description="It has its planned sample.")]
    ended: Annotated[ArmEnd | None, Meta(description="When it was taken out, by what; null: it was not.")] = None


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Whether arms got the subjects that they should; else what is seen in them may be the doing of the split."""

    counts: Annotated[dict[str, int], Meta(description="Exchanges, shrunk to as many as they are worth.")]
    expected: dict[str, float]
    p_value: Annotated[float, Meta(description="Pearson's, of one look.")]
    sequential_p_value: Annotated[float, Meta(description="Valid at any number of looks.")]
    mismatch: Annotated[bool, Meta(description=f"The second one is below {ALPHA:g}.")]
    enough: bool


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """The primary measure, and what the analysis watches, in a part of the subjects.

    Exploratory: a part that stands out is a question for the next experiment. Each measure's level is shared out over
    all parts that are compared.
    """

    kind: SegmentKind
    name: Annotated[str, Meta(description="Of a tag `name=value`.")]
    effects: tuple[EffectRow, ...]
    exploratory: Annotated[bool, Meta(description="Always true.")] = True


class ExperimentReport(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run of an experiment."""

    name: str
    model: str
    hypothesis: str
    phase: str
    reason: str
    detail: str
    ended: bool
    winner: str
    design: Annotated[str, Meta(description="SHA-256 of the design, frozen when it started.")]
    design_unchanged: Annotated[bool, Meta(description="What is declared now is that design.")]
    experiment: Experiment
    guardrails: tuple[Metric, ...]
    decided_by: Annotated[
        Method, Meta(description="The intervals that count: sequential ones until a fixed horizon is reached.")
    ]
    complete: Annotated[bool, Meta(description="Every arm that takes part has its planned sample.")]
    believable: Annotated[bool, Meta(description="Nothing speaks against going by the intervals that count.")]
    warnings: Annotated[tuple[str, ...], Meta(description="What must be known before anything is believed.")]
    conclusions: Annotated[tuple[str, ...], Meta(description="The primary measure of each arm in a sentence.")]
    started_unix_s: float
    until_unix_s: Annotated[float, Meta(description="When it ended, or when this was made.")]
    arms: tuple[ArmReport, ...]
    effects: Annotated[
        tuple[EffectRow, ...],
        Meta(description="The primary measure first. Others are each at the level by themselves: of many, some err."),
    ]
    history: Annotated[HistoryReport, Meta(description="What subjects did before the start.")]
    ratio: Annotated[Ratio | None, Meta(description="null: shares have changed, and not all of them are known.")]
    money: Money
    segments: tuple[SegmentReport, ...]
    segments_note: str
    timeline: tuple[Point, ...]


def report_of(seen: Seen) -> ExperimentReport:
    """The report. The same for the same values."""
    rollout, progress = seen.rollout, seen.progress
    design = rollout.experiment
    assert design is not None, "only experiments are reported"
    whole = next(iter(seen.observed.values()), Observed())
    complete = is_complete(rollout, progress, whole)
    by: Method = design.method if complete else "sequential"
    ended = progress.phase not in ACTIVE_PHASES and progress.phase != "pending"
    unchanged = progress.design in ("", seen.design_now)
    ratio = _ratio(seen)
    arms = tuple(_arms(seen, whole, ended=ended))
    effects = tuple(_effects(seen.rollout, seen.observed, MEASURED, by))
    mismatch = ratio is not None and ratio.mismatch
    looks = _looks(seen)
    return ExperimentReport(
        name=seen.name,
        model=rollout.model,
        hypothesis=design.hypothesis,
        phase=progress.phase,
        reason=progress.reason,
        detail=progress.detail,
        ended=ended,
        winner=progress.winner,
        design=progress.design or seen.design_now,
        design_unchanged=unchanged,
        experiment=design,
        guardrails=tuple(_guardrails(rollout)),
        decided_by=by,
        complete=complete,
        believable=unchanged and not mismatch,
        warnings=(*_warnings(seen, arms, ratio, complete=complete, ended=ended, unchanged=unchanged), *seen.others),
        conclusions=tuple(concluded(row, rollout.arms[0].name, by) for row in effects if row.role == "primary"),
        started_unix_s=progress.started_unix_s,
        until_unix_s=progress.changed_unix_s if ended else seen.now_unix_s,
        arms=arms,
        effects=effects,
        history=history_of(rollout, progress, whole.past, effects),
        ratio=ratio,
        money=money_of(rollout, seen.observed, seen.answers_per_day, by),
        segments=tuple(_segments(seen, by, looks)),
        segments_note=_segments_note(seen, looks),
        timeline=seen.timeline,
    )


def _arms(seen: Seen, whole: Observed, *, ended: bool) -> Iterator[ArmReport]:
    rollout, progress = seen.rollout, seen.progress
    design = rollout.experiment
    assert design is not None
    planned = shares_of(arms_at(rollout, 0, progress.before))
    now, everything = shares_of(progress.arms), sum(shares_of(progress.arms).values())
    counts = samples_of(progress, whole)
    taking_part, ends = arms_in(rollout, progress, whole), {end.arm: end for end in progress.ended}
    for arm in rollout.arms:
        exchanges = counts.get(arm.name, 0)
        yield ArmReport(
            name=arm.name,
            version=arm.version,
            exchanges=exchanges,
            planned=planned.get(arm.name, 0) / max(1, sum(planned.values())),
            share=None if ended or not everything else now.get(arm.name, 0) / everything,
            taken_out=bool(exchanges) and arm.name not in taking_part,
            complete=exchanges >= design.samples,
            ended=ends.get(arm.name),
        )


def _effects(
    rollout: Rollout, observed: Mapping[str, Observed], names: tuple[MetricName, ...], by: Method, looks: int = 1
) -> Iterator[EffectRow]:
    """The primary measure first, then guardrails, then the rest; each of all arms."""
    rows = (
        effect_of(rollout, observed[arm.name], arm.name, name, by=by, looks=looks)
        for name in names
        for arm in rollout.arms[1:]
        if arm.name in observed
    )
    found = [row for row in rows if row is not None]
    order = {"primary": 0, "guardrail": 1, "goal": 2, "info": 3}
    yield from sorted(found, key=lambda row: order[row.role])


def _looks(seen: Seen) -> int:
    """How many parts of the subjects have exchanges in two arms at least."""
    arms = [{cell.arm for one in segment.observed.values() for cell in one.cells} for segment in seen.segments]
    return sum(len(names) >= _FEWEST_ARMS for names in arms)


def _segments(seen: Seen, by: Method, looks: int) -> Iterator[SegmentReport]:
    names = declared_measures(seen.rollout)
    for segment in seen.segments:
        effects = tuple(_effects(seen.rollout, segment.observed, names, by, max(1, looks)))
        if effects:
            yield SegmentReport(kind=segment.kind, name=segment.name, effects=effects)


def _segments_note(seen: Seen, looks: int) -> str:
    if not looks:
        return seen.segments_note
    return (
        f"Segments are exploratory: one that stands out is a question for the next experiment. Each measure is"
        f" looked at in {looks:,}, which share its level (Bonferroni). {seen.segments_note}"
    ).strip()


def _guardrails(rollout: Rollout) -> Iterator[Metric]:
    metrics = rollout.analysis.metrics if rollout.analysis is not None else ()
    return (metric for metric in metrics if metric.role == "guardrail")


def _ratio(seen: Seen) -> Ratio | None:
    names = [name for name, count in seen.ratio_shares.items() if count]
    if len(names) < _FEWEST_ARMS:
        return None
    exposures = {name: seen.ratio.exposures(name) for name in names}
    whole, squares = (sum(column) for column in zip(*exposures.values(), strict=True))
    effect = max(1.0, squares / whole) if whole else 1.0
    counts = [round(exposures[name][0] / effect) for name in names]
    checked = sample_ratio(counts, [seen.ratio_shares[name] for name in names])
    return Ratio(
        counts=dict(zip(names, counts, strict=True)),
        expected=dict(zip(names, checked.expected, strict=True)),
        p_value=checked.p_value,
        sequential_p_value=checked.sequential_p_value,
        mismatch=checked.mismatch,
        enough=checked.enough,
    )


def _warnings(
    seen: Seen, arms: tuple[ArmReport, ...], ratio: Ratio | None, *, complete: bool, ended: bool, unchanged: bool
) -> Iterator[str]:
    """The loudest first."""
    design = seen.rollout.experiment
    assert design is not None
    told = ", ".join(f"{arm.name} {arm.exchanges:,}" for arm in arms)
    if not unchanged:
        yield (
            f"The design that is declared now ({short(seen.design_now)}) is not the one that was frozen"
            f" ({short(seen.progress.design)}). What is shown answers no question that was asked before."
        )
    if ended and not complete:
        yield (
            f"STOPPED BEFORE ITS PLANNED SAMPLE: {told} of {design.samples:,} exchanges. Intervals of a fixed horizon"
            " are not valid then; sequential ones are, and they alone count here."
        )
    elif not complete and design.method == "fixed":
        yield (
            f"NOT AT ITS PLANNED SAMPLE: {told} of {design.samples:,} exchanges. Intervals of the fixed horizon are not"
            " valid before; who stops by them is wrong more often than stated. Sequential ones count until then."
        )
    if ratio is not None and ratio.mismatch:
        told = ", ".join(f"{name} {count:,} of {ratio.expected[name]:,.0f}" for name, count in ratio.counts.items())
        yield (
            f"ARMS HAVE OTHER SHARES OF THE SUBJECTS THAN DESIGNED ({told}; p = {ratio.sequential_p_value:.2g})."
            " Something but chance decides who is in which arm: no effect can be believed."
        )
    for arm in arms:
        if arm.taken_out:
            why = f"Arm {arm.name} was taken out: a guardrail failed." if arm.ended is None else ended_text(arm.ended)
            yield f"{why} Only what was seen until then is compared."
    if seen.progress.phase in ("returned", "failed"):
        yield f"It ended by itself: {seen.progress.reason}. {seen.progress.detail}".strip()
