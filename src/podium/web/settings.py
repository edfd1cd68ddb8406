"""Settings of the data plane's HTTP server."""

from dataclasses import dataclass, field

from podium.web.addresses import networks

__all__ = ["GatewayServerSettings"]


@dataclass(frozen=True, slots=True)
class GatewayServerSettings:
    """How the data plane listens, and how much patience and memory a connection may cost."""

    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})
    port: int = field(default=8080, metadata={"help": "Port; 0: any free one.", "minimum": 0, "maximum": 65535})
    share_port: bool = field(
        default=False,
        metadata={
            "help": "Let other gateway processes of this user listen on the port too; the system spreads new"
            " connections over them (`SO_REUSEPORT`). `podium up --gateways` sets it."
        },
    )
    probe_host: str = field(default="127.0.0.1", metadata={"help": "Address of the probe port."})
    probe_port: int = field(
        default=0,
        metadata={
            "help": "A port of this process alone with `/healthz`, `/readyz` and `/metrics`, needed where the other one"
            " is shared; 0: none. `podium up --gateways N` gives the gateways this one and the ones after it, or any"
            " free ones for 0.",
            "minimum": 0,
            "maximum": 65535,
        },
    )
    backlog: int = field(default=2048, metadata={"help": "Connections that may wait to be accepted.", "minimum": 1})
    trusted_proxies: str = field(
        default="",
        metadata={
            "help": "Addresses or networks of proxies in front, between commas; what they say in `X-Forwarded-For`"
            " is believed, for limits by address."
        },
    )
    max_connections: int = field(
        default=16_384, metadata={"help": "Open connections; one more is closed at once.", "minimum": 1}
    )
    max_head_bytes: int = field(
        default=65_536, metadata={"help": "Request line and headers together.", "minimum": 1024}
    )
    max_body_bytes: int = field(default=33_554_432, metadata={"help": "A request's body.", "minimum": 1024})
    head_timeout_s: float = field(
        default=10.0, metadata={"help": "From a request's first byte to the end of its head.", "minimum": 0.1}
    )
    body_timeout_s: float = field(
        default=60.0, metadata={"help": "From the end of the head to the end of the body.", "minimum": 0.1}
    )
    keep_alive_s: float = field(
        default=75.0, metadata={"help": "How long an idle connection stays open.", "minimum": 0.1}
    )
    write_timeout_s: float = field(
        default=60.0, metadata={"help": "How long a caller may take no byte of its answer.", "minimum": 0.1}
    )
    drain_timeout_s: float = field(
        default=30.0, metadata={"help": "How long running exchanges may take to finish at SIGTERM.", "minimum": 0.0}
    )

    def __post_init__(self) -> None:
        try:
            networks(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"`trusted_proxies`: {error}") from None
