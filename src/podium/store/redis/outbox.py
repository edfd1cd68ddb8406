"""What has to be told to the shared store, and nobody waits for.

Rules
1. What is put in goes out with the next round trip, before what is asked for in it: the client calls `flush`. When none
   is made within two milliseconds, one is wanted: to send it behind what waits already would be late.
2. What could not be told is told again until it is, oldest first, by a task that the outbox owns. So telling a thing
   twice must do nothing more.
3. It is bounded: what is older than `give_up_s`, and the oldest of more than `most`, is given up and counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, Self, TypeVar

import structlog
from redis.exceptions import ResponseError

from podium.store.redis.errors import StoreUnavailable

__all__ = ["AT_ONCE", "Outbox"]

_log = structlog.get_logger(__name__)

AT_ONCE = 32
_LINGER_S = 0.002
_PAUSE_S = 0.05  # between two tries; while the store is known to be down, one costs nothing

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Open as an async context manager; at the end it waits up to `close_s` until all is told.

    `send` sends `batch` of them now and returns the answer to come, which `told` hears. `tell` takes its time for what
    that did not do, AT_ONCE at most, and returns those that have to be told again. Both may fail with StoreUnavailable.
    `want` has a round trip made, which calls `flush`; False: the store is away.
    `lost` hears what was given up.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], "asyncio.Future[Any]"],
        tell: Callable[[Sequence[Item]], Awaitable[Sequence[Item]]],
        *,
        want: Callable[[], bool],
        batch: int,
        give_up_s: float,
        most: int = 100_000,
        close_s: float = 1.0,
        told: Callable[[Sequence[Item], Any], None] = lambda *_: None,
        lost: Callable[[Sequence[Item]], None] = lambda _: None,
    ) -> None:
        self._send, self._tell, self._told, self._lost, self._want = send, tell, told, lost, want
        self._batch, self._most, self._give_up_s, self._close_s = batch, most, give_up_s, close_s
        self._new: deque[Item] = deque()
        self._late: deque[tuple[float, Item]] = deque()  # since when, and what
        self._under_way = 0
        self._scheduled = False
        self._task: asyncio.Task[None] | None = None
        self.given_up = 0

    def __len__(self) -> int:
        """How much is not told yet."""
        return len(self._new) + len(self._late) + self._under_way

    @property
    def late(self) -> int:
        """How much could not be told at once, and is not told yet."""
        return len(self._late)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._task = self._loop.create_task(self._tell_late(), name="redis-outbox")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._close_s):
                while len(self):  # noqa: ASYNC110 - answers to come have no event of their own
                    await asyncio.sleep(_PAUSE_S / 10)
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if rest := [item for _, item in self._late]:
            self._late.clear()
            self._give_up(rest, "closed")

    def put(self, item: Item) -> None:
        """Have it told."""
        self._new.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(_LINGER_S, self._see_to_it)

    def put_late(self, item: Item) -> None:
        """Have it told by `tell`."""
        self._keep([item])

    def flush(self) -> None:
        """Send what is new, now."""
        new = self._new
        while new:
            batch = [new.popleft() for _ in range(min(len(new), self._batch))]
            try:
                answer = self._send(batch)
            except StoreUnavailable:
                self._keep(batch)
                continue
            self._under_way += len(batch)
            answer.add_done_callback(partial(self._answered, batch))

    def _see_to_it(self) -> None:
        if self._new and self._want():
            self._loop.call_later(_LINGER_S, self._see_to_it)
            return
        self._scheduled = False
        self.flush()

    def _answered(self, batch: list[Item], answer: "asyncio.Future[Any]") -> None:
        self._under_way -= len(batch)
        if answer.cancelled() or answer.exception() is not None:
            self._keep(batch)
        else:
            self._told(batch, answer.result())

    def _keep(self, batch: list[Item]) -> None:
        now_s = self._loop.time()
        self._late.extend((now_s, item) for item in batch)
        if (over := len(self._late) - self._most) > 0:
            self._give_up([self._late.popleft()[1] for _ in range(over)], "too many")
        self._wake.set()

    async def _tell_late(self) -> None:
        while True:
            await self._wake.wait()
            self._forget_old()
            batch = [self._late.popleft() for _ in range(min(len(self._late), AT_ONCE))]
            if not batch:
                self._wake.clear()
            elif again := await self._try_again(batch):
                self._late.extendleft(reversed(again))
                await asyncio.sleep(_PAUSE_S)

    async def _try_again(self, batch: list[tuple[float, Item]]) -> list[tuple[float, Item]]:
        """What has to be told again."""
        items = [item for _, item in batch]
        self._under_way += len(items)
        try:
            again = {id(item) for item in await self._tell(items)}
        except StoreUnavailable:
            return batch
        except ResponseError as error:
            self._give_up(items, str(error))
            return []
        except asyncio.CancelledError:
            self._late.extendleft(reversed(batch))
            raise
        finally:
            self._under_way -= len(items)
        return [one for one in batch if id(one[1]) in again]

    def _forget_old(self) -> None:
        oldest_s = self._loop.time() - self._give_up_s
        old = []
        while self._late and self._late[0][0] < oldest_s:
            old.append(self._late.popleft()[1])
        if old:
            self._give_up(old, "too old")

    def _give_up(self, items: Sequence[Item], why: str) -> None:
        self.given_up += len(items)
        _log.warning("shared_store_not_told", count=len(items), why=why)
        self._lost(items)
