"""`/limits` and `/budgets`: how they stand, and what the repair of budgets has done."""

from typing import Annotated, Any

from litestar import Request, get
from litestar.params import QueryParameter

from podium.control.budget_repair import RepairStatus
from podium.control.standings import StandingsReport, Subject
from podium.core.errors import NotFound
from podium.web.admin.auth import presented_key
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS"]

_MAX = 512
Key = Annotated[
    str, QueryParameter(description="Id of the key: its tenant, tier and tags are taken too.", max_length=_MAX)
]
Tenant = Annotated[str, QueryParameter(description="Of this tenant, where no key is named.", max_length=_MAX)]
User = Annotated[str, QueryParameter(description="What requests name as `user`.", max_length=_MAX)]
Model = Annotated[str, QueryParameter(description="The model that requests ask for.", max_length=_MAX)]


@get("/limits", operation_id="getLimits", tags=["standings"], responses=errors(404))
async def get_limits(
    plane: Plane,
    request: Request[Any, Any, Any],
    key: Key = "",
    tenant: Tenant = "",
    user: User = "",
    model: Model = "",
    ip: Annotated[str, QueryParameter(description="Address of the caller.", max_length=_MAX)] = "",
) -> StandingsReport:
    """Tell which limits a request has, what is left of each, and why one refused last."""
    subject = Subject(key=key, tenant=tenant, user=user, model=model, ip=ip)
    return await plane.standings.limits(subject, presented_key(request) or "")


@get("/budgets", operation_id="getBudgets", tags=["standings"], responses=errors(404))
async def get_budgets(
    plane: Plane,
    request: Request[Any, Any, Any],
    budget: Annotated[
        str, QueryParameter(description="All accounts of this budget; `*`: of every budget.", max_length=_MAX)
    ] = "",
    key: Key = "",
    tenant: Tenant = "",
    user: User = "",
    model: Model = "",
    tags: Annotated[str, QueryParameter(description="`name=value,name=value`.", max_length=1024)] = "",
    limit: Annotated[int, QueryParameter(description="At most so many accounts.", ge=1, le=1000)] = 100,
) -> StandingsReport:
    """Tell what is settled, reserved and left of the budgets of a request, or of all accounts of a budget."""
    subject = Subject(key=key, tenant=tenant, user=user, model=model, tags=tags)
    return await plane.standings.budgets(subject, budget, limit, presented_key(request) or "")


@get("/budgets/repair", operation_id="getBudgetRepair", tags=["standings"], responses=errors(404))
async def get_budget_repair(plane: Plane) -> RepairStatus:
    """Tell what comparing shared budgets with the ledger has mended; 404 where gateways share nothing."""
    if plane.repair is None:
        raise NotFound("gateways share no budgets here: each counts for itself, and learns from the ledger")
    return plane.repair.status


HANDLERS = [get_limits, get_budgets, get_budget_repair]
