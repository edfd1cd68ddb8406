"""What an operator may set about the admin API."""

from dataclasses import dataclass, field

__all__ = ["AdminSettings"]


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where the admin API listens, and how much it reads."""

    host: str = field(
        default="127.0.0.1",
        metadata={"help": "Address to listen on. Beyond this machine only behind something that speaks TLS."},
    )
    port: int = field(default=8081, metadata={"help": "Port; 0: any free one.", "minimum": 0, "maximum": 65535})
    max_body_bytes: int = field(
        default=2_097_152,
        metadata={"help": "A request's body, in bytes.", "minimum": 1024, "maximum": 67_108_864},
    )
