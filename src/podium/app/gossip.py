"""Carries breaker gossip to and from the shared store. Loads only where Redis is set."""

import asyncio
from collections.abc import Callable, Mapping
from secrets import token_hex

import structlog
from redis.exceptions import ResponseError

from podium.core.clock import Clock
from podium.gateway.fleet import BreakerOf, Fleet
from podium.gateway.gossip import Gossip
from podium.gateway.pool import Pool
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.notices import Notice, Notices
from podium.traffic.breaker import BreakerCause

__all__ = ["BREAKERS", "GossipCarrier"]

log = structlog.get_logger(__name__)

BREAKERS = "breakers"
_PAUSE_S = 0.2  # between two times of telling: breakers that open and close quickly tire nobody


class GossipCarrier:
    """Tells what the fleet's breakers do while `run` runs; `take` is for a listener to `BREAKERS`."""

    def __init__(
        self, gateway: str, pools: Callable[[], Mapping[str, Pool]], fleet: Fleet, notices: Notices, clock: Clock
    ) -> None:
        self.gossip = Gossip(f"{gateway}/{token_hex(6)}", fleet)  # two processes may have been given the same name
        self._pools = pools
        self._notices = notices
        self._clock = clock
        self._news = asyncio.Event()
        fleet.opened = self._opened

    def _opened(self, kind: BreakerOf, key: str, why: BreakerCause) -> None:
        self.gossip.opened(kind, key, why)
        self._news.set()

    async def run(self) -> None:
        """Tell what happens here, forever."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._tell()
            await asyncio.sleep(_PAUSE_S)

    async def _tell(self) -> None:
        try:
            for word in self.gossip.news():
                await self._notices.give(BREAKERS, word)
        except (StoreUnavailable, ResponseError) as error:  # rule 4 of podium.gateway.gossip
            log.info("gossip_not_told", error=str(error))

    def take(self, notice: Notice) -> None:
        """Take note of what another gateway told; nothing when only that it did is known."""
        if notice.payload is None:
            return
        word = self.gossip.hear(notice.payload, self._pools().values(), self._clock.monotonic_ns())
        if word is not None:
            log.warning("breaker_opened_elsewhere", gateway=word.gateway, what=f"{word.kind} {word.key}", why=word.why)
