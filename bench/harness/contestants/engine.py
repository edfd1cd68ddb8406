"""The embedded engine, asked through Podium and directly. Both may use both cores, as with `podium up`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from harness.contestants.base import ALL_ROUNDS, Process, Side
from harness.contestants.podium import PodiumInstallation
from harness.place import Place
from harness.processes import BenchError
from podium.core.layout import DataFolder
from podium.identity.keys import derive_secret

__all__ = ["ENGINE_MODEL", "PodiumEngine", "Worker"]

ENGINE_MODEL = "smollm2"
_WORKER_READY = "/health"


def _engine_version() -> str:
    try:
        return f"{ENGINE_MODEL} by xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        raise BenchError("the embedded engine is not installed: it is the extra `local`") from None


def _worker(installation: PodiumInstallation, place: Place, port: int) -> Process:
    return installation.process(place, "worker", ENGINE_MODEL, "--port", str(port), everywhere=True)


class PodiumEngine:
    """The worker stands where the mock provider stands for others."""

    name = "podium-engine"
    title = "Podium"
    about = "gateway, control and the built-in chat model's worker, on both cores"
    checks_keys = True
    runs_model = True
    beside = None
    metrics = None
    rounds = ALL_ROUNDS
    ready_path = "/readyz"

    def __init__(self) -> None:
        self._installation = PodiumInstallation(self.name)

    def version(self) -> str:
        return f"Podium {version('podium')}, {_engine_version()}"

    def prepare(self, place: Place) -> None:
        self._installation.declare(place)

    def renew(self, place: Place) -> None:
        self._installation.renew(place)

    def _workers(self, place: Place) -> dict[str, str]:
        return {"PODIUM_WORKERS": json.dumps({ENGINE_MODEL: place.upstream_url})}

    def sides(self, place: Place) -> Sequence[Side]:
        control = self._installation.control(place, everywhere=True)
        environment = {**control.process.environment, **self._workers(place)}
        return (
            Side(
                "worker",
                _worker(self._installation, place, place.upstream_port),
                place.upstream_port,
                _WORKER_READY,
            ),
            replace(control, process=replace(control.process, environment=environment)),
        )

    def gateway(self, place: Place) -> Process:
        process = self._installation.gateway(place, everywhere=True)
        return replace(process, environment={**process.environment, **self._workers(place)})

    def headers(self) -> Mapping[str, str]:
        return self._installation.headers()


class Worker:
    """Nothing between the caller and the worker."""

    name = "worker"
    title = "worker"
    about = "the built-in chat model's worker, asked directly, on both cores"
    checks_keys = True
    runs_model = True
    beside = None
    metrics = None
    rounds = ALL_ROUNDS
    ready_path = _WORKER_READY

    def __init__(self) -> None:
        self._installation = PodiumInstallation(self.name)
        self._key = ""

    def version(self) -> str:
        return _engine_version()

    def prepare(self, place: Place) -> None:
        self._installation.declare(place)

    def renew(self, place: Place) -> None:
        self._installation.renew(place)
        root = bytes.fromhex(DataFolder(self._installation.data(place)).secret_file.read_text().strip())
        self._key = derive_secret(root, "worker").hex()

    def sides(self, place: Place) -> Sequence[Side]:  # noqa: ARG002 - it has none
        return ()

    def gateway(self, place: Place) -> Process:
        return _worker(self._installation, place, place.port)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._key}"}
