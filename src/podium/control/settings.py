"""What an operator may set about the control plane."""

from dataclasses import dataclass, field

__all__ = ["ControlSettings"]


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The loops of the control plane. ValueError names the field that is wrong."""

    poll_s: float = field(
        default=0.5,
        metadata={"help": "How often changes by other control processes are looked for, to publish them to gateways."},
    )
    lease_ttl_s: float = field(
        default=10.0, metadata={"help": "How long a leader that is gone holds up the ones that stand by."}
    )
    loader_poll_s: float = field(
        default=0.25,
        metadata={"help": "How often the journals are looked at for exchanges that are not in the ledger."},
    )
    loader_batch_events: int = field(
        default=1000, metadata={"help": "Exchanges that go into the ledger in one transaction, at most."}
    )

    def __post_init__(self) -> None:
        for name in ("poll_s", "lease_ttl_s", "loader_poll_s"):
            if not 0 < getattr(self, name) <= 3600:  # noqa: PLR2004 - an hour
                raise ValueError(f"{name} must lie above 0 and be at most 3600")
        if not 1 <= self.loader_batch_events <= 100_000:  # noqa: PLR2004 - bounds the memory of one batch
            raise ValueError("loader_batch_events must lie between 1 and 100000")
