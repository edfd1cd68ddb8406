"""What is counted for each label set."""

from functools import cache

__all__ = ["LATENCY_BOUNDS_NS", "OTHER", "OVERHEAD_BOUNDS_NS", "TOKEN_BOUNDS_NS", "Flow", "Histogram", "Series"]


def _bounds(*milliseconds: float) -> tuple[int, ...]:
    return tuple(int(value * 1_000_000) for value in milliseconds)


# A refusal takes under a millisecond, a long reasoning answer minutes.
LATENCY_BOUNDS_NS = _bounds(
    1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 90_000, 120_000
)
# From a small model on an accelerator to a large one on a processor.
TOKEN_BOUNDS_NS = _bounds(1, 2.5, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1_000)
# What the gateway itself adds.
OVERHEAD_BOUNDS_NS = _bounds(0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 25, 50, 100, 250, 1_000, 10_000, 60_000)


OTHER = "other"


@cache
def _seconds_text(bounds_ns: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(repr(bound / 1_000_000_000) for bound in bounds_ns)


class Histogram:
    """Counts between bounds, the last one above all of them. Its owner adds to `counts` and `total_ns` directly."""

    __slots__ = ("counts", "le", "total_ns")

    def __init__(self, bounds_ns: tuple[int, ...]) -> None:
        self.le = _seconds_text(bounds_ns)
        self.counts = [0] * (len(bounds_ns) + 1)
        self.total_ns = 0


class Flow:
    """The durations of one endpoint, model, version and backend."""

    __slots__ = ("duration", "labels", "overhead", "token_gap", "ttft")

    def __init__(self, labels: tuple[str, str, str, str]) -> None:
        self.labels = labels
        self.duration = Histogram(LATENCY_BOUNDS_NS)
        self.ttft = Histogram(LATENCY_BOUNDS_NS)
        self.token_gap = Histogram(TOKEN_BOUNDS_NS)
        self.overhead = Histogram(OVERHEAD_BOUNDS_NS)


class Series:
    """The sums of one flow, status, reason, fault and (by setting) tenant."""

    __slots__ = (
        "attempts",
        "bytes_in",
        "bytes_out",
        "cache_write_tokens",
        "cached_input_tokens",
        "cost_nanousd",
        "estimated",
        "exchanges",
        "fault",
        "flow",
        "input_tokens",
        "output_tokens",
        "reason",
        "reasoning_tokens",
        "status",
        "tenant",
    )

    def __init__(self, flow: Flow, *, status: int, reason: str, fault: str, tenant: str) -> None:
        self.flow = flow
        self.status = status
        self.reason = reason
        self.fault = fault
        self.tenant = tenant
        self.exchanges = 0
        self.input_tokens = 0
        self.cached_input_tokens = 0
        self.cache_write_tokens = 0
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self.estimated = 0
        self.cost_nanousd = 0
        self.attempts = 0  # of exchanges with one call; several are counted in podium.telemetry.calls
        self.bytes_in = 0
        self.bytes_out = 0
