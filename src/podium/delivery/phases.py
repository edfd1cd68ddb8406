"""The life of a rollout, as a table: from which phase what leads where. The picture in docs/rollouts.md is made of it.

What an operator asks for, what gateways and the analysis say, and that time has passed come in as happenings.
"""

from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from podium.core.errors import Conflict
from podium.core.rollouts import Phase, Progress, Rollout, Step
from podium.delivery.buckets import arms_at, steps_of

__all__ = [
    "HELD",
    "TABLE",
    "WAITS_FOR_APPROVAL",
    "Guard",
    "Happening",
    "Reason",
    "Row",
    "next_progress",
    "promoted_version",
    "step_of",
]


class Happening(StrEnum):
    """What can happen to a rollout."""

    STARTED = "started"  # an operator wants it
    APPROVED = "approved"  # by somebody else than who asked
    PREPARED = "prepared"  # the candidate is loaded, and answers
    COULD_NOT_PREPARE = "could_not_prepare"
    STEP_DONE = "step_done"  # its time and samples were seen, and no metric failed
    PROMOTED = "promoted"  # an operator: the next step now; at the last one the end
    PROMOTED_FULLY = "promoted_fully"  # an operator: the end now
    PAUSED = "paused"  # an operator
    RESUMED = "resumed"  # an operator
    ABORTED = "aborted"  # an operator
    UNDONE = "undone"  # an operator takes a promotion back
    FAILED = "failed"  # verdict: a metric is worse than it may be
    INCONCLUSIVE = "inconclusive"  # verdict: it could not be decided in time
    NO_DATA = "no_data"  # verdict
    MISMATCH = "mismatch"  # verdict: arms get other shares than they should
    ERROR = "error"  # the analysis itself cannot be made
    CLEARED = "cleared"  # none of the four before is true any more
    BURST = "burst"  # gateways took the candidate out


class Reason(StrEnum):
    """Why a rollout is in its phase."""

    WAITS_FOR_START = "waits_for_start"  # approvals
    WAITS_FOR_STEP = "waits_for_step"  # approvals
    WAITS_FOR_PROMOTION = "waits_for_promotion"  # approvals
    WAITS_FOR_OPERATOR = "waits_for_operator"  # the step says so
    SEEN_ENOUGH = "seen_enough"  # a strategy that never promotes by itself
    STARTED = "started"
    PREPARED = "prepared"
    STEP_DONE = "step_done"
    MOVED_ON = "moved_on"  # an operator did not wait
    RESUMED = "resumed"
    CLEARED = "cleared"
    PAUSED = "paused"
    ALL_STEPS_DONE = "all_steps_done"
    PROMOTED = "promoted"  # an operator did not wait
    APPROVED = "approved"
    COULD_NOT_PREPARE = "could_not_prepare"
    METRIC_FAILED = "metric_failed"
    BURST = "burst"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    MISMATCH = "mismatch"
    ANALYSIS_ERROR = "analysis_error"
    ABORTED = "aborted"
    UNDONE = "undone"


class Guard(StrEnum):
    """When a row of the table holds."""

    ALWAYS = ""
    APPROVAL_BEFORE_START = "approvals needed"
    MORE_APPROVALS = "more approvals needed"
    STEP_WAITS = "step waits"
    STEP_PAUSES = "the step says pause"
    ONLY_BY_OPERATORS = "last step, shadow or ab"
    LAST_APPROVAL = "last step, approvals needed"
    LAST = "last step"
    APPROVAL_BEFORE_STEP = "approvals needed for steps"
    APPROVAL_BEFORE_PROMOTION = "approvals needed for promotion"
    HOLD = "policy hold"
    RETURN = "policy return"
    HELD = "held by the analysis"


HELD = frozenset({Reason.INCONCLUSIVE, Reason.NO_DATA, Reason.MISMATCH, Reason.ANALYSIS_ERROR})
WAITS_FOR_APPROVAL = frozenset({Reason.WAITS_FOR_START, Reason.WAITS_FOR_STEP, Reason.WAITS_FOR_PROMOTION})


