"""Leases of what runs longer than a lease: one task says again and again that it still runs."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Generic, Self, TypeVar

from redis.exceptions import ResponseError

from podium.store.redis.errors import StoreUnavailable

__all__ = ["Renewals"]

_AT_ONCE = 128
_PARTS = 3  # of a lease: when one is that much old, it is renewed, so two tries may fail
_LOOKS = 12  # in a lease

Running = TypeVar("Running", bound=Hashable)


class Renewals(Generic[Running]):
    """What runs, oldest lease first. Open as an async context manager. `renew` may fail with StoreUnavailable."""

    def __init__(self, lease_s: float, renew: Callable[[Sequence[Running]], Awaitable[object]]) -> None:
        self._lease_s, self._renew = lease_s, renew
        self._since_s: dict[Running, float] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._since_s)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._keep_renewing(), name="redis-renewals")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def begin(self, running: Running) -> None:
        """Its lease has just begun."""
        self._since_s[running] = self._loop.time()

    def end(self, running: Running) -> None:
        """It needs no lease any more."""
        self._since_s.pop(running, None)

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _LOOKS)
            try:
                while old := self._old():
                    await self._renew(old)
                    for one in old:
                        if self._since_s.pop(one, None) is not None:  # it may have ended meanwhile
                            self.begin(one)
            except (StoreUnavailable, ResponseError):
                pass  # the next look tries again

    def _old(self) -> list[Running]:
        before_s = self._loop.time() - self._lease_s / _PARTS
        return [one for one, since_s in islice(self._since_s.items(), _AT_ONCE) if since_s < before_s]
