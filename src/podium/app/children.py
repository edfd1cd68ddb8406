"""The processes that `podium up` starts: names, arguments, settings, and when each is ready."""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from podium.app.reachable import reachable
from podium.config import Settings, child_environment
from podium.engine.catalogue import CATALOGUE
from podium.engine.supervisor import ChildSpec

__all__ = ["GatewayChild", "children", "gateway_children"]

_SLACK_S = 10.0  # for what a process does after its own drain: flush, close, exit


@dataclass(frozen=True, slots=True)
class GatewayChild:
    """One gateway process: its name, where its probes are, and the variables that only it has."""

    name: str
    probes: str  # http://host:port
    variables: Mapping[str, str]


def gateway_children(settings: Settings) -> list[GatewayChild]:
    """The gateways; several of them share the port, and each has a probe port of its own."""
    server, name, count = settings.server, settings.gateway.name, settings.gateway.processes
    if count == 1:
        return [GatewayChild(name, f"http://{reachable(server.host, server.port)}", {})]
    ports = [server.probe_port + number for number in range(count)] if server.probe_port else _free_ports(count)
    return [
        GatewayChild(
            f"{name}-{number}",
            f"http://{reachable(server.probe_host, port)}",
            {
                "PODIUM_GATEWAY_NAME": f"{name}-{number}",
                "PODIUM_GATEWAY_SHARE_PORT": "true",
                "PODIUM_GATEWAY_PROBE_PORT": str(port),
                "PODIUM_REDIS_EXPECTED_GATEWAYS": str(max(count, settings.redis.expected_gateways)),
            },
        )
        for number, port in enumerate(ports, 1)
    ]


def children(settings: Settings, gateways: list[GatewayChild], engine: str = "") -> list[ChildSpec]:
    """All processes; `engine` is where gateways hear of workers of registered versions.

    Gateways stop first: they finish what runs and write it down; control, which reads that, last.
    """
    taken = {one.probes.rpartition(":")[2] for one in gateways}
    ports = [port for port in _free_ports(len(CATALOGUE) + len(gateways)) if str(port) not in taken]
    ports = ports[: len(CATALOGUE)]
    urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(CATALOGUE, ports, strict=True)}
    environment = child_environment(settings, os.environ) | {
        "PODIUM_WORKERS": msgspec.json.encode(urls).decode(),
        "PODIUM_ENGINE": engine,
    }

    def child(
        name: str, *arguments: str, url: str, rank: int, drain_s: float, variables: Mapping[str, str] | None = None
    ) -> ChildSpec:
        return ChildSpec(
            name=name,
            argv=(sys.executable, "-m", "podium", *arguments),
            environment=environment | dict(variables or {}),
            log_file=settings.data.logs / f"{name}.log",
            ready_url=url,
            rank=rank,
            ready_timeout_s=settings.engine.load_timeout_s,
            drain_timeout_s=drain_s + _SLACK_S,
        )

    drain_s = settings.server.drain_timeout_s
    asked = settings.control.gateways or ",".join(one.probes for one in gateways)
    return [
        *(
            child(one.name, "gateway", url=f"{one.probes}/readyz", rank=2, drain_s=drain_s, variables=one.variables)
            for one in gateways
        ),
        *(
            child(
                f"worker-{name}",
                *("worker", name, "--port", str(port)),
                url=f"{urls[name]}/health",
                rank=1,
                drain_s=settings.engine.drain_timeout_s,
            )
            for name, port in zip(CATALOGUE, ports, strict=True)
        ),
        child(
            "control",
            "control",
            url=f"http://{reachable(settings.admin.host, settings.admin.port)}/readyz",
            rank=0,
            drain_s=0.0,
            variables={"PODIUM_CONTROL_GATEWAYS": asked},
        ),
    ]


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses right now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
