"""Podium's server and upstream transport with all stages off: the rest is what the stages cost."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from harness.contestants.base import ALL_ROUNDS, Process, Side
from harness.place import BENCH, Place
from harness.processes import BenchError

__all__ = ["PodiumBare"]

_SERVER = BENCH / "podium_bare.py"


class PodiumBare:
    name = "podium-bare"
    title = "Podium, stages off"
    about = "the same server and upstream transport, no stage, no record"
    checks_keys = False
    runs_model = False
    beside: str | None = None
    metrics: frozenset[str] | None = None
    rounds: int = ALL_ROUNDS
    ready_path = "/healthz"

    def version(self) -> str:
        return f"Podium {version('podium')}"

    def prepare(self, place: Place) -> None:  # noqa: ARG002 - it needs no place
        if not _SERVER.exists():
            raise BenchError(f"{_SERVER.name} is not there")

    def renew(self, place: Place) -> None:
        """Nothing is kept."""

    def sides(self, place: Place) -> Sequence[Side]:  # noqa: ARG002 - it has none
        return ()

    def gateway(self, place: Place) -> Process:
        return Process([sys.executable, str(_SERVER), "--port", str(place.port), "--upstream", place.upstream_url])

    def headers(self) -> Mapping[str, str]:
        return {}
