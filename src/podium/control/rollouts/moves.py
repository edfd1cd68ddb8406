"""What happens to a rollout, as the revision that it becomes. Pure: where it stands and a time in, a move out."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from podium.control.rollouts.freeze import frozen_until
from podium.control.rollouts.standing import Move, Standing
from podium.core.errors import Conflict
from podium.core.resources import Progress, Resource, Rollout
from podium.delivery.experiments.design import design_digest
from podium.delivery.phases import Happening, next_progress, promoted_version

__all__ = ["FORWARD", "Asked", "check_freeze", "identity", "moved"]

# What brings the candidate to more users, or towards that. Nothing of it inside a freeze.
FORWARD = frozenset(
    {
        Happening.STARTED,
        Happening.APPROVED,
        Happening.PREPARED,
        Happening.STEP_DONE,
        Happening.PROMOTED,
        Happening.PROMOTED_FULLY,
    }
)
_MAX_DETAIL = 2000


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants it, when, and why."""

    author: str
    now_unix_s: float
    message: str = ""


def identity(author: str) -> str:
    """What of an author was proved: the key's id and name, without what its bearer says of itself."""
    return author.partition(" (")[0]


def moved(
    standing: Standing, happening: Happening, asked: Asked, *, salt: str = "", arm: str = "", evidence: str = ""
) -> Move | None:
    """What becomes of it; None: nothing. `salt`: of buckets, for a start. Conflict: it is not possible here and now."""
    rollout, now = standing.rollout, standing.progress
    if happening in FORWARD:
        check_freeze(standing, asked.now_unix_s)
    if happening is Happening.STARTED:
        _check_start(standing)
    if happening is Happening.UNDONE:
        _check_undo(standing)
    after = next_progress(
        rollout,
        now,
        happening,
        standing.after(asked.now_unix_s),
        author=identity(asked.author),
        detail=asked.message[:_MAX_DETAIL],
        before=standing.model.version,
        salt=salt,
        winner=arm,
        evidence=evidence,
    )
    if after is now:
        return None
    if happening is Happening.STARTED:
        digest = "" if rollout.experiment is None else design_digest(rollout, standing.version)
        after = msgspec.structs.replace(after, design=digest)
    if _goes_forward(now, after):  # a verdict may lead onward, too
        check_freeze(standing, asked.now_unix_s)
    return Move(after, _sentence(standing, after, asked.message), _with_it(standing, after))


def _with_it(standing: Standing, after: Progress) -> tuple[Resource, ...]:
    """The model, where its version is another one from here on."""
    model, rollout, was = standing.model, standing.rollout, standing.progress
    version = model.version
    if after.phase == "promoted":
        version = promoted_version(rollout, after)
    elif was is not None and was.phase == "promoted" and after.phase == "returned":
        version = was.before
    if version == model.version:
        return ()
    return (Resource("Model", rollout.model, msgspec.structs.replace(model, version=version)),)


def _goes_forward(now: Progress | None, after: Progress) -> bool:
    return after.phase == "promoted" or (now is not None and after.step > now.step)


def check_freeze(standing: Standing, now_unix_s: float) -> None:
    """Conflict: nothing moves forward now."""
    until = frozen_until(standing.rollout.freeze, now_unix_s)
    if until is not None:
        when = datetime.fromtimestamp(until, UTC)
        raise Conflict(
            f"nothing of rollout `{standing.name}` moves forward before {when:%Y-%m-%d %H:%M} UTC: it is frozen",
            hint="pausing, aborting and undoing are possible at any time",
        )


def _check_start(standing: Standing) -> None:
    """What is the model's version already cannot be brought; an A/B may well have it among its arms."""
    rollout, model = standing.rollout, standing.model
    if rollout.candidate is not None and rollout.candidate == model.version:
        raise Conflict(f"`{rollout.candidate}` is the version of the model `{rollout.model}` already")


def _check_undo(standing: Standing) -> None:
    """A promotion is taken back as long as the model still has what it brought."""
    rollout, now, model = standing.rollout, standing.progress, standing.model
    if now is None or now.phase != "promoted":
        return  # the table says it better
    if model.version != promoted_version(rollout, now):
        raise Conflict(
            f"the model `{rollout.model}` has moved on to `{model.version}` since; undo that first",
            hint=f"`podium history model {rollout.model}` shows by what",
        )


def _sentence(standing: Standing, after: Progress, message: str) -> str:
    """The revision's message."""
    rollout: Rollout = standing.rollout
    candidates = [arm for arm in after.arms if arm.name == "candidate"]
    place: str = after.phase
    if after.phase in ("running", "paused"):
        percent = sum(arm.count for arm in candidates) / 100
        shown = f", {percent:g}% {'mirrored to ' if after.mirrored else ''}{rollout.candidate}" if candidates else ""
        place = f"{after.phase} at step {after.step + 1}{shown}"
    return f"rollout {standing.name}: {place} ({after.reason}){f': {message}' if message else ''}"
