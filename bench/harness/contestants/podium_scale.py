"""Podium with many keys and models, before a narrow pool, and as two gateways."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from harness.contestants.base import Side
from harness.contestants.key_stock import put_keys, put_models
from harness.contestants.podium import Podium, PodiumInstallation
from harness.contestants.podium_variants import document
from harness.load.scripts import SUBJECT_MODEL, subject_key
from harness.place import Place
from harness.processes import BenchError, Child, NotThere, http_get, http_status
from podium.config import options
from podium.core.resources import Model

__all__ = [
    "OVERLOAD_MODELS",
    "POOL_PLACES",
    "SERVICE_MS",
    "PodiumFewKeys",
    "PodiumManyKeys",
    "PodiumNarrow",
    "PodiumOneGateway",
    "PodiumTwoGateways",
]

POOL_PLACES = 20  # of the narrow pool
SERVICE_MS = 100.0  # of each request there

# What the metric `overload` asks for: the same backend under each of these names. Who cannot start within 40 ms is told
# so then, at the latest: callers shall know within 50 ms.
_MAX_WAIT_S = 0.04
OVERLOAD_MODELS: dict[str, dict[str, object]] = {
    "places": {"queueing": {"places": POOL_PLACES, "max_wait_s": _MAX_WAIT_S}},
    "found": {"queueing": {"concurrency": {}, "max_wait_s": _MAX_WAIT_S}},
}
_STOCKED_WITHIN_S = 180.0


class _Stock(PodiumInstallation):
    """Has models and keys that were put straight into the database: over the admin API a million would take hours."""

    keys = tenants = models = 0

    def declare(self, place: Place) -> None:
        """As every installation, then models and keys; kept when the last of them was served."""
        super().declare(place)
        self.renew(place)
        put_models(self.data(place), self.models)
        put_keys(self.data(place), self.keys, tenants=self.tenants)
        with (
            self._start(place, self.control(place)),
            self._start(place, Side(self._name, self.gateway(place), place.port, "/healthz")) as gateway,
        ):
            self._wait_for_stock(place, gateway)
        self._keep(place)

    def _wait_for_stock(self, place: Place, gateway: Child) -> None:
        deadline = time.monotonic() + _STOCKED_WITHIN_S
        last = {"Authorization": f"Bearer {subject_key(self.keys - 1)}"}
        while http_status(place.port, f"/v1/models/{SUBJECT_MODEL % (self.models - 1)}", last) != 200:
            gateway.require_alive()
            if time.monotonic() > deadline:
                raise BenchError("the gateway does not learn of the keys")
            time.sleep(0.2)


class PodiumFewKeys(Podium):
    name = "podium-few-keys"
    title = "Podium, ten keys"
    about = "as Podium, with a limit for each key too; ten keys, tenants and models"
    metrics = frozenset(("keys",))
    keys = models = tenants = 10

    def __init__(self) -> None:
        super().__init__()
        stock = self._installation = _Stock(self.name, self.resources)
        stock.keys, stock.models, stock.tenants = self.keys, self.models, self.tenants

    def resources(self, place: Place) -> str:
        limits = [{"what": "requests", "amount": 10**8}, {"what": "tokens", "amount": 10**11}]
        tenants = "".join(document("Tenant", f"tenant-{number}", {}) for number in range(self.tenants))
        each_key = document("LimitPolicy", "bench-key", {"per": ["key"], "limits": limits})
        return tenants + each_key + super().resources(place)

    def wait_until_settled(self, place: Place, limit_s: float) -> None:
        """Wait until the gateway serves what this start of control has published."""
        deadline = time.monotonic() + limit_s
        while True:
            published = _gauge(place.side_port, "podium_published_revision")
            if published and published == _gauge(place.port, "podium_snapshot_revision"):
                return
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: the gateway does not serve what control has published")
            time.sleep(0.2)


class PodiumManyKeys(PodiumFewKeys):
    name = "podium-many-keys"
    title = "Podium, a million keys"
    about = "as podium-few-keys, with 1,000,000 keys of 1,000 tenants, and 10,000 models of 5,000 versions"
    beside = PodiumFewKeys.name
    keys, models, tenants = 1_000_000, 10_000, 1_000


class PodiumNarrow(Podium):
    name = "podium-narrow"
    title = "Podium, a narrow pool"
    about = f"as Podium, before a provider that works on {POOL_PLACES} requests at a time; a model for each setting"
    metrics = frozenset(("overload",))

    def prepare(self, place: Place) -> None:
        if "queueing" not in Model.__struct_fields__:
            raise NotThere("this Podium has no queue before a pool (`queueing` of a Model)")
        super().prepare(place)

    def resources(self, place: Place) -> str:
        models = "".join(
            document("Model", name, {"version": "bench-1", **spec}) for name, spec in OVERLOAD_MODELS.items()
        )
        return models + super().resources(place)


class PodiumOneGateway(Podium):
    name = "podium-one-gateway"
    title = "Podium, one gateway"
    about = "as Podium, without `podium control`, which would use what is to be measured"
    metrics = frozenset(("two-gateways",))
    gateways = 1

    def sides(self, place: Place) -> Sequence[Side]:  # noqa: ARG002 - it has none
        return ()


class PodiumTwoGateways(PodiumOneGateway):
    name = "podium-two-gateways"
    title = "Podium, two gateways"
    about = "two gateways on one data folder, one on each core, on two ports; no `podium control`"
    beside = PodiumOneGateway.name
    gateways = 2

    def sides(self, place: Place) -> Sequence[Side]:
        first = self.gateway(place)
        assert first.stdout is not None
        process = replace(
            self._installation.process(place, "gateway", "--port", str(place.second_port)),
            environment={**first.environment, options()["gateway", "name"].variable: "second"},
            stdout=first.stdout.with_name("second.out"),
        )
        return (Side(f"{self.name}-second", process, place.second_port, self.ready_path),)


def _gauge(port: int, name: str) -> float | None:
    """A gauge of a process, from its metrics; None when it does not tell."""
    found = re.search(rf"^{name} (\S+)$", http_get(port, "/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else None
