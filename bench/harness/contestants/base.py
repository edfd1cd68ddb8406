"""What the harness needs to know of a contestant, and how it is started and stopped."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.place import Place
from harness.processes import BenchError, Child, wait_for_http, wait_for_port

__all__ = [
    "ALL_ROUNDS",
    "SIDE_READY_WITHIN_S",
    "Accounting",
    "Contestant",
    "Process",
    "Running",
    "Sharing",
    "Side",
    "running",
]

ALL_ROUNDS = 1000
SIDE_READY_WITHIN_S = 180.0  # with a million keys


@dataclass(frozen=True, slots=True)
class Process:
    """A command with its surroundings."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    stdout: Path | None = None  # None: with its log
    everywhere: bool = False  # on both cores: for what runs a model


@dataclass(frozen=True, slots=True)
class Side:
    """A process that belongs to a contestant, off the path that is measured, and has to be there first."""

    name: str
    process: Process
    port: int
    ready_path: str | None  # None: it is ready when it listens


class Contestant(Protocol):
    """A gateway. `checks_keys`: a call without `headers()` is refused with 401."""

    name: str
    title: str
    about: str
    checks_keys: bool
    runs_model: bool  # measured with a real model behind it, and by nothing else
    beside: str | None  # the contestant that it is a variant of: ratios are to that one
    metrics: frozenset[str] | None  # what it is measured by; None: everything that is there for all gateways
    rounds: int  # it takes part in so many at most
    ready_path: str  # answers 200 as soon as requests are served

    def version(self) -> str:
        """What is measured, for the results."""

    def prepare(self, place: Place) -> None:
        """Install and configure it; once in a run of the harness."""

    def renew(self, place: Place) -> None:
        """Bring what it keeps on disk back to how it was prepared; before each start."""

    def gateway(self, place: Place) -> Process:
        """The process that stands between client and provider; its tree is what is measured."""

    def sides(self, place: Place) -> Sequence[Side]:
        """What else runs, in the order of starting."""

    def headers(self) -> Mapping[str, str]:
        """What a caller sends, the key above all."""


@runtime_checkable
class Accounting(Protocol):
    """A contestant that keeps account of exchanges."""

    def accounted(self, place: Place, limit_s: float, expect: int) -> int:
        """How many exchanges its ledger has, as soon as that is `expect`, or after `limit_s`."""


@runtime_checkable
class Sharing(Protocol):
    """A contestant that decides together with others, in a store."""

    least_calls: float  # of the store for each request; fewer, and it decided alone

    def shared(self, place: Place) -> tuple[int, float]:
        """How many calls the store has had, and the seconds that it took for them."""


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that serves."""

    contestant: Contestant
    place: Place
    gateway: Child
    sides: tuple[Child, ...]
    ready_s: float  # from exec to the first 200 on its ready path

    @property
    def side_pids(self) -> tuple[int, ...]:
        return tuple(child.pid for child in self.sides)


@contextmanager
def running(contestant: Contestant, place: Place) -> Iterator[Running]:
    """Start the contestant with the gateway core to itself, and what belongs to it on the load core; stop it after."""
    folder = place.folder(contestant.name)
    contestant.renew(place)
    with ExitStack() as stack:
        sides = []
        for side in contestant.sides(place):
            child = stack.enter_context(_start(side.name, side.process, place, place.load_core, folder))
            if side.ready_path is None:
                wait_for_port(child, side.port)
            else:
                wait_for_http(child, side.port, side.ready_path, limit_s=SIDE_READY_WITHIN_S)
            sides.append(child)
        process = contestant.gateway(place)
        gateway = stack.enter_context(_start(contestant.name, process, place, place.gateway_core, folder))
        ready_s = wait_for_http(gateway, place.port, contestant.ready_path, limit_s=60, headers=contestant.headers())
        yield Running(contestant, place, gateway, tuple(sides), ready_s)


def _start(name: str, process: Process, place: Place, core: int, folder: Path) -> Child:
    if shutil.which(process.command[0]) is None:
        raise BenchError(f"{name}: {process.command[0]} is not installed")
    return Child(
        name,
        process.command,
        cores={place.gateway_core, place.load_core} if process.everywhere else {core},
        log=folder / f"{name}.log",
        environment=process.environment,
        stdout=process.stdout,
        folder=process.folder,
    )
