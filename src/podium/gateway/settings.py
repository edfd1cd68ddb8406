"""Settings of the data plane."""

from dataclasses import dataclass, field

__all__ = ["GatewaySettings"]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How exchanges are handled."""

    name: str = field(
        default="gateway",
        metadata={
            "help": "Name of this gateway process; its journal folder, and told in each event."
            " `podium up --gateways 2` makes `gateway-1` and `gateway-2` of it."
        },
    )
    processes: int = field(
        default=1,
        metadata={
            "help": "Gateway processes that `podium up` starts, all on one port; as `--gateways`.",
            "minimum": 1,
            "maximum": 64,
        },
    )
    limited_subjects: int = field(
        default=100_000,
        metadata={"help": "Subjects (keys, users, addresses) whose limits are kept in memory.", "minimum": 100},
    )
    assumed_output_tokens: int = field(
        default=256,
        metadata={"help": "Output tokens reserved from limits when a request sets no maximum.", "minimum": 0},
    )
    flag_requests_per_s: int = field(
        default=1000,
        metadata={
            "help": "How often each API key may ask for flags by OFREP, in each gateway process.",
            "minimum": 1,
            "maximum": 100_000,
        },
    )
    feedback_requests_per_s: int = field(
        default=20,
        metadata={
            "help": "How often each API key may give feedback, in each gateway process.",
            "minimum": 1,
            "maximum": 100_000,
        },
    )
    control: str = field(
        default="",
        metadata={
            "help": "Address of the control plane, `http://10.0.0.4:8081`, that is asked which exchanges there are"
            " when feedback names one that this gateway does not know; empty: the one of this machine."
        },
    )
    snapshot_poll_s: float = field(
        default=0.25, metadata={"help": "How often a new snapshot is looked for.", "minimum": 0.01, "maximum": 2.0}
    )
