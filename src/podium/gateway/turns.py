"""Which class and which share an exchange has in a queue."""

from podium.core.errors import InvalidRequest
from podium.core.serving import Queueing
from podium.identity.permit import name_patterns
from podium.traffic.queueing.fair_queue import Priority

__all__ = ["PRIORITY_HEADER", "TurnTable", "read_priority"]

PRIORITY_HEADER = b"x-podium-priority"
_CLASSES = tuple(Priority)  # the highest first
_BY_NAME = {priority.encode(): priority for priority in Priority}


def read_priority(header: bytes) -> Priority:
    """The class that a caller asks for; InvalidRequest when there is no such one."""
    priority = _BY_NAME.get(header.strip().lower())
    if priority is None:
        raise InvalidRequest(f"`{PRIORITY_HEADER.decode()}` must be one of {', '.join(Priority)}.")
    return priority


class TurnTable:
    """A model's rules for its queue, ready to be asked."""

    __slots__ = ("_rules", "_weights")

    def __init__(self, spec: Queueing) -> None:
        self._weights = spec.weights
        self._rules = [
            (name_patterns(rule.tenants), name_patterns(rule.keys), name_patterns(rule.tiers), Priority(rule.highest))
            for rule in spec.priorities
        ]

    def weight(self, tenant: str) -> int:
        """The tenant's share within a class."""
        return self._weights.get(tenant, 1)

    def priority(self, asked: Priority | None, *, tenant: str, key: str, tier: str) -> Priority:
        """The class of an exchange: what was asked for, or the highest allowed one if that is lower."""
        return max(asked or Priority.STANDARD, self._highest(tenant, key, tier), key=_CLASSES.index)

    def _highest(self, tenant: str, key: str, tier: str) -> Priority:
        for tenants, keys, tiers, highest in self._rules:
            if tenants.matches(tenant) and keys.matches(key) and tiers.matches(tier):
                return highest
        return Priority.STANDARD
