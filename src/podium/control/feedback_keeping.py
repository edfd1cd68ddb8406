"""How long what users said in words is kept: erased after so many days, and whenever somebody asks for it.

Words are comments and the names of who gave feedback. Marks (thumbs, scores, tasks done) stay: they say nothing about a
person without the name, and a mark that came a second time must still be known as a repeated one.
"""

import asyncio
from typing import Annotated, Protocol

import msgspec
import structlog
from msgspec import Meta

from podium.control.waiting import wait_for
from podium.core.clock import Clock
from podium.core.errors import InvalidRequest, PodiumError

__all__ = ["BATCH", "Erased", "Erasure", "FeedbackEraser", "FeedbackUpkeep", "WordsShelf"]

_log = structlog.get_logger("podium.control.feedback")

BATCH = 500  # of a transaction
_PERIOD_S = 3600.0
_AFTER_ERROR_S = 60.0
_BETWEEN_S = 0.05  # batches, so that the ledger is never held up
_DAY_S = 86_400.0


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Whose words. Of `request_id` and `user` one is given."""

    tenant: str
    request_id: str | None = None
    user: str | None = None  # who gave the feedback, or had the exchange


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased."""

    erased: Annotated[int, Meta(description="Comments, and marks that lost a name.")]


class WordsShelf(Protocol):
    """Where feedback is kept."""

    async def forget_before(self, unix_s: float, *, limit: int) -> int:
        """Erase words that were said before then, at most about so many; how many. 0: none are left. Unavailable."""

    async def forget(self, whose: Erasure, *, limit: int) -> int:
        """Erase these words, at most about so many; how many. 0: none are left. Unavailable."""


class FeedbackEraser:
    """The use case. `shelf` None: there is nothing."""

    def __init__(self, shelf: WordsShelf | None) -> None:
        self._shelf = shelf

    async def erase(self, whose: Erasure, *, author: str) -> Erased:
        """Erase what was said in words. InvalidRequest: it is not clear whose. Unavailable."""
        if (whose.request_id is None) == (whose.user is None):
            raise InvalidRequest("say either of which `request_id` or of which `user`", parameter="request_id")
        for name in ("tenant", "request_id", "user"):
            text = getattr(whose, name)
            if text is not None and (not text or "\0" in text):
                raise InvalidRequest(f"`{name}` is empty, or holds a NUL", parameter=name)
        erased = 0
        while self._shelf is not None and (count := await self._shelf.forget(whose, limit=BATCH)):
            erased += count
            await asyncio.sleep(_BETWEEN_S)
        by = "request" if whose.user is None else "user"
        _log.info("feedback was erased", tenant=whose.tenant, by=by, erased=erased, author=author)
        return Erased(erased=erased)


class FeedbackUpkeep:
    """The loop. `days` 0: words are kept until somebody erases them. Two at once do no harm."""

    def __init__(self, shelf: WordsShelf | None, clock: Clock, *, days: float) -> None:
        self._shelf = shelf
        self._clock = clock
        self._days = days
        self._error = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Erase what is old every hour until `stop` is set."""
        while not stop.is_set():
            wait_s = _PERIOD_S
            try:
                await self.once(stop)
                self._error = ""
            except PodiumError as error:
                if error.message != self._error:
                    _log.warning("old feedback cannot be erased", error=error.message)
                self._error, wait_s = error.message, _AFTER_ERROR_S
            await wait_for(stop, wait_s)

    async def once(self, stop: asyncio.Event) -> int:
        """Erase all that is old, in batches; how much that was. Unavailable."""
        if self._shelf is None or not self._days:
            return 0
        before_s = self._clock.unix_ns() / 1e9 - self._days * _DAY_S
        erased = 0
        while count := await self._shelf.forget_before(before_s, limit=BATCH):
            erased += count
            if await wait_for(stop, _BETWEEN_S):
                break
        if erased:
            _log.info("old feedback was erased", erased=erased, days=self._days)
        return erased
