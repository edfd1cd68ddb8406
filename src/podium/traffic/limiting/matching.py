"""Filters of policies: whether a value of a dimension is one of those that a policy holds for."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from podium.core.limits import DIMENSIONS, Where

__all__ = ["Filter", "compile_where"]


class Filter:
    """One dimension's values. `exact`: the only ones that match, when that can be said."""

    __slots__ = ("_networks", "_search", "_values", "dimension", "exact")

    def __init__(self, dimension: int, patterns: tuple[str, ...]) -> None:
        self.dimension = dimension
        self._values = frozenset(patterns)
        self._search = None
        self._networks: tuple[IPv4Network | IPv6Network, ...] = ()
        if DIMENSIONS[dimension] == "ip":
            self._networks = tuple(ip_network(pattern) for pattern in patterns)
            self.exact: frozenset[str] = frozenset()  # an address can be written in many ways
            return
        wild = [pattern for pattern in patterns if "*" in pattern]
        if wild:
            self._search = re.compile("|".join(map(_translate, wild)), re.DOTALL).match
        self.exact = frozenset() if wild else self._values

    def matches(self, value: str) -> bool:
        """True when a pattern covers the whole value; a request without a value matches nothing."""
        if not value:
            return False
        if self._networks:
            return self._contains(value)
        return value in self._values or (self._search is not None and self._search(value) is not None)

    def _contains(self, value: str) -> bool:
        try:
            address = ip_address(value.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def compile_where(where: Where) -> tuple[Filter, ...]:
    """The filters that are set."""
    asked = ((index, getattr(where, dimension)) for index, dimension in enumerate(DIMENSIONS))
    return tuple(Filter(index, patterns) for index, patterns in asked if patterns is not None)


def _translate(pattern: str) -> str:
    head, *middle, tail = map(re.escape, pattern.split("*"))
    # Atomic groups: the leftmost place of each middle part is as good as any later one, so nothing backtracks.
    return head + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{tail}\\Z"