@dataclass(frozen=True, slots=True)
class Row:
    """Of the rows of a phase and a happening, the first whose guard holds counts."""

    phase: Phase
    happening: Happening
    guard: Guard
    to: Phase
    reason: Reason | None  # None: as it was
    next_step: bool = False


_Way = tuple[Guard, Phase, Reason | None] | tuple[Guard, Phase, Reason | None, bool]


def _rows(phases: tuple[Phase, ...], happening: Happening, *ways: _Way) -> list[Row]:
    return [Row(phase, happening, *way) for phase in phases for way in ways]


_G, _H, _R = Guard, Happening, Reason
_MOVING: tuple[Phase, ...] = ("running", "paused")
_ENDED: tuple[Phase, ...] = ("promoted", "returned", "aborted", "failed")
_ONWARD: tuple[_Way, ...] = (
    (_G.STEP_PAUSES, "paused", _R.WAITS_FOR_OPERATOR),
    (_G.ONLY_BY_OPERATORS, "paused", _R.SEEN_ENOUGH),
    (_G.LAST_APPROVAL, "paused", _R.WAITS_FOR_PROMOTION),
    (_G.LAST, "promoted", _R.ALL_STEPS_DONE),
    (_G.APPROVAL_BEFORE_STEP, "paused", _R.WAITS_FOR_STEP),
    (_G.ALWAYS, "running", _R.STEP_DONE, True),
)

TABLE: tuple[Row, ...] = (
    *_rows(
        ("pending", *_ENDED),
        _H.STARTED,
        (_G.APPROVAL_BEFORE_START, "pending", _R.WAITS_FOR_START),
        (_G.ALWAYS, "preparing", _R.STARTED),
    ),
    *_rows(("pending",), _H.APPROVED, (_G.MORE_APPROVALS, "pending", None), (_G.ALWAYS, "preparing", _R.APPROVED)),
    *_rows(("preparing",), _H.PREPARED, (_G.ALWAYS, "running", _R.PREPARED)),
    *_rows(("preparing",), _H.COULD_NOT_PREPARE, (_G.ALWAYS, "failed", _R.COULD_NOT_PREPARE)),
    *_rows(("running",), _H.STEP_DONE, *_ONWARD),
    *_rows(
        _MOVING,
        _H.PROMOTED,
        (_G.LAST_APPROVAL, "paused", _R.WAITS_FOR_PROMOTION),
        (_G.LAST, "promoted", _R.PROMOTED),
        (_G.APPROVAL_BEFORE_STEP, "paused", _R.WAITS_FOR_STEP),
        (_G.ALWAYS, "running", _R.MOVED_ON, True),
    ),
    *_rows(
        _MOVING,
        _H.PROMOTED_FULLY,
        (_G.APPROVAL_BEFORE_PROMOTION, "paused", _R.WAITS_FOR_PROMOTION),
        (_G.ALWAYS, "promoted", _R.PROMOTED),
    ),
    *_rows(
        ("paused",),
        _H.APPROVED,
        (_G.MORE_APPROVALS, "paused", None),
        (_G.STEP_WAITS, "running", _R.APPROVED, True),
        (_G.ALWAYS, "promoted", _R.APPROVED),
    ),
    *_rows(_MOVING, _H.PAUSED, (_G.ALWAYS, "paused", _R.PAUSED)),
    *_rows(("paused",), _H.RESUMED, (_G.ALWAYS, "running", _R.RESUMED)),
    *_rows(("paused",), _H.CLEARED, (_G.HELD, "running", _R.CLEARED)),
    *_rows(("pending", "preparing", *_MOVING), _H.ABORTED, (_G.ALWAYS, "aborted", _R.ABORTED)),
    *_rows(("promoted",), _H.UNDONE, (_G.ALWAYS, "returned", _R.UNDONE)),
    *_rows(_MOVING, _H.FAILED, (_G.ALWAYS, "returned", _R.METRIC_FAILED)),
    *_rows(_MOVING, _H.BURST, (_G.ALWAYS, "returned", _R.BURST)),
    *_rows(
        ("running",),
        _H.INCONCLUSIVE,
        (_G.HOLD, "paused", _R.INCONCLUSIVE),
        (_G.RETURN, "returned", _R.INCONCLUSIVE),
        *_ONWARD,
    ),
    *_rows(("running",), _H.NO_DATA, (_G.HOLD, "paused", _R.NO_DATA), (_G.RETURN, "returned", _R.NO_DATA), *_ONWARD),
    *_rows(("running",), _H.MISMATCH, (_G.HOLD, "paused", _R.MISMATCH), (_G.RETURN, "returned", _R.MISMATCH)),
    *_rows(("running",), _H.ERROR, (_G.ALWAYS, "paused", _R.ANALYSIS_ERROR)),
)

