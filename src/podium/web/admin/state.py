"""`/healthz`, `/readyz`, `/metrics` without a key; `/admin/v1/status` and `/admin/v1/snapshot` with one."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from msgspec import Meta

from podium.control.plane import PlaneStatus
from podium.control.snapshots import SnapshotStatus
from podium.web.admin.injected import Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "OPEN_HANDLERS", "Health", "Readiness", "metrics_handler"]

_METRICS_TYPE = "text/plain; version=0.0.4"  # the framework adds the charset


class Health(msgspec.Struct, frozen=True):
    """The process lives."""

    status: str = "ok"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether changes by operators can be made."""

    ready: bool
    parts: Annotated[dict[str, str], Meta(description="`ok`, or what is missing.")]


_NOT_READY = ResponseSpec(Readiness, generate_examples=False, description="Something is missing.")


@get("/healthz", operation_id="getHealth", tags=["state"])
async def get_health() -> Health:
    """Tell that the process lives."""
    return Health()


@get("/readyz", operation_id="getReadiness", tags=["state"], responses={503: _NOT_READY})
async def get_readiness(plane: Plane) -> Response[Readiness]:
    """Tell whether changes can be made, and per part what is missing (503)."""
    status = await plane.status()
    parts = {"database": status.database}
    if status.leads:
        parts["snapshot"] = status.snapshot.error or ("ok" if status.snapshot.revision else "not published yet")
    ready = all(part == "ok" for part in parts.values())
    return Response(Readiness(ready=ready, parts=parts), status_code=200 if ready else 503)


@get("/status", operation_id="getStatus", tags=["state"], responses=errors())
async def get_status(plane: Plane) -> PlaneStatus:
    """Tell how the control plane is: who leads, what is published, how far the ledger lags."""
    return await plane.status()


@get("/snapshot", operation_id="getSnapshotStatus", tags=["state"], responses=errors())
async def get_snapshot_status(plane: Plane) -> SnapshotStatus:
    """Tell which snapshot this process published last, and what stands in the way of the next."""
    return plane.snapshots.status


HANDLERS = [get_status, get_snapshot_status]
OPEN_HANDLERS = [get_health, get_readiness]


def metrics_handler(render: Callable[[], bytes]) -> HTTPRouteHandler:
    """The handler of `/metrics` that answers with what `render` gives."""

    @get("/metrics", operation_id="getMetrics", tags=["state"], media_type=_METRICS_TYPE)
    async def get_metrics() -> bytes:
        """Measurements of this process, for Prometheus."""
        return render()

    return get_metrics
