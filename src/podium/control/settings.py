"""What an operator may set about the control plane."""

from dataclasses import dataclass, field

__all__ = ["ControlSettings"]


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The loops of the control plane. The bounds are checked where settings are read."""

    poll_s: float = field(
        default=0.5,
        metadata={
            "help": "How often changes by other control processes are looked for, to publish them to gateways.",
            "minimum": 0.01,
            "maximum": 60.0,
        },
    )
    lease_ttl_s: float = field(
        default=10.0,
        metadata={
            "help": "How long a leader that is gone holds up the ones that stand by.",
            "minimum": 0.1,
            "maximum": 3600.0,
        },
    )
    loader_poll_s: float = field(
        default=0.25,
        metadata={
            "help": "How often the journals are looked at for exchanges that are not in the ledger.",
            "minimum": 0.01,
            "maximum": 60.0,
        },
    )
    loader_batch_events: int = field(
        default=1000,
        metadata={
            "help": "Exchanges that go into the ledger in one transaction, at most.",
            "minimum": 1,
            "maximum": 100_000,
        },
    )
    gateways: str = field(
        default="",
        metadata={
            "help": "Addresses of gateways, between commas, that are asked how limits and budgets stand:"
            " `http://10.0.0.5:8080`. The key of whoever asks is sent there. `podium up` sets it for its own."
        },
    )
    budget_repair_s: float = field(
        default=300.0,
        metadata={
            "help": "How often shared budgets are compared with the ledger; less often when that takes long.",
            "minimum": 1.0,
            "maximum": 86_400.0,
        },
    )
    budget_truth_s: float = field(
        default=30.0,
        metadata={
            "help": "How often gateways that share no budgets are told what the ledger knows was spent.",
            "minimum": 0.5,
            "maximum": 3600.0,
        },
    )
    feedback_days: float = field(
        default=90.0,
        metadata={
            "help": "Days after which comments of feedback, and names of who gave it, are erased; marks stay."
            " 0: they are kept until somebody erases them.",
            "minimum": 0.0,
            "maximum": 36_500.0,
        },
    )
    rollout_tick_s: float = field(
        default=1.0,
        metadata={
            "help": "How often the leader looks at rollouts that are under way.",
            "minimum": 0.05,
            "maximum": 60.0,
        },
    )
    rollout_prepare_s: float = field(
        default=300.0,
        metadata={
            "help": "How long a candidate may take until it answers; after that its rollout has failed.",
            "minimum": 1.0,
            "maximum": 86_400.0,
        },
    )
