"""Which gateways live: how many shares a limit has while the shared store is away.

Each gateway says every third of `ttl_s` that it lives, by the server's clock; one that is silent for `ttl_s` counts no
more, one that ends says so. While the store is away the last known number stays. A smaller number counts when it was
told for a whole `ttl_s`: a store that lost its data, however often in that time, knows nobody until all have said again
that they live.
"""

import asyncio
import contextlib
from collections import deque
from secrets import token_hex
from typing import Self

from redis.exceptions import ResponseError

from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.scripts import Scripts, script

__all__ = ["Members"]

_BEATS = 3  # in `ttl_s`


class Members:
    """One gateway among the others while it is open, as an async context manager.

    `expected`: how many gateways there are taken to be as long as the store has never said it.
    """

    def __init__(
        self, client: RedisClient, scripts: Scripts, gateway: str, *, ttl_s: float = 6.0, expected: int = 1
    ) -> None:
        self._client, self._scripts = client, scripts
        self._key = f"{client.settings.prefix}:members1"
        self._name = f"{gateway}/{token_hex(6)}"  # two processes may have been given the same name
        self._ttl_s = ttl_s
        self._task: asyncio.Task[None] | None = None
        self._told: deque[int] = deque(maxlen=_BEATS + 1)
        self.count = expected

    async def __aenter__(self) -> Self:
        with contextlib.suppress(StoreUnavailable, ResponseError):
            await self.beat()
        self._task = asyncio.get_running_loop().create_task(self._keep_beating(), name="redis-members")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable, ResponseError):
            await self._client.send("ZREM", self._key, self._name)

    async def beat(self) -> None:
        """Say that this one lives, and hear how many do; StoreUnavailable."""
        ttl_ms = int(self._ttl_s * 1000)
        told = int(await self._scripts.run(script("members_beat"), (self._key,), self._name, ttl_ms))
        self._told.append(told)
        self.count = max(self._told)

    async def names(self) -> tuple[str, ...]:
        """Who lives, or was silent for less than `ttl_s`; StoreUnavailable."""
        return tuple(name.decode() for name in await self._client.send("ZRANGE", self._key, 0, -1))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / _BEATS)
            with contextlib.suppress(StoreUnavailable, ResponseError):
                await self.beat()
