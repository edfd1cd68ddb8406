"""Limits in the words of podium.core.standings."""

from collections.abc import Callable

from podium.core.standings import LimitRefusal, LimitStanding
from podium.traffic.limiting.buckets import Bucket, Standing
from podium.traffic.limiting.limiter import LastRefusal
from podium.traffic.limiting.policies import Dimensions, LimitTable
from podium.traffic.limiting.wording import describe, refusal_message, whose

__all__ = ["Look", "limit_standings"]

_SECOND_NS = 1_000_000_000
Look = Callable[[Bucket], tuple[Standing, LastRefusal | None]]


def limit_standings(table: LimitTable, look: Look, dimensions: Dimensions) -> tuple[LimitStanding, ...]:
    """Each limit of a request with these dimensions; `look` tells how a bucket stands."""
    return tuple(_standing(bucket, *look(bucket), dimensions) for bucket in table.buckets(dimensions))


def _standing(bucket: Bucket, standing: Standing, refused: LastRefusal | None, dimensions: Dimensions) -> LimitStanding:
    last = None
    if refused is not None:
        last = LimitRefusal(
            ago_s=refused.ago_ns / _SECOND_NS,
            asked=refused.amount,
            retry_after_s=None if refused.wait_ns is None else refused.wait_ns / _SECOND_NS,
            message=refusal_message(bucket, refused.amount),
        )
    return LimitStanding(
        policy=bucket.policy,
        limit=describe(bucket),
        counted=whose(bucket),
        what=bucket.what,
        amount=bucket.amount,
        left=standing.left,
        reset_s=standing.reset_ns / _SECOND_NS,
        without=tuple(dimension for dimension in bucket.per if not getattr(dimensions, dimension)),
        last_refusal=last,
    )
