"""`/exchanges`: finished exchanges, one by one."""

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from podium.control.exchanges import MAX_EXCHANGES
from podium.web.admin.exchange_shapes import ExchangeList, ExchangeView
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS"]


@get("/exchanges/{request_id:path}", operation_id="getExchanges", tags=["exchanges"], responses=errors(404))
async def get_exchanges(
    plane: Plane,
    request_id: FromPath[str],
    tenant: Annotated[str | None, QueryParameter(description="Only this tenant's.")] = None,
    before: Annotated[
        str | None, QueryParameter(description="Only those with a lower id.", pattern=r"^[0-9a-f]{32}\Z")
    ] = None,
    limit: Annotated[int, QueryParameter(description="At most so many.", ge=1, le=MAX_EXCHANGES)] = 20,
) -> ExchangeList:
    """Find exchanges by their request id (`x-request-id`), with each upstream call; newest first."""
    page = await plane.exchanges.find(
        request_id.removeprefix("/"),
        tenant=tenant,
        before=None if before is None else bytes.fromhex(before),
        limit=limit,
    )
    return ExchangeList(
        exchanges=tuple(map(ExchangeView.of, page.events)),
        next_before=None if page.next_before is None else page.next_before.hex(),
    )


HANDLERS = [get_exchanges]
