"""The strategies by the names that a Model resource uses."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from podium.traffic.balancing.least_in_flight import LeastInFlight
from podium.traffic.balancing.lowest_cost import LowestCost
from podium.traffic.balancing.ports import Balancer
from podium.traffic.balancing.prefix_affinity import PrefixAffinity
from podium.traffic.balancing.response_time import ResponseTime
from podium.traffic.balancing.round_robin import RoundRobin
from podium.traffic.balancing.session_affinity import SessionAffinity
from podium.traffic.balancing.weighted_round_robin import WeightedRoundRobin

__all__ = ["STRATEGIES", "BalancingOptions", "make_balancer"]


class BalancingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the strategies can be told; each reads its own."""

    expected_output_tokens: int = 256  # response_time
    cost_room: int = 16  # lowest_cost: calls in flight per unit of weight that never spill
    cost_ratio: float = 2.0  # lowest_cost: times the load of the next dearer one
    prefix_chunk_bytes: int = 256  # prefix_affinity, and the following
    prefix_max_bytes: int = 4096  # of a prompt; each further KiB costs a choice half a microsecond
    prefix_index_entries: int = 100_000
    prefix_index_bytes: int = 32 * 1024 * 1024
    imbalance_abs: int = 32  # calls in flight
    imbalance_rel: float = 1.5

    def __post_init__(self) -> None:
        for name in ("expected_output_tokens", "cost_room", "imbalance_abs"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be below 0")
        for name in ("prefix_chunk_bytes", "prefix_max_bytes", "prefix_index_entries", "prefix_index_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be above 0")
        if self.cost_ratio <= 1.0:
            raise ValueError("`cost_ratio` must be above 1")
        if self.imbalance_rel < 1.0:
            raise ValueError("`imbalance_rel` must be 1 or more")


def _response_time(options: BalancingOptions) -> Balancer:
    return ResponseTime(expected_output_tokens=options.expected_output_tokens)


def _lowest_cost(options: BalancingOptions) -> Balancer:
    return LowestCost(room=options.cost_room, ratio=options.cost_ratio)


def _prefix_affinity(options: BalancingOptions) -> Balancer:
    return PrefixAffinity(
        chunk_bytes=options.prefix_chunk_bytes,
        max_prefix_bytes=options.prefix_max_bytes,
        max_entries=options.prefix_index_entries,
        max_bytes=options.prefix_index_bytes,
        imbalance_abs=options.imbalance_abs,
        imbalance_rel=options.imbalance_rel,
    )


STRATEGIES: Mapping[str, Callable[[BalancingOptions], Balancer]] = MappingProxyType(
    {
        "round_robin": lambda _: RoundRobin(),
        "weighted_round_robin": lambda _: WeightedRoundRobin(),
        "least_in_flight": lambda _: LeastInFlight(),
        "response_time": _response_time,
        "lowest_cost": _lowest_cost,
        "prefix_affinity": _prefix_affinity,
        "session_affinity": lambda _: SessionAffinity(),
    }
)


def make_balancer(name: str, options: BalancingOptions | None = None) -> Balancer:
    """A fresh balancer, one for a pool. ValueError for a name that is not in `STRATEGIES`."""
    make = STRATEGIES.get(name)
    if make is None:
        raise ValueError(f"no balancing strategy is named {name!r}; there are {', '.join(STRATEGIES)}")
    return make(options or BalancingOptions())
