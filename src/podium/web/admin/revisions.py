"""`/revisions`: who changed what, and the way back."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from podium.core.resources import Kind
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors
from podium.web.admin.shapes import RevisionView

__all__ = ["HANDLERS", "RevisionList"]


class RevisionList(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions, newest first."""

    revisions: tuple[RevisionView, ...]
    next_before: Annotated[int | None, Meta(description="`before` of the next page; null: this was the last.")]


@get("/revisions", operation_id="listRevisions", tags=["revisions"], responses=errors())
async def list_revisions(
    plane: Plane,
    kind: Annotated[Kind | None, QueryParameter(description="Only those that touched this kind.")] = None,
    name: Annotated[str | None, QueryParameter(description="Only those that touched a resource of this name.")] = None,
    before: Annotated[int | None, QueryParameter(description="Only those with a lower number.", ge=1, le=2**53)] = None,
    limit: Annotated[int, QueryParameter(description="At most so many.", ge=1, le=500)] = 50,
) -> RevisionList:
    """List changes of the declared state."""
    page = await plane.resources.history(kind, name, before=before, limit=limit)
    return RevisionList(revisions=tuple(map(RevisionView.of, page.revisions)), next_before=page.next_before)


@get("/revisions/{number:int}", operation_id="getRevision", tags=["revisions"], responses=errors(404))
async def get_revision(plane: Plane, number: FromPath[int]) -> RevisionView:
    """Get one change."""
    return RevisionView.of(await plane.resources.revision(number))


@post(
    "/revisions/{number:int}/undo",
    operation_id="undoRevision",
    tags=["revisions"],
    responses=errors(404, 409),
)
async def undo_revision(
    plane: Plane,
    author: Author,
    number: FromPath[int],
    message: Annotated[str, QueryParameter(description="Why; kept with the revision.", max_length=2000)] = "",
) -> RevisionView:
    """Take a change back, as a new one; refused (409) when its resources were changed since."""
    return RevisionView.of(await plane.resources.undo(number, author=author, message=message))


HANDLERS = [list_revisions, get_revision, undo_revision]
