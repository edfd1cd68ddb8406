"""Which backends of which model take no calls, and why: as the running gateway sees it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from podium.cli._check_stores import published_snapshot
from podium.cli._finding import Finding, fail, ok, warn
from podium.cli._http import local_url
from podium.core.errors import PodiumError

if TYPE_CHECKING:
    from podium.config import Settings

__all__ = ["check_backends"]

_PATIENCE_S = 3.0


class _Part(msgspec.Struct):
    name: str  # `backend <model> <provider>/<model there>`: it is out; `model <model>`: all of its backends are
    detail: str = ""

    @property
    def subject(self) -> "_Subject":
        return _Subject(*(*self.name.split(" ", 2), "", "")[:3])


class _Subject(NamedTuple):
    kind: str
    model: str
    backend: str


class _Readiness(msgspec.Struct):
    parts: list[_Part] = []


def check_backends(settings: "Settings", model: str | None = None) -> Iterator[Finding]:
    """A line for each backend that is out, and for each model that has no other; one when there is none of them.

    Nothing when no gateway can be asked. `model`: only of this one, by its name or an alias.
    """
    server = settings.server
    parts = _parts(local_url(server.host, server.port) + "/readyz") if server.port else None
    if parts is None:
        return
    if model is not None:
        own = _own_name(settings, model)
        if own is None:
            yield fail("backends", f"there is no model {model!r}", "`podium get models` lists them.")
            return
        parts = [part for part in parts if part.subject.model == own]
    yield from _findings(parts, "" if model is None else f"{model}: ")


def _findings(parts: list[_Part], of: str) -> Iterator[Finding]:
    alone = [part.subject.model for part in parts if part.subject.kind == "model"]
    out = [part for part in parts if part.subject.kind == "backend"]
    for part in out:
        _, model, backend = part.subject
        advice = "" if model in alone else "The model's other backends take its calls."
        yield warn("backends", f"{model}: {backend} is out. {part.detail}", advice)
    for model in alone:
        advice = "A fallback or a last resort answers, if the model has any; else callers get an error."
        yield fail("backends", f"{model}: none of its backends takes calls", advice)
    if not out and not alone:
        yield ok("backends", f"{of}all take calls")


def _own_name(settings: "Settings", model: str) -> str | None:
    """The name of the model that has this name or alias; None when there is none."""
    try:
        snapshot = published_snapshot(settings)
    except PodiumError:  # is told by another check
        return model
    if snapshot is None or model in snapshot.models:
        return model
    return next((name for name, one in snapshot.models.items() if model in one.aliases), None)


def _parts(url: str) -> list[_Part] | None:
    import httpx  # noqa: PLC0415 - takes time, and most commands need none

    try:
        return msgspec.json.decode(httpx.get(url, timeout=_PATIENCE_S, trust_env=False).content, type=_Readiness).parts
    except (httpx.TransportError, msgspec.DecodeError):
        return None
