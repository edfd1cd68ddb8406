"""Whose exchanges a rollout, or one of its steps, is about."""

from collections.abc import Callable
from functools import lru_cache

from podium.core.globs import one_of
from podium.core.rollouts import Segment

__all__ = ["Holds", "compile_segment"]

_MOST_TAGS = 256  # texts of tags that a segment keeps its answer for

Holds = Callable[
    [str, str, str, str, str], bool
]  # of tenant, key, user, tier, and tags as podium.core.tags writes them


def compile_segment(segment: Segment | None) -> Holds | None:
    """Whether an exchange is meant; None: all are."""
    if segment is None:
        return None
    named = (segment.tenants, segment.keys, segment.users, segment.tiers)
    tests = tuple((place, one_of(patterns)) for place, patterns in enumerate(named) if patterns is not None)
    tagged = None if segment.tags is None else _any_tag(one_of(segment.tags))
    if not tests and tagged is None:
        return None

    def holds(tenant: str, key: str, user: str, tier: str, tags: str) -> bool:
        values = (tenant, key, user, tier)
        for place, covers in tests:
            if not covers(values[place]):
                return False
        return tagged is None or tagged(tags)

    return holds


def _any_tag(covers: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether one of an exchange's tags is covered. Most exchanges have the tags of another one."""
    return lru_cache(maxsize=_MOST_TAGS)(lambda tags: any(map(covers, tags.split(","))))
