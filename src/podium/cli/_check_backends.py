"""Which backends of which model take no calls, and why: as the running gateway sees it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from podium.cli._finding import Finding, ok, warn
from podium.cli._http import local_url

if TYPE_CHECKING:
    from podium.config import Settings

__all__ = ["check_backends"]

_PATIENCE_S = 3.0
_PREFIX = "backend "


class _Part(msgspec.Struct):
    name: str
    detail: str = ""


class _Readiness(msgspec.Struct):
    parts: list[_Part] = []


def check_backends(settings: "Settings") -> Iterator[Finding]:
    """A line for each backend that is out; one when all are in; none when no gateway can be asked."""
    server = settings.server
    parts = _parts(local_url(server.host, server.port) + "/readyz") if server.port else None
    if parts is None:
        return
    out = [part for part in parts if part.name.startswith(_PREFIX)]
    for part in out:
        model, _, backend = part.name.removeprefix(_PREFIX).partition(" ")
        yield warn("backends", f"{model}: {backend} is out. {part.detail}", "The others take its calls.")
    if not out:
        yield ok("backends", "all take calls")


def _parts(url: str) -> list[_Part] | None:
    import httpx  # noqa: PLC0415 - takes time, and most commands need none

    try:
        return msgspec.json.decode(httpx.get(url, timeout=_PATIENCE_S, trust_env=False).content, type=_Readiness).parts
    except (httpx.TransportError, msgspec.DecodeError):
        return None
