"""Podium as it is otherwise declared: many backends, other providers' protocols, a slow backend."""

import json

from harness.contestants.base import ALL_ROUNDS
from harness.contestants.podium import LIMITS_AND_PRICE, Podium
from harness.place import Place
from harness.request import ANTHROPIC_MODEL, MODEL

__all__ = [
    "SLOW_MODELS",
    "PodiumFailover",
    "PodiumSingle",
    "PodiumSlow",
    "PodiumTranslation",
    "document",
    "providers",
]

# What the metric `slow` asks for: the same four backends under each of these names.
SLOW_MODELS: dict[str, dict[str, object]] = {
    "healthy": {"balancing": {"strategy": "round_robin"}},
    "round_robin": {"balancing": {"strategy": "round_robin"}},
    "response_time": {"balancing": {"strategy": "response_time"}},
    "hedged": {"balancing": {"strategy": "response_time"}, "failure": {"hedging": {}}},
}


def document(kind: str, name: str, spec: dict[str, object]) -> str:
    """One document of a YAML stream."""
    return f"{json.dumps({'kind': kind, 'name': name, 'spec': spec})}\n---\n"  # JSON is YAML


def providers(place: Place, count: int) -> str:
    """`count` providers of OpenAI's protocol, each on a port of its own."""
    return "".join(
        document(
            "Provider",
            f"mock-{number}",
            {"protocol": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "max_connections": 8192},
        )
        for number, port in enumerate(place.upstream_ports[:count], 1)
    )


def _version(count: int) -> str:
    backends = [{"provider": f"mock-{number}", "model": MODEL} for number in range(1, count + 1)]
    return document("Version", "bench-1", {"backends": backends})


_PRICED = LIMITS_AND_PRICE.replace("provider: mock, ", "")


class PodiumFailover(Podium):
    name = "podium-failover"
    title = "Podium, four backends"
    about = (
        "as Podium, with four backends on four ports: least in-flight, a breaker for each backend, retries under"
        " their budget"
    )
    beside = "podium-single"
    metrics = frozenset(("requests", "failover-soak"))

    def resources(self, place: Place) -> str:
        spec: dict[str, object] = {
            "version": "bench-1",
            "balancing": {"strategy": "least_in_flight"},
            "failure": {"breaker": {}, "retries": {}},  # their defaults
        }
        return providers(place, 4) + _version(4) + document("Model", MODEL, spec) + _PRICED


class PodiumSingle(Podium):
    name = "podium-single"
    title = "Podium, one backend, failure handling off"
    about = "as Podium, without breaker and retries: what podium-failover is with these stages off"
    metrics = frozenset(("requests",))

    def resources(self, place: Place) -> str:
        spec: dict[str, object] = {"version": "bench-1", "failure": {"breaker": None, "retries": {"attempts": 1}}}
        return providers(place, 1) + _version(1) + document("Model", MODEL, spec) + _PRICED


class PodiumTranslation(Podium):
    name = "podium-translation"
    title = "Podium, translating"
    about = "as Podium, with a second model whose provider speaks Anthropic's protocol"
    metrics = frozenset(("translation",))

    def resources(self, place: Place) -> str:
        anthropic: dict[str, object] = {
            "protocol": "anthropic",
            "base_url": f"{place.upstream_url}/v1",
            "max_connections": 8192,
        }
        backends = [{"provider": "mock-anthropic", "model": ANTHROPIC_MODEL}]
        return (
            super().resources(place)
            + "\n---\n"
            + document("Provider", "mock-anthropic", anthropic)
            + document("Version", "bench-anthropic-1", {"backends": backends})
            + document("Model", ANTHROPIC_MODEL, {"version": "bench-anthropic-1"})
        )


class PodiumSlow(Podium):
    name = "podium-slow"
    title = "Podium, four backends, one of them slow"
    about = "as Podium, with four simulated providers and the same four backends under one model a strategy"
    metrics = frozenset(("slow",))
    rounds = ALL_ROUNDS

    def resources(self, place: Place) -> str:
        models = "".join(document("Model", name, {"version": "bench-1", **spec}) for name, spec in SLOW_MODELS.items())
        plain = document("Model", MODEL, {"version": "bench-1"})
        return providers(place, 4) + _version(4) + models + plain + _PRICED
