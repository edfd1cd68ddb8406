"""`/feedback`: what users said of answers."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from podium.control.feedback import MAX_FEEDBACK, FeedbackPage
from podium.delivery.analysis.opinions import FeedbackKind
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS"]


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


HANDLERS = [list_feedback]
