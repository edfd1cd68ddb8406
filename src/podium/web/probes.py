"""`/healthz`, `/readyz` and `/metrics` of the data plane."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from podium.web.http1.message import Message

__all__ = ["Part", "Probes", "probe_paths"]

_JSON = b"content-type: application/json\r\n"
_PROMETHEUS = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a gateway needs, and whether it has it."""

    name: str
    ready: bool
    detail: str = ""  # what is missing and what to do
    required: bool = True  # False: the gateway serves without it


class Probes(Protocol):
    """What can be asked of a gateway process."""

    def parts(self) -> list[Part]:
        """Everything that readiness depends on."""

    def metrics(self) -> bytes:
        """Prometheus's text format."""


def probe_paths(probes: Probes) -> dict[bytes, Callable[[Message], None]]:
    """What answers which path. None of them is an exchange."""

    def healthz(message: Message) -> None:
        message.send(200, _JSON, b'{"status":"ok"}')

    def readyz(message: Message) -> None:
        parts = probes.parts()
        ready = all(part.ready or not part.required for part in parts)
        body = msgspec.json.encode({"ready": ready, "parts": parts})
        message.send(200 if ready else 503, _JSON, body)

    def metrics(message: Message) -> None:
        message.send(200, _PROMETHEUS, probes.metrics())

    return {b"/healthz": healthz, b"/readyz": readyz, b"/metrics": metrics}
