"""`/feedback`: what users said of answers."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from podium.control.feedback import MAX_FEEDBACK, FeedbackPage
from podium.control.feedback_keeping import Erased, Erasure
from podium.delivery.analysis.opinions import FeedbackKind
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "WhoseWords"]


_Name = Annotated[str, Meta(min_length=1, max_length=128)]


class WhoseWords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose comments and names. Of `request_id` and `user` one is given."""

    tenant: _Name
    request_id: Annotated[_Name | None, Meta(description="Of the exchange that they are about.")] = None
    user: Annotated[_Name | None, Meta(description="Who gave the feedback, or whose exchange it is about.")] = None


@get("/feedback", operation_id="listFeedback", tags=["feedback"], responses=errors())
async def list_feedback(
    plane: Plane,
    tenant: Annotated[str | None, QueryParameter(description="Only this tenant's.")] = None,
    rollout: Annotated[str | None, QueryParameter(description="Only on exchanges that it chose for.")] = None,
    kind: Annotated[FeedbackKind | None, QueryParameter(description="Only this kind.")] = None,
    before: Annotated[str | None, QueryParameter(description="Only what comes after it here.", max_length=80)] = None,
    limit: Annotated[int, QueryParameter(description="At most so many.", ge=1, le=MAX_FEEDBACK)] = 50,
) -> FeedbackPage:
    """Tell what users said, newest first: each kind of each feedback by itself."""
    return await plane.feedback.page(tenant=tenant, rollout=rollout, kind=kind, before=before, limit=limit)


@post(
    "/feedback/erase",
    operation_id="eraseFeedback",
    tags=["feedback"],
    status_code=200,
    responses=errors(413, 415),
)
async def erase_feedback(plane: Plane, author: Author, data: JSONBody[WhoseWords]) -> Erased:
    """Erase comments, and the names of who gave feedback; marks stay, and say nothing about a person."""
    whose = Erasure(tenant=data.tenant, request_id=data.request_id, user=data.user)
    return await plane.feedback.eraser.erase(whose, author=author)


HANDLERS = [list_feedback, erase_feedback]
