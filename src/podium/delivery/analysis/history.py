"""What subjects did before a rollout began: the covariate of CUPED.

Exchanges of before know nothing of the rollout, but they tell tenant, user and key, and these and the run's salt are
all that a subject is made of (podium.delivery.subjects). So who would have been which subject in which buckets can be
said of every old exchange. Sessions are in no event: those who are only a session have no history, and what they did
counts for their key.

History is kept by stripe of buckets, which is an arm at each step, and by the same groups of subjects as everything
else (podium.delivery.analysis.tally). Groups lose nothing here: a group's sum follows its sum of before as closely as
each subject's does.

A metric is a ratio of totals, and so it is before: a group's `z` is the ratio of before of its arm and the group's
residual `y - ratio * x` over the mean `x` (the delta method again, as in Deng, Knoblich and Lu, KDD 2018). A subject
without history has no residual, so that it counts with the mean. Whether it has any is of before the start, too: that
biases nothing (Zhao and Ding, "To adjust or not to adjust? Estimating the average treatment effect in randomized
experiments with missing covariates", JASA 2022, arXiv:2108.00152).

Everything here is of before the start, and salts are drawn anew at each: what an earlier run did to subjects is in all
arms alike.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

from msgspec.structs import replace

from podium.core.event import AnswerFlag, Event
from podium.core.rollouts import BUCKETS, Progress, Rollout
from podium.delivery.analysis.measures import INDEX, MEASURES, measures_of
from podium.delivery.analysis.tally import cluster_of
from podium.delivery.buckets import arms_at, steps_of
from podium.delivery.segments import compile_segment
from podium.delivery.subjects import Subjects

__all__ = [
    "HISTORY_MEASURES",
    "HISTORY_WIDTH",
    "LONGEST_S",
    "HistoryTally",
    "Past",
    "covariates",
    "period_of",
    "stripes_in",
    "stripes_of",
    "why_none",
]

# What is known of every exchange. What answers were like is noted of those that a rollout chose the version for only.
HISTORY_MEASURES: Final = MEASURES[: INDEX["output_tokens"] + 1]
HISTORY_WIDTH: Final = 2 * len(HISTORY_MEASURES)  # y and x of each
LONGEST_S: Final = 28 * 86_400.0
_ROLLOUT_S = 7 * 86_400.0  # of those that are no experiments, which last for hours
_MARGIN_S = 60.0  # before the start: clocks of gateways differ
_FEWEST = 50.0  # subjects with history in an arm, of even weight: as podium.delivery.statistics.sequences
_MOST_OF_ONE = 0.5  # of the spread: one group must not choose the slope by itself
_ROUNDING = 1e-9  # of a ratio: less is no difference
_MOST_STRIPES = 100
_PLACES = {INDEX[name]: 2 * place for place, name in enumerate(HISTORY_MEASURES)}
_UNUSUAL = int(AnswerFlag.MIRRORED | AnswerFlag.OVERRIDDEN)


def why_none(rollout: Rollout, progress: Progress) -> str:
    """Why there can be no history, in a sentence; empty: there can."""
    if rollout.sticky_by[0] == "session":
        return "its subjects are sessions first, and no exchange before the start tells its session"
    if progress.changes or (rollout.experiment is not None and rollout.experiment.adaptive is not None):
        return "shares of its arms changed by what was seen, and subjects changed arms with them"
    if rollout.strategy not in ("ab", "canary"):
        return "its arms are not of different subjects"
    if len(stripes_of(rollout, "")) > _MOST_STRIPES:
        return f"its steps give arms more than {_MOST_STRIPES} stretches of subjects"
    return ""


def period_of(rollout: Rollout, progress: Progress) -> tuple[int, int]:
    """From when to when history counts, nanoseconds: as long as the experiment may last, at most 28 days."""
    design = rollout.experiment
    length_s = _ROLLOUT_S if design is None else min(design.at_most_s, LONGEST_S)
    until_ns = int((progress.started_unix_s - _MARGIN_S) * 1e9)
    return max(0, until_ns - int(length_s * 1e9)), max(0, until_ns)


def stripes_of(rollout: Rollout, before: str) -> tuple[int, ...]:
    """First buckets of stretches, rising from 0, that are all of one arm at each step."""
    shares = (share for step in range(len(steps_of(rollout))) for share in arms_at(rollout, step, before))
    edges = {edge for share in shares for edge in (share.first, share.first + share.count)}
    return tuple(sorted({0} | {edge for edge in edges if edge < BUCKETS}))


def stripes_in(
    rollout: Rollout, before: str, spans: Mapping[int, int], exchanges: Mapping[int, int]
) -> dict[tuple[int, str], float]:
    """How much each stripe counts for each arm: as the part of the exchanges in spans in which it was that arm's.

    `spans`: those that are taken together, with their steps. Both arms have the same parts, so nothing that a version
    did chooses between them.
    """
    stripes, steps, whole = stripes_of(rollout, before), len(steps_of(rollout)), sum(exchanges.values())
    found: dict[tuple[int, str], float] = {}
    for span, step in sorted(spans.items()):
        part = exchanges.get(span, 0) / whole if whole else 0.0
        for share in arms_at(rollout, step, before) if step < steps and part else ():
            for first in stripes:
                if share.first <= first < share.first + share.count:
                    found[first, share.name] = found.get((first, share.name), 0.0) + part
    return found


class HistoryTally:
    """Old exchanges of one rollout added up. `rows`: by first bucket of the stripe, and group of subjects."""

    __slots__ = ("_find", "_holds", "_stripes", "exchanges", "rows")

    def __init__(self, rollout: Rollout, progress: Progress) -> None:
        self.rows: dict[tuple[int, int], list[float]] = {}
        self.exchanges = 0
        self._find = Subjects(progress.salt, rollout.sticky_by).find
        self._stripes = stripes_of(rollout, progress.before)
        wheres = [rollout.where]
        if rollout.strategy == "ab":  # of others, steps are about different exchanges
            wheres.append(steps_of(rollout)[0].where)
        told = (compile_segment(replace(one, tiers=None)) for one in wheres if one is not None)  # no event tells a tier
        self._holds = tuple(holds for holds in told if holds is not None)

    def add(self, event: Event) -> None:
        """Count it, if it is what the rollout is about."""
        if event.answer_flags & _UNUSUAL or not event.key_id:
            return
        if not all(holds(event.tenant, event.key_id, event.user, "", event.tags) for holds in self._holds):
            return
        bucket, subject = self._find(event.tenant, event.user, "", event.key_id)
        key = self._stripes[bisect_right(self._stripes, bucket) - 1], cluster_of(subject)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [0.0] * HISTORY_WIDTH
        self.exchanges += 1
        for measure, y, x in measures_of(event):
            place = _PLACES.get(measure)
            if place is not None:
                row[place] += y
                row[place + 1] += x


@dataclass(frozen=True, slots=True)
class Past:
    """History as a look reads it."""

    since_unix_s: float  # as far back as it was read
    until_unix_s: float
    exchanges: int
    complete: bool  # nothing more will be read
    arms: Mapping[str, Mapping[int, tuple[float, ...]]]  # totals by group of subjects: HISTORY_WIDTH of them

    def of(self, arm: str, measure: str) -> dict[int, tuple[float, float]] | None:
        """`y` and `x` by group; None: nothing is known."""
        place, groups = _PLACES.get(INDEX[measure]), self.arms.get(arm)
        if place is None or groups is None:
            return None
        return {cluster: (totals[place], totals[place + 1]) for cluster, totals in groups.items()}


def covariates(before: Sequence[tuple[float, float]]) -> list[float] | None:
    """Each group's `z` from its `y` and `x` of before, zeros where it has none; None: too little to go by."""
    whole, squares = fsum(x for _, x in before), fsum(x * x for _, x in before)
    if not whole or whole * whole < _FEWEST * squares:
        return None
    ratio, mean = fsum(y for y, _ in before) / whole, whole / len(before)
    apart = [(y - ratio * x) / mean for y, x in before]
    spread = fsum(one * one for one in apart)
    rounding = len(before) * (_ROUNDING * ratio) ** 2
    if spread <= rounding or max(one * one for one in apart) > _MOST_OF_ONE * spread:
        return None
    return [ratio + one for one in apart]
