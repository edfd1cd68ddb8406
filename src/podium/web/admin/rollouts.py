"""`/rollouts`: where they stand, and what operators do with them."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from podium.control.rollouts.views import EvidenceNote, RolloutView
from podium.delivery.analysis.evidence import Bundle
from podium.web.admin.commands import Message, Seen, command, command_route
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "EvidenceList", "Message", "RolloutList", "Seen"]


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


@command_route("/rollouts/{name:str}/promote", "promoteRollout")
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


HANDLERS = [
    list_rollouts,
    get_rollout,
    list_rollout_evidence,
    get_rollout_evidence,
    command(
        "/rollouts/{name:str}/start",
        "startRollout",
        "Start it: the candidate is tried, then goes to its first users.",
        lambda plane: plane.rollouts.start,
    ),
    command(
        "/rollouts/{name:str}/pause",
        "pauseRollout",
        "Hold it where it is; failures still take the candidate out.",
        lambda plane: plane.rollouts.pause,
    ),
    command(
        "/rollouts/{name:str}/resume",
        "resumeRollout",
        "Let it go on from where it was paused.",
        lambda plane: plane.rollouts.resume,
    ),
    promote_rollout,
    command(
        "/rollouts/{name:str}/abort",
        "abortRollout",
        "End it: the version before serves alone again.",
        lambda plane: plane.rollouts.abort,
    ),
    command(
        "/rollouts/{name:str}/approve",
        "approveRollout",
        "Agree to what waits; refused (403) to who asked for it.",
        lambda plane: plane.rollouts.approve,
        403,
    ),
    command(
        "/rollouts/{name:str}/undo",
        "undoRollout",
        "Take a promotion back: the model has the version before again.",
        lambda plane: plane.rollouts.undo,
    ),
]
