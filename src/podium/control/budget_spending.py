"""What the ledger says about budgets, and how far it can be trusted: podium.economics.budgets.spending.SpendLedger."""

import asyncio

from podium.control.loader import Loader
from podium.control.ports import Ledger
from podium.core.clock import Clock
from podium.economics.budgets.spending import SpendQuery, Spent

__all__ = ["LedgerSpending"]

_FLUSH_S = 2.0  # from a settle to the moment when the exchange's record can be read from the journal, at most
_PATIENCE_S = 30.0
_LOOK_S = 0.25
_OTHERS_S = 86_400.0


class LedgerSpending:
    """The ledger, as complete as this process's loader has made it."""

    def __init__(self, ledger: Ledger, loader: Loader, clock: Clock, *, patience_s: float = _PATIENCE_S) -> None:
        self._ledger = ledger
        self._loader = loader
        self._clock = clock
        self._patience_s = patience_s

    async def caught_up(self) -> bool:
        """Wait until each exchange of this machine that has ended by now is in the ledger; False: it takes too long."""
        wanted_ns = self._clock.unix_ns() + int(_FLUSH_S * 1e9)
        try:
            async with asyncio.timeout(_FLUSH_S + self._patience_s):
                while self._loader.status.complete_unix_ns < wanted_ns:  # noqa: ASYNC110 - its rounds tell nobody
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return False
        return True

    async def all_here(self) -> bool:
        """Whether the journals of no other machine were loaded for a day."""
        recent = await self._ledger.sources(self._clock.unix_ns() / 1e9 - _OTHERS_S)
        return {_gateway(source) for source in recent} <= {_gateway(source) for source in self._loader.sources}

    async def spent(self, query: SpendQuery) -> tuple[Spent, ...]:
        """Sums of each group that has any."""
        return await self._ledger.spent(query)


def _gateway(source: str) -> str:
    return source.partition("/")[0]
