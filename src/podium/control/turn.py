"""How those who change the declared state at the same moment do not get into each other's way for long.

What keeps the state right is that a revision is committed only on top of the one that it was planned on. Who comes late
plans anew: in this process when it has the turn, and where other processes are in the way after a wait.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

__all__ = ["Tries", "Turn"]

_PATIENCE_S = 1.0
_MOST_TRIES = 10
_FIRST_WAIT_S = 0.005  # doubled each time: 1.3 s in all


class Turn:
    """Whose turn it is in this process to change resources; first come, first served."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Has it until the block ends; goes on without it after a second, as who has it may wait for a database."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._lock.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._lock.release()


class Tries:
    """The tries of one change: `async with Tries(turn) as tries:`, then `while await tries.another():`.

    The first is made at once, as hardly ever anybody is in the way; all others in the turn, which ends with the block.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._made = 0
        self._held = AsyncExitStack()

    async def another(self) -> bool:
        """Whether there is one more; waits for its moment."""
        number, self._made = self._made, self._made + 1
        if number == _MOST_TRIES:
            return False
        if number == 1:
            await self._held.enter_async_context(self._turn.taken())
        elif number > 1:
            await asyncio.sleep(_FIRST_WAIT_S * 2 ** (number - 2))
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._held.aclose()
