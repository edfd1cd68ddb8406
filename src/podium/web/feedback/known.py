"""`GET /podium/v1/exchanges/known` of the control process: gateways ask it which exchanges there are.

Not for people: it asks for a token that only processes with Podium's secret can make, and tells nothing but yes or no.
"""

from hmac import compare_digest
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter

from podium.core.errors import Unauthenticated
from podium.web.admin.injected import Plane

__all__ = ["KNOWN_PATH", "Known", "known_handler"]

KNOWN_PATH = "/podium/v1/exchanges/known"


class Known(msgspec.Struct, frozen=True):
    """`known` null: nobody can tell yet."""

    known: bool | None


def known_handler(token: str) -> HTTPRouteHandler:
    """The handler, for bearers of `token`."""
    wanted = f"Bearer {token}".encode()

    async def require_gateway(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not compare_digest(connection.headers.get("authorization", "").encode(), wanted):
            raise Unauthenticated("Only gateways may ask this.")

    @get(KNOWN_PATH, guards=[require_gateway], include_in_schema=False)
    async def get_known(
        plane: Plane,
        tenant: Annotated[str, QueryParameter(max_length=128)],
        request_id: Annotated[str, QueryParameter(min_length=1, max_length=128)],
    ) -> Known:
        """Tell whether a tenant has an exchange."""
        return Known(await plane.known_exchanges.known(tenant, request_id))

    return get_known
