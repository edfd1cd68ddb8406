"""What follows from what was seen, as a value. Nothing here knows of time, tables or gateways.

A look at a rollout ends with the first of these that is true
 1. a metric of an arm is worse than it may be: failed; unless one backend is to blame and the version is fine without
    it: then it goes on, and the verdict names the backend. It may be worse than the other arm; than a limit that was
    declared; or, where nobody has the version before any more, than that was until then. If none of these: most
    answers of a version that is alone are bad
 2. one backend is worse than the others of its version: it goes on, and the verdict names the backend
 3. the ledger is too far behind the gateways: error; what is proven already stands, which is why this comes third
 4. arms get other shares of the subjects than they should: inconclusive
 5. nothing is heard of the candidate: inconclusive
 6. the step has not had its time, samples or subjects yet, a goal is not decided, or what would fail
    if it were sure is not sure: it goes on, and is inconclusive when that takes too long
 7. success
"""

from enum import StrEnum
from typing import Literal

import msgspec

from podium.delivery.analysis.backends import BackendFinding
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.phases import Happening

__all__ = ["Outcome", "ShareCheck", "Verdict", "VerdictReason"]

Outcome = Literal["success", "failed", "inconclusive", "error", "running"]


class VerdictReason(StrEnum):
    """Why."""

    METRIC_WORSE = "metric_worse"
    LIMIT_PASSED = "limit_passed"
    WORSE_THAN_BEFORE = "worse_than_before"  # than the version before was until the switch: not at the same time
    PLAINLY_BROKEN = "plainly_broken"  # nothing to compare with, and most answers are bad
    BACKEND_WORSE = "backend_worse"
    LEDGER_BEHIND = "ledger_behind"
    SAMPLE_RATIO = "sample_ratio"
    NO_DATA = "no_data"
    TOO_EARLY = "too_early"  # for the step's time
    TOO_FEW_SAMPLES = "too_few_samples"
    TOO_FEW_SUBJECTS = "too_few_subjects"
    GOAL_UNDECIDED = "goal_undecided"
    LOOKS_WORSE = "looks_worse"  # than a limit, or than before the switch; but it is not sure
    TIME_IS_UP = "time_is_up"  # for one of the four before
    SEEN_ENOUGH = "seen_enough"


class ShareCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether arms got their shares of the subjects. Counts are exchanges, shrunk to as many as they are worth."""

    counts: dict[str, int]
    expected: dict[str, float]
    p_value: float  # valid at any number of looks
    mismatch: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of one look at a rollout."""

    outcome: Outcome
    reason: VerdictReason
    detail: str
    samples: dict[str, int]  # of each arm, at this step
    metrics: tuple[MetricResult, ...] = ()
    backends: tuple[BackendFinding, ...] = ()  # to be taken out
    shares: ShareCheck | None = None

    @property
    def happening(self) -> Happening | None:
        """What this is to the phases; None: nothing happens."""
        if self.outcome == "inconclusive":
            special = {VerdictReason.NO_DATA: Happening.NO_DATA, VerdictReason.SAMPLE_RATIO: Happening.MISMATCH}
            return special.get(self.reason, Happening.INCONCLUSIVE)
        return _HAPPENINGS[self.outcome]


_HAPPENINGS: dict[Outcome, Happening | None] = {
    "success": Happening.STEP_DONE,
    "failed": Happening.FAILED,
    "error": Happening.ERROR,
    "running": None,
}
