"""Where this machine's own servers are."""

__all__ = ["reachable"]


def reachable(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - told apart, not listened on
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
