"""Whether the processes are alive, and their ports free when they are not."""

import socket
from typing import TYPE_CHECKING

from podium.cli._finding import Finding, fail, ok, warn
from podium.cli._http import local_url

if TYPE_CHECKING:
    from podium.config import Settings

__all__ = ["check_control", "check_gateway"]

_PATIENCE_S = 3.0


def check_gateway(settings: "Settings") -> Finding:
    """The gateway lives and is ready; or is not started, and could be."""
    server = settings.server
    return _check("gateway", server.host, server.port, "/healthz", "/readyz", "--port")


def check_control(settings: "Settings") -> Finding:
    """The control process lives and is ready; or is not started, and could be."""
    admin = settings.admin
    return _check("control", admin.host, admin.port, "/healthz", "/readyz", "--admin-port")


def _check(name: str, host: str, port: int, alive: str, ready: str, option: str) -> Finding:
    url = local_url(host, port)
    if port == 0:
        return ok(name, "takes any free port; not looked for")
    status, _ = _get(url + alive)
    if status == 0 and _can_listen(host, port):
        return ok(name, f"not running; port {port} is free")
    if status != 200:  # noqa: PLR2004 - HTTP OK
        return fail(
            name,
            f"port {port} is taken, and what listens there is not a healthy {name}",
            f"Stop the other program, or choose another port with {option}.",
        )
    status, text = _get(url + ready)
    if status != 200:  # noqa: PLR2004 - HTTP OK
        return warn(name, f"alive at {url}, not ready: {text}", "Wait while models load; then see the logs.")
    return ok(name, f"alive and ready at {url}")


def _get(url: str) -> tuple[int, str]:
    """Status and a little of the body; 0 when nothing answers HTTP there."""
    import httpx  # noqa: PLC0415 - takes time, and most commands need none

    try:
        response = httpx.get(url, timeout=_PATIENCE_S, trust_env=False)
    except httpx.TransportError:
        return 0, ""
    return response.status_code, " ".join(response.text[:500].split())


def _can_listen(host: str, port: int) -> bool:
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True
