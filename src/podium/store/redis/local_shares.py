"""What a gateway decides by itself while the shared store is away: each limit at its share of it.

Rules
1. A share is the limit's amount (and burst) divided by the number of gateways, rounded up, so at least 1.
2. While the store is away, n gateways together admit at most `amount + n - 1` where one limit would admit `amount`;
   more only if there are more gateways than were last seen.
3. A share does not know what the store had counted, nor the store what shares were used for. So a stretch of time in
   which the store goes away, or comes back, however often, sees at most what both allow: less than twice the amount,
   and n - 1. Places (concurrency) likewise: what runs since before, and the shares.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from podium.traffic.limiting.buckets import Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.limiter import Grant, LastRefusal, Limiter
from podium.traffic.limiting.wording import refusal_message

__all__ = ["LocalShares", "share_of"]

_REMEMBERED = 20_000
_RETRY_S = 1.0  # what the share has no room for, the whole may have, once the store is back


def share_of(amount: int, gateways: int) -> int:
    """One gateway's part of an amount; at least 1 of at least 1."""
    return -(-amount // gateways)


class LocalShares:
    """A limiter in memory of buckets that are as large as this gateway's share. `gateways`: how many there are."""

    __slots__ = ("_gateways", "_limiter", "_shares", "granted", "refused")

    def __init__(self, limiter: Limiter, gateways: Callable[[], int]) -> None:
        self._limiter, self._gateways = limiter, gateways
        self._shares: OrderedDict[str, tuple[Bucket, int, Bucket]] = OrderedDict()
        self.granted = 0
        self.refused = 0

    def acquire(self, buckets: Sequence[Bucket], charge: Charge, now_ns: int) -> Grant | Refusal:
        """Take `charge` from the share of every bucket, or nothing at all."""
        outcome = self._limiter.acquire([self._share(bucket) for bucket in buckets], charge, now_ns)
        if isinstance(outcome, Grant):
            self.granted += 1
            return outcome
        self.refused += 1
        return self._of_the_whole(outcome, buckets, charge)

    def settle(self, grant: Grant, facts: Charge, now_ns: int) -> None:
        """As `Limiter.settle`, of a grant of these."""
        self._limiter.settle(grant, facts, now_ns)

    def standings(self, grant: Grant, now_ns: int) -> tuple[Standing, ...]:
        """How the shares stand."""
        return self._limiter.standings(grant, now_ns)

    def look(self, bucket: Bucket, now_ns: int) -> tuple[Standing, LastRefusal | None]:
        """How the share of a bucket stands and when it last refused."""
        return self._limiter.look(self._share(bucket), now_ns)

    def _share(self, bucket: Bucket) -> Bucket:
        gateways = self._gateways()
        known = self._shares.get(bucket.key)
        if known is not None and known[0] is bucket and known[1] == gateways:
            return known[2]
        share = replace(
            bucket, amount=share_of(bucket.amount, gateways), burst=share_of(bucket.burst, gateways)
        )  # a burst of 0 stays 0
        self._shares[bucket.key] = (bucket, gateways, share)
        self._shares.move_to_end(bucket.key)
        if len(self._shares) > _REMEMBERED:
            self._shares.popitem(last=False)
        return share

    def _of_the_whole(self, refusal: Refusal, buckets: Sequence[Bucket], charge: Charge) -> Refusal:
        """The refusal in words about the limit as it was declared."""
        whole = {bucket.key: bucket for bucket in buckets}
        bucket = whole[refusal.bucket.key]
        amounts = dict(zip(("requests", "input_tokens", "output_tokens", "tokens", "concurrency"), charge, strict=True))
        retry_after_s = refusal.retry_after_s
        if retry_after_s is None and all(amounts[one.what] <= one.at_once for one in buckets):
            retry_after_s = _RETRY_S
        return replace(
            refusal,
            bucket=bucket,
            message=refusal_message(bucket, amounts[bucket.what]),
            retry_after_s=retry_after_s,
            standings=tuple(
                Standing(whole[standing.bucket.key], standing.left, standing.reset_ns) for standing in refusal.standings
            ),
        )
