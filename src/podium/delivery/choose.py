"""Which version of a model serves an exchange: the model's own, or as the rollout that moves it says."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from podium.core.resources import Model
from podium.core.rollouts import ACTIVE_PHASES, BUCKETS, ArmShare, Progress, Rollout
from podium.delivery.buckets import BASELINE, CANDIDATE, count_of, steps_of
from podium.delivery.segments import Holds, compile_segment
from podium.delivery.subjects import Subjects

__all__ = ["Choice", "Chooser", "Chosen", "choose_version", "choosers_of", "versions_in"]


class Choice(StrEnum):
    """Why this version."""

    DECLARED = "declared"  # the model's own version; nothing moves it
    CANDIDATE = "candidate"
    BASELINE = "baseline"  # the version before, beside as many who have the candidate
    ARM = "arm"  # of an A/B test
    OUTSIDE = "outside"  # the version before: the subject is in no arm
    OUTSIDE_SEGMENT = "outside_segment"  # the version before: the rollout is not about this exchange
    KEPT = "kept"  # the candidate, which an earlier step gave to this segment; not compared
    OVERRIDDEN = "overridden"  # a tester named the version
    TRIPPED = "tripped"  # the version before: the gateway saw the arm fail


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one exchange gets. `arm` empty: it is not compared. `mirrored`: the candidate gets a copy of it."""

    version: str
    choice: Choice
    arm: str = ""
    mirrored: bool = False


class Chooser:
    """One model under one rollout, compiled. Made once a snapshot, asked for each exchange of the model."""

    __slots__ = (
        "_earlier",
        "_find",
        "_first",
        "_here",
        "_kept",
        "_options",
        "_outside_segment",
        "_where",
        "before",
        "candidates",
        "progress",
        "rollout",
        "spec",
        "tripped",
        "versions",
    )

    def __init__(self, name: str, rollout: Rollout, progress: Progress) -> None:
        self.rollout = name
        self.spec = rollout
        self.progress = progress
        self.before = progress.before
        self.versions = versions_in(rollout, progress)
        self.candidates = frozenset(  # arms that a burst of failures takes out: those that did not serve before
            share.name for share in progress.arms if share.version != progress.before
        )
        self.tripped = Chosen(progress.before, Choice.TRIPPED)
        self._outside_segment = Chosen(progress.before, Choice.OUTSIDE_SEGMENT)
        self._kept = Chosen(rollout.candidate or progress.before, Choice.KEPT)
        self._find = Subjects(progress.salt, rollout.sticky_by).find
        self._first, self._options = _layout(progress)
        self._where = compile_segment(rollout.where)
        steps = steps_of(rollout)
        self._here = compile_segment(steps[min(progress.step, len(steps) - 1)].where)
        self._earlier = tuple(_earlier(rollout, progress))

    def choose(self, tenant: str, key: str, user: str, session: str, tier: str, tags: str) -> tuple[Chosen, str]:
        """What the exchange gets, and its subject as analysis knows it. Empty texts: it has none."""
        bucket, subject = self._find(tenant, user, session, key)
        if self._where is not None and not self._where(tenant, key, user, tier, tags):
            return self._outside_segment, subject
        for count, holds in self._earlier:
            if bucket < count and holds(tenant, key, user, tier, tags):
                return self._kept, subject
        if self._here is not None and not self._here(tenant, key, user, tier, tags):
            return self._outside_segment, subject
        return self._options[bisect_right(self._first, bucket) - 1], subject

    def override(self, version: str) -> Chosen | None:
        """What a tester gets who names a version that takes part; None: it does not."""
        return Chosen(version, Choice.OVERRIDDEN) if version in self.versions else None


def versions_in(rollout: Rollout, progress: Progress) -> tuple[str, ...]:
    """The versions that take part; the last one is that before."""
    declared = [arm.version for arm in rollout.arms] if rollout.candidate is None else [rollout.candidate]
    moved_to = [share.version for share in progress.arms]
    others = dict.fromkeys([*declared, *moved_to])
    others.pop(progress.before, None)
    return (*others, progress.before)


def _layout(progress: Progress) -> tuple[list[int], list[Chosen]]:
    """First buckets of stretches, and what is chosen in each."""
    outside = Chosen(progress.before, Choice.OUTSIDE)
    first, options, at = [0], [outside], 0
    for share in sorted(progress.arms, key=lambda one: one.first):
        if progress.mirrored and share.name != BASELINE:
            continue  # callers see the version before, and the candidate gets copies
        if share.first > at:
            first.append(at)
            options.append(outside)
        first.append(share.first)
        options.append(Chosen(share.version, _choice(share), share.name, mirrored=progress.mirrored))
        at = share.first + share.count
    if at < BUCKETS:
        first.append(at)
        options.append(outside)
    return first, options


def _choice(share: ArmShare) -> Choice:
    return {CANDIDATE: Choice.CANDIDATE, BASELINE: Choice.BASELINE}.get(share.name, Choice.ARM)


def _earlier(rollout: Rollout, progress: Progress) -> Iterator[tuple[int, Holds]]:
    """Whom earlier steps gave the candidate and this one would not: so many buckets of a segment."""
    if rollout.strategy != "canary" or not progress.arms:
        return
    steps = steps_of(rollout)
    here = steps[min(progress.step, len(steps) - 1)]
    for step in steps[: progress.step]:
        holds, count = compile_segment(step.where), count_of(step.percent)
        covered = here.where in (None, step.where) and count <= count_of(here.percent)
        if holds is not None and count and not covered:
            yield count, holds


def choose_version(model: Model) -> tuple[str, Choice]:
    """The name of the version that serves a model's exchanges while nothing moves it, and why."""
    return model.version, Choice.DECLARED


def choosers_of(rollouts: Mapping[str, Rollout], progress: Mapping[str, Progress]) -> dict[str, Chooser]:
    """Of the rollouts that are under way, by their models."""
    return {
        rollout.model: Chooser(name, rollout, progress[name])
        for name, rollout in rollouts.items()
        if name in progress and progress[name].phase in ACTIVE_PHASES
    }