_ROWS: dict[tuple[Phase, Happening], list[Row]] = {}
for _row in TABLE:
    _ROWS.setdefault((_row.phase, _row.happening), []).append(_row)

_BY_OPERATORS = frozenset(
    {
        _H.STARTED,
        _H.APPROVED,
        _H.PROMOTED,
        _H.PROMOTED_FULLY,
        _H.PAUSED,
        _H.RESUMED,
        _H.ABORTED,
        _H.UNDONE,
    }
)
_PROMOTES_ITSELF = ("canary", "blue_green")


def next_progress(
    rollout: Rollout,
    progress: Progress | None,
    happening: Happening,
    now_unix_s: float,
    *,
    author: str = "",
    detail: str = "",
    before: str = "",
    salt: str = "",
    winner: str = "",
    evidence: str = "",
) -> Progress:
    """Where the rollout stands after this. The same object when it changes nothing.

    `progress` None: it was never started. `author`: who does it; approvals count authors. `before`, `salt`: the model's
    version now and a random text, for what starts it (`STARTED`; with an approval before that the last `APPROVED`).
    `winner`: for promotions of an A/B test, the arm's name.

    Conflict: what an operator wants is not possible here. What loops report late, of a phase that is over, is no error.
    """
    phase: Phase = "pending" if progress is None else progress.phase
    rows = _ROWS.get((phase, happening), ()) if progress is not None or happening is _H.STARTED else ()
    if not rows and happening not in _BY_OPERATORS and progress is not None:
        return progress
    if not rows:
        raise Conflict(f"the rollout is {phase}; it cannot be {_words(happening)} now")
    now = progress if progress is not None else Progress(phase="pending", before=before or "-", salt=salt)
    _check(rollout, now, happening, author, winner)
    row = next((row for row in rows if _holds(row.guard, rollout, now, happening)), None)
    if row is None:
        return now
    moved = _moved(rollout, now, row, happening, now_unix_s)
    if row.to in ("pending", "preparing"):
        moved = replace(moved, before=before or now.before, salt=salt or now.salt, started_unix_s=now_unix_s)
        moved = replace(moved, changes=(), ended=())
    reason = now.reason if row.reason is None else str(row.reason)
    waits = reason in WAITS_FOR_APPROVAL
    approves = happening is _H.APPROVED
    return replace(
        moved,
        phase=row.to,
        reason=reason,
        detail=detail,
        evidence=evidence,
        changed_unix_s=now_unix_s,
        asked_by=(now.asked_by if approves else author or "-") if waits else "",
        approved_by=(*now.approved_by, author) if approves else (),
        winner=winner or (now.winner if waits or approves else ""),
    )


def step_of(rollout: Rollout, progress: Progress) -> Step:
    """The step that it is at."""
    steps = steps_of(rollout)
    return steps[min(progress.step, len(steps) - 1)]


