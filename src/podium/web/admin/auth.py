"""Who calls the admin API, and under which name their changes are recorded."""

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from podium.control.authors import check_author
from podium.control.plane import ControlPlane
from podium.core.snapshot import KeyEntry

__all__ = ["author", "presented_key", "require_operator"]

_OPERATOR = "podium.operator"
_MAX_HEADER = 200


async def require_operator(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let only the bearer of a live admin key pass. Runs before anything of the request is decoded."""
    plane: ControlPlane = connection.app.state.plane
    connection.scope["state"][_OPERATOR] = await plane.operators.identify(presented_key(connection))


async def author(request: Request[Any, Any, Any]) -> str:
    """The author of a change: `<key id>/<key name>`, and what `x-podium-author` says."""
    operator: KeyEntry = request.scope["state"][_OPERATOR]
    name = f"{operator.id}/{operator.name}"[:_MAX_HEADER]
    suffix = request.headers.get("x-podium-author", "").strip()
    if suffix:
        check_author(suffix)
        return f"{name} ({suffix})"
    return name


def presented_key(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The bearer token; None when there is no such header, "" when it is of another scheme."""
    header = connection.headers.get("authorization")
    if header is None:
        return None
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
