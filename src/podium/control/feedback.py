"""Which exchanges there are: gateways ask, when feedback names one that they do not know."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from podium.control.loader import LoaderStatus
from podium.core.clock import Clock
from podium.core.event import AnswerFlag, Event

__all__ = ["KnownExchanges"]

_LOOKS = 4  # journals of gateways elsewhere may be a second or two behind
_BETWEEN_S = 0.5
_MOST_LAG_S = 2.0
_SAME_ID = 20


class _Ledger(Protocol):
    async def find(self, request_id: str, *, tenant: str | None, before: bytes | None, limit: int) -> tuple[Event, ...]:
        """Exchanges with this request id."""


class KnownExchanges:
    """The use case. `loader`: how far the ledger is behind."""

    def __init__(self, ledger: _Ledger, clock: Clock, loader: Callable[[], LoaderStatus]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._loader = loader

    async def known(self, tenant: str, request_id: str) -> bool | None:
        """Whether a tenant has an exchange of this id that somebody saw; None: the ledger is behind, and has none yet.

        What ended just now may still be in a journal, so that a no takes a moment. Unavailable: the database is away.
        """
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_BETWEEN_S)
            found = await self._ledger.find(request_id, tenant=tenant, before=None, limit=_SAME_ID)
            if any(not event.answer_flags & AnswerFlag.MIRRORED for event in found):
                return True
        status = self._loader()
        return None if status.error or status.lag_s > _MOST_LAG_S else False
