"""`/flags`: how flags are used, which are stale, and what one gives."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import JSONBody
from msgspec import Meta

from podium.control.flag_report import FlagEvaluation, FlagReport
from podium.web.admin.auth import presented_key
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "EvaluateFlag"]


class EvaluateFlag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flag, and whom it is evaluated for."""

    flag: Annotated[str, Meta(max_length=128)]
    context: Annotated[
        dict[str, bool | int | float | str | tuple[bool | int | float | str, ...]],
        Meta(description="Attributes: texts, numbers, truths, or lists of these.", max_length=100),
    ] = {}


@get("/flags", operation_id="listFlags", tags=["flags"], responses=errors())
async def list_flags(plane: Plane, request: Request[Any, Any, Any]) -> FlagReport:
    """Tell of each flag when it changed, what it gave since the gateways started, and whether it is stale."""
    return await plane.flags.report(presented_key(request) or "")


@post("/flags/evaluate", operation_id="evaluateFlag", tags=["flags"], status_code=200, responses=errors(404))
async def evaluate_flag(plane: Plane, data: JSONBody[EvaluateFlag]) -> FlagEvaluation:
    """Tell what a flag gives in a context. This is not counted as use."""
    return await plane.flags.evaluate(data.flag, data.context)


HANDLERS = [list_flags, evaluate_flag]
