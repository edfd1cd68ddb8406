"""The probe port of a gateway: what is asked of one process, where its other port is shared with others."""

from collections.abc import Coroutine
from typing import Any

import msgspec

from podium.core.errors import MethodNotAllowed, NotFound, PodiumError
from podium.web.http1.message import Message
from podium.web.probes import Probes, probe_paths
from podium.web.standings import STANDINGS_PATH, StandingsPath

__all__ = ["ProbeSurface"]

_JSON = b"content-type: application/json\r\n"


class ProbeSurface:
    """Answers `/healthz`, `/readyz` and `/metrics` of one process (podium.web.http1.connection.Handler)."""

    def __init__(self, probes: Probes, standings: StandingsPath | None = None) -> None:
        self._probes = probe_paths(probes)
        self._standings = standings

    def __call__(self, message: Message) -> Coroutine[Any, Any, None]:
        """What answers `message` when it is run."""
        return self._answer(message)

    async def _answer(self, message: Message) -> None:
        probe = self._probes.get(message.path)
        if self._standings is not None and message.path.startswith(STANDINGS_PATH):
            self._standings(message)
        elif probe is None:
            self.refuse(message, NotFound("Only /healthz, /readyz and /metrics are here."))
        elif message.method not in {b"GET", b"HEAD"}:
            error = MethodNotAllowed("Only GET and HEAD are methods of this path.", allowed=("GET", "HEAD"))
            self.refuse(message, error)
        else:
            probe(message)

    def refuse(self, message: Message, error: PodiumError) -> None:
        """Answer a message that could not be read, or asks for something else."""
        body = msgspec.json.encode({"error": {"message": error.message}})
        message.send(error.status, _JSON, body)
