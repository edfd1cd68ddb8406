"""`/rollouts`: where they stand, and what operators do with them."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from podium.control.rollouts.views import EvidenceNote, RolloutView
from podium.delivery.analysis.evidence import Bundle
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "EvidenceList", "RolloutList"]

Message = Annotated[str, QueryParameter(description="Why; kept with the revision.", max_length=1000)]
Seen = Annotated[
    float | None,
    QueryParameter(
        description="`changed_unix_s` of the rollout as you saw it; refused (409) when it has moved since.", ge=0
    ),
]


class RolloutList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared rollouts, by name."""

    rollouts: Annotated[tuple[RolloutView, ...], Meta(description="Those that never began, too.")]


class EvidenceList(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence of decisions, newest first."""

    evidence: tuple[EvidenceNote, ...]


@get("/rollouts", operation_id="listRollouts", tags=["rollouts"], responses=errors())
async def list_rollouts(plane: Plane) -> RolloutList:
    """List the declared rollouts and where they stand."""
    return RolloutList(rollouts=await plane.rollouts.all())


@get("/rollouts/{name:str}", operation_id="getRollout", tags=["rollouts"], responses=errors(404))
async def get_rollout(plane: Plane, name: FromPath[str]) -> RolloutView:
    """Tell where one rollout stands."""
    return await plane.rollouts.get(name)


@get("/rollouts/{name:str}/evidence", operation_id="listRolloutEvidence", tags=["rollouts"], responses=errors())
async def list_rollout_evidence(
    plane: Plane,
    name: FromPath[str],
    limit: Annotated[int, QueryParameter(description="At most so many.", ge=1, le=500)] = 50,
) -> EvidenceList:
    """List what was kept of a rollout's decisions, the newest first; also when it was deleted since."""
    return EvidenceList(evidence=await plane.rollouts.evidence_of(name, limit=limit))


@get(
    "/rollouts/{name:str}/evidence/{key:str}",
    operation_id="getRolloutEvidence",
    tags=["rollouts"],
    responses=errors(404),
)
async def get_rollout_evidence(plane: Plane, name: FromPath[str], key: FromPath[str]) -> Bundle:
    """Get what one decision was made on: samples, intervals, course, revisions and plan."""
    return await plane.rollouts.evidence(name, key)


@post(
    "/rollouts/{name:str}/start",
    operation_id="startRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def start_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """Start it: the candidate is tried, then goes to its first users."""
    return await plane.rollouts.start(name, author=author, message=message, seen=seen)


@post(
    "/rollouts/{name:str}/pause",
    operation_id="pauseRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def pause_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """Hold it where it is; failures still take the candidate out."""
    return await plane.rollouts.pause(name, author=author, message=message, seen=seen)


@post(
    "/rollouts/{name:str}/resume",
    operation_id="resumeRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def resume_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """Let it go on from where it was paused."""
    return await plane.rollouts.resume(name, author=author, message=message, seen=seen)


@post(
    "/rollouts/{name:str}/promote",
    operation_id="promoteRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def promote_rollout(
    plane: Plane,
    *,
    author: Author,
    name: FromPath[str],
    message: Message = "",
    seen: Seen = None,
    to_end: Annotated[
        bool, QueryParameter(description="Not one step: make the candidate the model's version.")
    ] = False,
    arm: Annotated[str, QueryParameter(description="Of an A/B: which arm's version; ends it.", max_length=128)] = "",
) -> RolloutView:
    """Move it forward, one step or to the end, whatever the analysis says."""
    return await plane.rollouts.promote(name, author=author, message=message, seen=seen, to_end=to_end, arm=arm)


@post(
    "/rollouts/{name:str}/abort",
    operation_id="abortRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def abort_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """End it: the version before serves alone again."""
    return await plane.rollouts.abort(name, author=author, message=message, seen=seen)


@post(
    "/rollouts/{name:str}/approve",
    operation_id="approveRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(403, 404, 409),
)
async def approve_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """Agree to what waits; refused (403) to who asked for it."""
    return await plane.rollouts.approve(name, author=author, message=message, seen=seen)


@post(
    "/rollouts/{name:str}/undo",
    operation_id="undoRollout",
    tags=["rollouts"],
    status_code=200,
    responses=errors(404, 409),
)
async def undo_rollout(
    plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
) -> RolloutView:
    """Take a promotion back: the model has the version before again."""
    return await plane.rollouts.undo(name, author=author, message=message, seen=seen)


HANDLERS = [
    list_rollouts,
    get_rollout,
    list_rollout_evidence,
    get_rollout_evidence,
    start_rollout,
    pause_rollout,
    resume_rollout,
    promote_rollout,
    abort_rollout,
    approve_rollout,
    undo_rollout,
]
