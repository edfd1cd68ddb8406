"""Whose exchanges a rollout, or one of its steps, is about."""

from collections.abc import Callable

from podium.core.globs import one_of
from podium.core.rollouts import Segment

__all__ = ["Holds", "compile_segment"]

Holds = Callable[
    [str, str, str, str, str], bool
]  # of tenant, key, user, tier, and tags as podium.core.tags writes them


def compile_segment(segment: Segment | None) -> Holds | None:
    """Whether an exchange is meant; None: all are."""
    if segment is None:
        return None
    named = (segment.tenants, segment.keys, segment.users, segment.tiers)
    tests = tuple((place, one_of(patterns)) for place, patterns in enumerate(named) if patterns is not None)
    tagged = None if segment.tags is None else one_of(segment.tags)
    if not tests and tagged is None:
        return None

    def holds(tenant: str, key: str, user: str, tier: str, tags: str) -> bool:
        values = (tenant, key, user, tier)
        for place, covers in tests:
            if not covers(values[place]):
                return False
        return tagged is None or any(map(tagged, tags.split(",")))

    return holds
