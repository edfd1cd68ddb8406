"""`/usage`: sums over finished exchanges."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from podium.control.ports import UsageQuery
from podium.control.usage import UsageReport
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "Groups", "Since", "Until", "usage_query"]

Groups = Annotated[
    list[str] | None,
    QueryParameter(
        description="What to add up by: `tenant`, `key`, `model`, `provider`, `day` (UTC), `tag:NAME` for the values of"
        " a tag; several, or with commas."
    ),
]
Since = Annotated[
    float | None, QueryParameter(description="Started then or later, seconds since 1970.", ge=0, le=253402300800)
]
Until = Annotated[
    float | None, QueryParameter(description="Started before then, seconds since 1970.", ge=0, le=253402300800)
]


@get("/usage", operation_id="getUsage", tags=["usage"], responses=errors())
async def get_usage(
    plane: Plane,
    by: Groups = None,
    since_unix_s: Since = None,
    until_unix_s: Until = None,
    tenant: Annotated[str | None, QueryParameter(description="Only this tenant's.")] = None,
    key: Annotated[str | None, QueryParameter(description="Only those of the key with this id.")] = None,
    model: Annotated[str | None, QueryParameter(description="Only those that asked for this model.")] = None,
) -> UsageReport:
    """Add up exchanges, tokens and cost; largest cost first."""
    query = usage_query(by, since_unix_s, until_unix_s, tenant=tenant, key_id=key, model=model)
    return await plane.usage.report(query)


HANDLERS = [get_usage]


def usage_query(
    by: list[str] | None,
    since_unix_s: float | None,
    until_unix_s: float | None,
    *,
    tenant: str | None = None,
    key_id: str | None = None,
    model: str | None = None,
) -> UsageQuery:
    """The query of these parameters."""
    groups = tuple(group for value in by or () for group in value.split(",") if group)
    return UsageQuery(
        by=groups, since_unix_s=since_unix_s, until_unix_s=until_unix_s, tenant=tenant, key_id=key_id, model=model
    )