def promoted_version(rollout: Rollout, progress: Progress) -> str:
    """The version that the model has once it is promoted."""
    if rollout.candidate is not None:
        return rollout.candidate
    return next(arm.version for arm in rollout.arms if arm.name == progress.winner)


def _check(rollout: Rollout, now: Progress, happening: Happening, author: str, winner: str) -> None:
    """Conflict: what the table cannot say, because it is about who and whom."""
    if happening in (_H.PROMOTED, _H.PROMOTED_FULLY):
        if now.reason in WAITS_FOR_APPROVAL:
            raise Conflict("the rollout waits for approvals", hint="`podium rollout approve` by somebody else")
        if rollout.strategy == "ab" and winner not in {arm.name for arm in rollout.arms}:
            names = ", ".join(arm.name for arm in rollout.arms)
            raise Conflict(f"name the arm that is to be promoted: {names}")
        if rollout.strategy != "ab" and winner:
            raise Conflict("only A/B tests have arms to choose from")
    if happening is _H.APPROVED:
        if now.reason not in WAITS_FOR_APPROVAL:
            raise Conflict("nothing waits for approvals")
        if author in (now.asked_by, *now.approved_by):
            raise Conflict("who asked for it, or has approved it already, does not approve it (again)")


def _holds(guard: Guard, rollout: Rollout, now: Progress, happening: Happening) -> bool:  # noqa: C901, PLR0911 - a list
    wanted = rollout.approval.before if rollout.approval is not None else ()
    last = now.step >= len(steps_of(rollout)) - 1
    switches = rollout.strategy == "blue_green" and not now.step  # promotion is all but done with this step
    match guard:
        case Guard.ALWAYS:
            return True
        case Guard.APPROVAL_BEFORE_START:
            return "start" in wanted
        case Guard.MORE_APPROVALS:
            return rollout.approval is not None and len(now.approved_by) + 1 < rollout.approval.approvals
        case Guard.STEP_WAITS:
            return now.reason == Reason.WAITS_FOR_STEP
        case Guard.STEP_PAUSES:
            return step_of(rollout, now).pause
        case Guard.ONLY_BY_OPERATORS:
            return last and rollout.strategy not in _PROMOTES_ITSELF
        case Guard.LAST_APPROVAL:
            return last and "promote" in wanted and rollout.strategy != "blue_green"
        case Guard.LAST:
            return last
        case Guard.APPROVAL_BEFORE_STEP:
            return "step" in wanted or (switches and "promote" in wanted)
        case Guard.APPROVAL_BEFORE_PROMOTION:
            return "promote" in wanted
        case Guard.HOLD | Guard.RETURN:
            policy = "hold" if rollout.analysis is None else _policy(rollout, happening)
            return policy == guard.value.removeprefix("policy ")
        case Guard.HELD:
            return now.reason in HELD


def _policy(rollout: Rollout, happening: Happening) -> str:
    analysis = rollout.analysis
    assert analysis is not None
    policies = {
        _H.INCONCLUSIVE: analysis.inconclusive,
        _H.NO_DATA: analysis.no_data,
        _H.MISMATCH: analysis.sample_ratio_mismatch,
    }
    return policies[happening]


def _moved(rollout: Rollout, now: Progress, row: Row, happening: Happening, now_unix_s: float) -> Progress:
    """The same with the step and the arms that it then has."""
    if row.to in _ENDED or row.to in ("pending", "preparing"):
        step = now.step if row.to in _ENDED else 0
        return replace(now, step=step, arms=(), mirrored=False)
    if not row.next_step and happening is not _H.PREPARED:
        return now
    step = now.step + 1 if row.next_step else 0
    arms, mirrored = arms_at(rollout, step, now.before), rollout.strategy == "shadow"
    return replace(now, step=step, arms=arms, mirrored=mirrored, step_unix_s=now_unix_s)


def _words(happening: Happening) -> str:
    return happening.replace("_", " ")
