"""The admin API as an ASGI application. The caller serves it and runs the plane."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.spec import SecurityRequirement

from podium import __version__
from podium.control.plane import ControlPlane
from podium.web.admin import (
    exchanges,
    experiments,
    feedback,
    flags,
    keys,
    openapi,
    resources,
    revisions,
    rollouts,
    standings,
    state,
    usage,
)
from podium.web.admin.auth import author, require_operator
from podium.web.admin.errors import exception_handlers
from podium.web.admin.request import AdminRequest
from podium.web.admin.settings import AdminSettings
from podium.web.feedback.known import known_handler

__all__ = ["build_admin_app"]

_SECURITY: SecurityRequirement = {"admin_key": []}


def build_admin_app(
    plane: ControlPlane,
    settings: AdminSettings,
    *,
    metrics: Callable[[], bytes] | None = None,
    gateways: str | None = None,
    lifespan: Sequence[Callable[[Litestar], AbstractAsyncContextManager[Any]]] = (),
) -> Litestar:
    """The application over `plane`.

    `metrics` renders the page of `/metrics`; None: there is none. `gateways`: what gateways prove themselves with when
    they ask which exchanges there are; None: they cannot. `lifespan`: what is open while the
    application runs, e.g. `lambda _: plane`.
    """

    async def provide_plane() -> ControlPlane:
        return plane

    guarded = Router(
        openapi.PATH,
        route_handlers=[
            *resources.HANDLERS,
            *revisions.HANDLERS,
            *rollouts.HANDLERS,
            *experiments.HANDLERS,
            *keys.HANDLERS,
            *usage.HANDLERS,
            *exchanges.HANDLERS,
            *feedback.HANDLERS,
            *standings.HANDLERS,
            *flags.HANDLERS,
            *state.HANDLERS,
        ],
        dependencies={"author": Provide(author)},
        guards=[require_operator],
        security=[_SECURITY],
    )
    own = [state.metrics_handler(metrics)] if metrics else []
    if gateways is not None:
        own.append(known_handler(gateways))
    return Litestar(
        route_handlers=[guarded, *state.OPEN_HANDLERS, *own],
        dependencies={"plane": Provide(provide_plane)},
        exception_handlers=exception_handlers(),
        openapi_config=openapi.config(__version__),
        request_class=AdminRequest,
        request_max_body_size=settings.max_body_bytes,
        state=State({"plane": plane}),
        lifespan=list(lifespan),
        logging_config=None,
        debug=False,
        response_headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
    )
