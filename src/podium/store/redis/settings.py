"""What an operator can set about the store that gateways share."""

from dataclasses import dataclass, field

__all__ = ["RedisSettings"]


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis or Valkey is, how to prove ourselves to it, and how long to wait for it."""

    url: str | None = field(
        default=None,
        metadata={
            "help": "`redis://host:6379/0`, `rediss://host:6380/0` (TLS) or `unix:///path/to/socket`;"
            " without it, each gateway counts for itself."
        },
    )
    username: str | None = field(default=None, metadata={"help": "The user, where the server knows several."})
    password: str | None = field(
        default=None,
        repr=False,
        metadata={"help": "The password; better in `PODIUM_REDIS_PASSWORD` or a file.", "secret": True},
    )
    ca_file: str | None = field(
        default=None,
        metadata={"help": "Certificates (PEM) that the server's is checked with; without it, the system's."},
    )
    prefix: str = field(
        default="{podium}",
        metadata={
            "help": "What all keys and channels start with. The part in braces puts all of them on one shard of a"
            " cluster, because one decision has to see all its counters."
        },
    )
    timeout_ms: int = field(
        default=50, metadata={"help": "Milliseconds that a call waits at most, its turn and the answer together."}
    )
    connect_timeout_ms: int = field(
        default=1000, metadata={"help": "Milliseconds to open a connection, which happens beside the calls."}
    )
    connections: int = field(default=2, metadata={"help": "Connections of a process for decisions."})
    queue: int = field(
        default=10_000, metadata={"help": "Calls of a process that wait for their turn; more are refused at once."}
    )
    failures_to_open: int = field(
        default=3, metadata={"help": "Failures in a row after which the store counts as down and nobody waits for it."}
    )
    probe_interval_ms: int = field(
        default=500, metadata={"help": "Milliseconds between looks at whether the store is there, and back."}
    )
    lease_s: float = field(
        default=120.0,
        metadata={
            "help": "Seconds after which the places and reservations of a gateway that was lost are free again;"
            " what runs longer is renewed.",
            "minimum": 1.0,
            "maximum": 86_400.0,
        },
    )
    quota_leases: bool = field(
        default=False,
        metadata={
            "help": "Take slices of much used limits and budgets ahead of need, so that most exchanges need no round"
            " trip: at most a sixteenth of a limit or of what is left of a budget, and half a second of use, is then"
            " with gateways that do not need it at once."
        },
    )
    expected_gateways: int = field(
        default=1,
        metadata={
            "help": "How many gateways share a limit if the store is away before it ever said how many there are.",
            "minimum": 1,
        },
    )
    member_ttl_s: float = field(
        default=6.0,
        metadata={"help": "Seconds of silence after which a gateway counts no more.", "minimum": 0.1, "maximum": 600.0},
    )

    def __post_init__(self) -> None:
        for name in (
            "timeout_ms",
            "connect_timeout_ms",
            "connections",
            "queue",
            "failures_to_open",
            "probe_interval_ms",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0")
        if self.url is not None and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("`url` must start with `redis://`, `rediss://` or `unix://`")
        if "{" not in self.prefix or "}" not in self.prefix.partition("{")[2][1:]:
            raise ValueError("`prefix` must hold a word in braces, as in `{podium}`")
