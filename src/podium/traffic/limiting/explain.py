"""What an operator sees of the limits of a key: what applies, what is left, why the last refusal."""

from dataclasses import dataclass

from podium.core.limits import Dimension
from podium.traffic.limiting.buckets import Bucket
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable
from podium.traffic.limiting.wording import describe, refusal_message, whose

__all__ = ["LastRefusalView", "LimitView", "explain"]

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LastRefusalView:
    """The last time that a limit refused."""

    ago_s: float
    asked: int  # how much of what it counts
    retry_after_s: float | None  # as it was told then; None: it was too large to be ever admitted
    message: str


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit that applies, as it stands in one gateway."""

    policy: str
    bucket: Bucket
    limit: str  # `60 requests a minute`
    counted: str  # `this key`
    without: tuple[Dimension, ...]  # counted by these too, whose values were not asked for: it stands per value
    left: int
    reset_s: float
    last_refusal: LastRefusalView | None


def explain(table: LimitTable, limiter: Limiter, dimensions: Dimensions, now_ns: int) -> tuple[LimitView, ...]:
    """Each limit of a request with these dimensions. The limiter is not changed.

    A limit that is counted by a dimension without a value is that of requests which have none.
    """
    return tuple(_view(bucket, limiter, dimensions, now_ns) for bucket in table.buckets(dimensions))


def _view(bucket: Bucket, limiter: Limiter, dimensions: Dimensions, now_ns: int) -> LimitView:
    standing, refused = limiter.look(bucket, now_ns)
    last = None
    if refused is not None:
        last = LastRefusalView(
            ago_s=refused.ago_ns / _SECOND_NS,
            asked=refused.amount,
            retry_after_s=None if refused.wait_ns is None else refused.wait_ns / _SECOND_NS,
            message=refusal_message(bucket, refused.amount),
        )
    return LimitView(
        policy=bucket.policy,
        bucket=bucket,
        limit=describe(bucket),
        counted=whose(bucket),
        without=tuple(dimension for dimension in bucket.per if not getattr(dimensions, dimension)),
        left=standing.left,
        reset_s=standing.reset_ns / _SECOND_NS,
        last_refusal=last,
    )
