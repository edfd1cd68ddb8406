"""Quota leases: slices of much used limits, taken from the store ahead of need, so that most need no round trip.

Rules
1. A slice is taken like any charge: the store has counted all of it before anything of it is used. So all gateways
   together never admit more than the store has counted, whatever happens to them or to it.
2. A slice is as large as what this gateway needed of the bucket in the last USE_S, at most a sixteenth of the bucket
   divided by the number of gateways, and is used for USE_S. Then what is left of it is given back, as if it had never
   been taken.
3. Undershoot: at most what is in slices, so a sixteenth of a bucket, is out of reach of who needs it, for USE_S.
4. Overshoot: none in what the store counts; but use may come up to USE_S later than it was counted. So a stretch of
   time sees at most what the limit allows for it and what was in slices when it began: a sixteenth of the bucket, and
   for GCRA never more than what flows back in USE_S.
5. An exchange is admitted here only when there is enough for it in slices of all its buckets. Otherwise the store is
   asked for all of it, and the answer is exact: only the store refuses.
6. Places (concurrency) are taken ahead one by one, each with a lease like that of an exchange, and go from exchange to
   exchange. At most a quarter of a bucket waits for exchanges, in all gateways together; none is ever lent twice.
7. What exchanges used less than was estimated is not used again from the slice. The store is told what a slice has come
   to when its use ends, and afterwards within KEEP_S of each end. Such a correction says the whole and carries a
   number, so one that is told twice or late does no harm.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence

import structlog
from redis.exceptions import ResponseError

from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.limits import RedisGrant, RedisLimiter
from podium.traffic.limiting.buckets import MEASURES, NOTHING, Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.limiter import Grant

__all__ = ["KEEP_S", "USE_S", "QuotaGrant", "Quotas"]

_log = structlog.get_logger(__name__)

USE_S = 0.5
KEEP_S = 0.05
_USE_NS = 500_000_000
_SHARES = 16  # of a bucket, which all slices together are at most one of
_PLACE_SHARES = 4
_WORTH = 4  # exchanges that a slice must be good for
_MOST_HOT = 10_000  # buckets whose use is watched
_MOST_READY = 10_000
_MOST_SLICES = 5_000  # that have not ended, and lent places that wait
_SPARE_PLACES = 4  # ahead of as many as were lent at once lately
_CONCURRENCY = MEASURES.index("concurrency")
_ONE_PLACE: Charge = (0, 0, 0, 0, 1)


class _Slice:
    """A part of a bucket that the store has given to this gateway."""

    __slots__ = ("closed", "grant", "left", "running", "until_ns", "used", "version")

    def __init__(self, grant: RedisGrant, amount: int, until_ns: int) -> None:
        self.grant = grant
        self.left = amount
        self.used = 0  # by exchanges: the facts of those that have ended, the estimates of others
        self.running = 0  # exchanges
        self.until_ns = until_ns
        self.closed = False
        self.version = 0


class _Hot:
    """What this gateway uses of one bucket, and has of it."""

    __slots__ = (
        "asks",
        "bucket",
        "forgotten",
        "idle",
        "last_asks",
        "last_peak",
        "last_use",
        "lent",
        "low",
        "most",
        "peak",
        "places",
        "refilling",
        "rest_until_ns",
        "slices",
        "turn_ns",
        "use",
        "what",
    )

    def __init__(self, bucket: Bucket, now_ns: int) -> None:
        self.bucket = bucket
        self.what = MEASURES.index(bucket.what)
        self.places = self.what == _CONCURRENCY
        self.forgotten = False
        self.turn_ns = now_ns + _USE_NS
        self.use = self.asks = 0  # since USE_S before that
        self.last_use = self.last_asks = 0  # in USE_S before
        self.slices: list[_Slice] = []  # oldest first
        self.idle: list[tuple[RedisGrant, int]] = []  # places that wait for an exchange, and since when
        self.lent = self.peak = self.last_peak = 0  # places that exchanges have: now, and at most in both stretches
        self.most = 0  # that should be at hand; 0: it is not worth while
        self.low = -1  # with more in the newest slice nothing has to be taken
        self.refilling = False
        self.rest_until_ns = 0

    def turn(self, now_ns: int, gateways: int) -> None:
        """Begin another stretch."""
        elapsed_ns = now_ns - self.turn_ns + _USE_NS
        self.last_use = self.use * _USE_NS // elapsed_ns
        self.last_asks = self.asks * _USE_NS // elapsed_ns
        self.use = self.asks = 0
        self.last_peak, self.peak = self.peak, self.lent
        self.turn_ns = now_ns + _USE_NS
        self.share(gateways)

    def share(self, gateways: int) -> None:
        """Find out how much should be at hand."""
        self.most, most = 0, self.bucket.at_once // (_SHARES * gateways)
        if self.last_asks >= _WORTH:
            if self.places:
                self.most = self.bucket.amount // (_PLACE_SHARES * gateways)
            elif most * self.last_asks >= _WORTH * self.last_use:
                self.most = min(self.last_use, most)
        self.low = self.most // 2 if self.most else -1

    def has(self, now_ns: int) -> int:
        """What is at hand."""
        if self.places:
            return len(self.idle)
        return sum([one.left for one in self.slices if now_ns < one.until_ns])

    def wanted(self) -> int:
        """How much should be at hand now."""
        if not self.places:
            return self.most
        lately = self.last_peak if self.last_peak > self.peak else self.peak  # noqa: FURB136 - a call takes longer
        spare = lately + _SPARE_PLACES - self.lent
        return spare if spare < self.most else self.most  # noqa: FURB136 - likewise


class QuotaGrant(Grant, eq=False, kw_only=True):
    """A grant out of slices and lent places."""

    asked: tuple[Bucket, ...]
    hots: tuple[_Hot, ...]
    parts: list[_Slice | RedisGrant]

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """What it has taken from."""
        return self.asked


class Quotas:
    """What one gateway has taken ahead. `keep` has to be called every KEEP_S as long as `busy`.

    `begin` and `end` are told of the store's grants whose leases have to be renewed, `put_end` of those that end, and
    `told` how buckets stand in the store.
    """

    def __init__(
        self,
        limiter: RedisLimiter,
        gateways: Callable[[], int],
        *,
        begin: Callable[[RedisGrant], None],
        end: Callable[[RedisGrant], None],
        put_end: Callable[[tuple[RedisGrant, Charge]], None],
        told: Callable[[tuple[Standing, ...], int], None],
    ) -> None:
        self._limiter, self._gateways = limiter, gateways
        self._begin, self._end, self._put_end, self._told = begin, end, put_end, told
        self._hot: OrderedDict[str, _Hot] = OrderedDict()  # used longest ago first, as seen in each stretch
        self._ready: dict[int, tuple[Sequence[Bucket], tuple[_Hot, ...]]] = {}  # by the identity of the buckets
        self._leasing: dict[_Hot, None] = {}  # those that have something
        self._untold: dict[_Slice, None] = {}  # closed, and the store has to be told what they came to
        self._open = 0  # slices that have not ended, and lent places that wait
        self._refills: set[asyncio.Task[None]] = set()
        self.granted = 0
        self.missed = 0

    @property
    def busy(self) -> bool:
        """True while there is something to keep."""
        return bool(self._leasing or self._untold or self._refills)

    def acquire(self, buckets: Sequence[Bucket], charge: Charge, now_ns: int) -> QuotaGrant | None:
        """A grant when there is enough of all buckets at hand; None: the store has to be asked. It never refuses.

        Quickest when the same tuple of buckets comes again.
        """
        ready = self._ready.get(id(buckets))
        hots = ready[1] if ready is not None and ready[0] is buckets else self._find(buckets, now_ns)
        found: list[_Slice | None] = []
        enough = True
        for hot in hots:
            amount = charge[hot.what]
            if now_ns >= hot.turn_ns:
                hot.turn(now_ns, self._gateways())
                if not hot.forgotten:
                    self._hot.move_to_end(hot.bucket.key)
            hot.use += amount
            hot.asks += 1
            fitting = None
            if hot.places:
                enough = enough and amount == 1 and bool(hot.idle)
            else:
                for one in hot.slices:
                    if one.left >= amount and now_ns < one.until_ns:
                        fitting = one
                        break
                else:
                    enough = False
            found.append(fitting)
        if not enough:
            self.missed += 1
            for hot in hots:
                self._refill_if_low(hot, now_ns)
            return None
        self.granted += 1
        parts = self._use(hots, found, charge, now_ns)
        return QuotaGrant([], charge, 0, now_ns, asked=tuple(buckets), hots=hots, parts=parts)

    def _find(self, buckets: Sequence[Bucket], now_ns: int) -> tuple[_Hot, ...]:
        """What is known of the buckets, whichever they are bound to."""
        hots = []
        for bucket in buckets:
            hot = self._hot.get(bucket.key) or self._watch(bucket, now_ns)
            if hot.bucket is not bucket:
                self._bind(hot, bucket)
            hots.append(hot)
        if type(buckets) is tuple and not any([hot.forgotten for hot in hots]):  # noqa: C419 - quicker
            if len(self._ready) >= _MOST_READY:
                self._ready.clear()
            self._ready[id(buckets)] = buckets, tuple(hots)
        return tuple(hots)

    def _use(
        self, hots: Sequence[_Hot], found: Sequence[_Slice | None], charge: Charge, now_ns: int
    ) -> list[_Slice | RedisGrant]:
        """Use what was found, and have more taken where little is left."""
        parts: list[_Slice | RedisGrant] = []
        for hot, one in zip(hots, found, strict=True):
            if one is None:
                self._open -= 1
                lent = hot.lent = hot.lent + 1
                if lent > hot.peak:  # noqa: PLR1730 - a call of `max` takes four times as long
                    hot.peak = lent
                parts.append(hot.idle.pop()[0])
                low = len(hot.idle) * 2 <= hot.wanted()
            else:
                amount = charge[hot.what]
                one.left -= amount
                one.used += amount
                one.running += 1
                parts.append(one)
                low = hot.slices[-1].left <= hot.low
            if low and not hot.refilling:
                self._refill_if_low(hot, now_ns)
        return parts

    def settle(self, grant: QuotaGrant, facts: Charge, now_ns: int) -> None:
        """End an exchange that took `facts` in truth."""
        if grant.ended:
            return
        grant.ended = True
        charge = grant.charge
        for hot, part in zip(grant.hots, grant.parts, strict=True):
            if isinstance(part, RedisGrant):
                self._put_back(hot, part, now_ns)
                continue
            what = hot.what
            difference = facts[what] - charge[what]
            part.running -= 1
            part.used += difference
            if difference > 0:
                part.left -= difference
            if part.closed:
                self._untold[part] = None

    def lost(self, grant: RedisGrant) -> None:
        """The store does not know this place any more: nobody gets it."""
        if grant.charge != _ONE_PLACE:
            return
        grant.ended = True
        for bucket in grant.asked:
            hot = self._hot.get(bucket.key)
            if hot is not None:
                before = len(hot.idle)
                hot.idle = [one for one in hot.idle if one[0] is not grant]
                self._open -= before - len(hot.idle)

    async def keep(self, now_ns: int, *, close: bool = False) -> None:
        """Close what is old (with `close`: everything), and tell the store what closed slices have come to."""
        for hot in list(self._leasing):
            self._close_old(hot, now_ns, everything=close)
        untold = list(self._untold)
        self._untold.clear()
        await asyncio.gather(*map(self._tell, untold))

    async def refilled(self) -> None:
        """Return when nothing is being taken."""
        await asyncio.gather(*self._refills)

    async def close(self, now_ns: int) -> None:
        """Take nothing more, and give back what is not in use."""
        for refill in self._refills:
            refill.cancel()
        await asyncio.gather(*self._refills, return_exceptions=True)
        await self.keep(now_ns, close=True)

    def _watch(self, bucket: Bucket, now_ns: int) -> _Hot:
        if len(self._hot) >= _MOST_HOT:
            _, old = self._hot.popitem(last=False)
            old.forgotten = True
            self._ready.clear()  # some of them may be of this one
            self._close_old(old, now_ns, everything=True)
        hot = self._hot[bucket.key] = _Hot(bucket, now_ns)
        return hot

    def _bind(self, hot: _Hot, bucket: Bucket) -> None:
        """Go on under a changed amount: of less, nothing is at hand any more."""
        if bucket.at_once < hot.bucket.at_once:
            self._close_old(hot, 0, everything=True)
        hot.bucket = bucket
        hot.share(self._gateways())
        self._ready.clear()  # who comes with the old bucket has to bind it again

    def _refill_if_low(self, hot: _Hot, now_ns: int) -> None:
        if hot.refilling or now_ns < hot.rest_until_ns:
            return
        wanted, has = hot.wanted(), hot.has(now_ns)
        if wanted <= 0 or has * 2 > wanted or self._open >= _MOST_SLICES:
            return
        hot.refilling = True
        take = self._take_places if hot.what == _CONCURRENCY else self._take_slice
        refill = asyncio.get_running_loop().create_task(self._refill(hot, take(hot, wanted - max(0, has), now_ns)))
        self._refills.add(refill)
        refill.add_done_callback(self._refills.discard)
        hot.rest_until_ns = now_ns  # until `_refill` says otherwise

    async def _refill(self, hot: _Hot, take: Coroutine[None, None, bool]) -> None:
        rest = True
        try:
            rest = not await take
        except StoreUnavailable:
            pass  # what may have been taken is given back by the limiter
        except ResponseError as error:
            _log.error("shared_limits_wrong", error=str(error))
        finally:
            hot.refilling = False
            if rest:
                hot.rest_until_ns += _USE_NS // 2

    async def _take_slice(self, hot: _Hot, amount: int, now_ns: int) -> bool:
        charge: Charge = tuple([amount if index == hot.what else 0 for index in range(len(MEASURES))])  # type: ignore[assignment]
        outcome = await self._limiter.acquire((hot.bucket,), charge, now_ns)
        if isinstance(outcome, Refusal):
            return False
        self._told(outcome.told, now_ns)
        self._begin(outcome)
        self._open += 1
        hot.slices.append(_Slice(outcome, amount, now_ns + _USE_NS))
        self._leasing[hot] = None
        return True

    async def _take_places(self, hot: _Hot, count: int, now_ns: int) -> bool:
        outcomes = await asyncio.gather(
            *(self._limiter.acquire((hot.bucket,), _ONE_PLACE, now_ns) for _ in range(count)), return_exceptions=True
        )
        taken = [outcome for outcome in outcomes if isinstance(outcome, RedisGrant)]
        for place in taken:
            self._begin(place)
            hot.idle.append((place, now_ns))
        self._open += len(taken)
        if taken:
            self._leasing[hot] = None
        return len(taken) == count

    def _put_back(self, hot: _Hot, place: RedisGrant, now_ns: int) -> None:
        """Lend a place to the next exchange, or give it back when enough wait."""
        hot.lent -= 1
        if place.ended:
            self._end(place)
        elif (
            hot.forgotten
            or hot.bucket.amount < place.asked[0].amount
            or len(hot.idle) >= hot.wanted()
            or self._open >= _MOST_SLICES
        ):
            self._end_place(place)
        else:
            hot.idle.append((place, now_ns))
            self._open += 1
            self._leasing[hot] = None

    def _end_place(self, place: RedisGrant) -> None:
        place.ended = True
        self._end(place)
        self._put_end((place, NOTHING))

    def _close_old(self, hot: _Hot, now_ns: int, *, everything: bool) -> None:
        for one in [one for one in hot.slices if everything or now_ns >= one.until_ns]:
            hot.slices.remove(one)
            one.closed = True
            self._untold[one] = None
        before_ns = now_ns - _USE_NS
        old = [place for place, since_ns in hot.idle if everything or since_ns <= before_ns]
        if old:
            hot.idle = [] if everything else [one for one in hot.idle if one[1] > before_ns]
            self._open -= len(old)
            for place in old:
                self._end_place(place)
        if not hot.slices and not hot.idle:
            self._leasing.pop(hot, None)

    async def _tell(self, one: _Slice) -> None:
        one.version += 1
        last = not one.running
        try:
            await self._limiter.correct(one.grant, one.used, one.version, last=last)
        except StoreUnavailable:
            self._untold[one] = None
        except ResponseError as error:
            _log.error("shared_limits_wrong", error=str(error))
        else:
            if last:
                one.grant.ended = True
                self._end(one.grant)
                self._open -= 1
