"""Where a contestant runs and what it finds there."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BENCH", "REPOSITORY", "Place"]

BENCH = Path(__file__).resolve().parent.parent
REPOSITORY = BENCH.parent


@dataclass(frozen=True, slots=True)
class Place:
    """Cores, ports and folders of one run of the harness; the same for all contestants, so that none is favoured."""

    tools: Path  # installed contestants; kept between runs
    scratch: Path  # configurations, data, logs; emptied at the start of a run
    gateway_core: int
    load_core: int
    port: int  # where the contestant listens
    side_port: int  # for its metrics or its control plane
    upstream_port: int  # where the mock provider listens
    more_upstream_ports: tuple[int, ...] = ()  # where it listens too, or others like it, for pools of four
    store_port: int = 0  # where a store listens that gateways share
    second_port: int = 0  # where the second gateway of two listens

    @property
    def upstream_url(self) -> str:
        """The mock provider, without a path."""
        return f"http://127.0.0.1:{self.upstream_port}"

    @property
    def upstream_ports(self) -> tuple[int, ...]:
        """All ports on which providers listen."""
        return (self.upstream_port, *self.more_upstream_ports)

    def folder(self, name: str) -> Path:
        """A scratch folder, made when it is not there."""
        path = self.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return path
