"""What an operator can set about the journal and the database."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["DatabaseSettings", "JournalSettings"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How finished exchanges are kept on local disk until the ledger has them."""

    durability: Literal["interval", "disk"] = field(
        default="interval",
        metadata={
            "help": "What is awaited before the last byte of an answer. `interval`: the record is with the operating"
            " system, which survives a killed process, and reaches the disk within `sync_interval_ms`."
            " `disk`: the record is on the disk, which survives a power loss."
        },
    )
    sync_interval_ms: int = field(
        default=50, metadata={"help": "Milliseconds between two fdatasync calls with durability `interval`."}
    )
    segment_bytes: int = field(default=64 * _MIB, metadata={"help": "A segment is closed when it is this large."})
    segment_age_s: float = field(
        default=60.0, metadata={"help": "A segment that is not empty is closed when it is this old, in seconds."}
    )
    min_free_bytes: int = field(
        default=128 * _MIB,
        metadata={"help": "With less free space for the journal, new exchanges are refused with 503."},
    )
    max_buffered_bytes: int = field(
        default=32 * _MIB,
        metadata={"help": "With more records waiting in memory for the disk, new exchanges are refused with 503."},
    )
    probe_interval_s: float = field(
        default=1.0, metadata={"help": "Seconds between two tries of a disk that failed, and two looks at free space."}
    )
    close_timeout_s: float = field(
        default=10.0, metadata={"help": "Seconds that a stop waits for the disk to take what is still in memory."}
    )

    def __post_init__(self) -> None:
        if self.durability not in ("interval", "disk"):
            raise ValueError("`durability` is `interval` or `disk`")
        for name in ("sync_interval_ms", "segment_bytes", "segment_age_s", "probe_interval_s", "close_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0")
        if self.min_free_bytes < 0:
            raise ValueError("`min_free_bytes` must not be negative")
        if self.max_buffered_bytes < _MIB:
            raise ValueError("`max_buffered_bytes` must be at least 1 MiB (1048576)")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the truth and the ledger are, and how long to wait for them."""

    url: str | None = field(
        default=None,
        metadata={
            "help": "`sqlite:///path/to/file` or `postgresql://user:password@host/database`;"
            " without it, an SQLite file in the data folder."
        },
    )
    pool_size: int = field(default=5, metadata={"help": "Connections that a control process keeps at most."})
    connect_timeout_s: float = field(
        default=5.0,
        metadata={"help": "Seconds to wait for a connection that answers, a new one or a free one of the pool."},
    )
    lock_timeout_s: float = field(
        default=5.0, metadata={"help": "Seconds to wait for a lock that another process holds."}
    )
    statement_timeout_s: float = field(default=30.0, metadata={"help": "Seconds that one statement may run."})
    migration_timeout_s: float = field(
        default=600.0, metadata={"help": "Seconds that an upgrade of the schema may take, waiting included."}
    )

    def __post_init__(self) -> None:
        for name in (
            "pool_size",
            "connect_timeout_s",
            "lock_timeout_s",
            "statement_timeout_s",
            "migration_timeout_s",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0")
