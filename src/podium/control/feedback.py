"""What users said of answers, for operators; and which exchanges there are, for gateways that get feedback."""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from podium.control.feedback_keeping import FeedbackEraser, WordsShelf
from podium.control.loader import LoaderStatus
from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag, Event

__all__ = [
    "MAX_FEEDBACK",
    "FeedbackList",
    "FeedbackPage",
    "FeedbackQuery",
    "FeedbackShelf",
    "FeedbackView",
    "KnownExchanges",
]

MAX_FEEDBACK = 500
_PLACE = re.compile(r"(\d{1,12}\.\d{1,9})-([0-9a-f]{32})-([a-z_]{1,16})\Z")
_LOOKS = 4  # journals of gateways elsewhere may be a second or two behind
_BETWEEN_S = 0.5
_MOST_LAG_S = 2.0
_SAME_ID = 20


class FeedbackView(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of what a user said of one exchange. Comment and user are personal data."""

    id: Annotated[str, Meta(description="`before` takes it.")]
    given_unix_s: float
    kind: Annotated[str, Meta(description="`thumbs`, `score`, `task_done` or `comment`.")]
    value: Annotated[float | None, Meta(description="0 to 1; thumbs up and a task done are 1; null: a comment.")]
    comment: str
    user: Annotated[str, Meta(description="As who gave it says.")]
    tenant: str
    key_id: Annotated[str, Meta(description="Of the key that gave it.")]
    request_id: str
    model: str
    version: str
    rollout: Annotated[str, Meta(description="That chose the version; empty: none did. Likewise `arm`.")]
    arm: str


class FeedbackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which. None: any."""

    tenant: str | None = None
    rollout: str | None = None
    kind: str | None = None
    before: tuple[float, bytes, str] | None = None  # when it was given, of which exchange, its kind
    limit: int = 50


class FeedbackPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    feedback: tuple[FeedbackView, ...]
    next_before: Annotated[str | None, Meta(description="`before` of the next page; null: this was the last.")]


class FeedbackShelf(WordsShelf, Protocol):
    """Where feedback is kept."""

    async def feedback(self, query: FeedbackQuery) -> tuple[FeedbackView, ...]:
        """Newest first. Unavailable."""


class FeedbackList:
    """The use case; `eraser` is the other one. `shelf` None: there is nothing."""

    def __init__(self, shelf: FeedbackShelf | None) -> None:
        self.eraser = FeedbackEraser(shelf)
        self._shelf = shelf

    async def page(
        self,
        *,
        tenant: str | None = None,
        rollout: str | None = None,
        kind: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> FeedbackPage:
        """What was said, newest first. InvalidRequest: `before` is no id."""
        for name, value in (("tenant", tenant), ("rollout", rollout), ("kind", kind)):
            if "\0" in (value or ""):
                raise InvalidRequest(f"`{name}` holds a NUL", parameter=name)
        query = FeedbackQuery(tenant=tenant, rollout=rollout, kind=kind, before=_place(before), limit=limit + 1)
        found = () if self._shelf is None else await self._shelf.feedback(query)
        return FeedbackPage(feedback=found[:limit], next_before=found[limit - 1].id if len(found) > limit else None)


def _place(before: str | None) -> tuple[float, bytes, str] | None:
    if before is None:
        return None
    parts = _PLACE.match(before)
    if parts is None:
        raise InvalidRequest("`before` is the id of a feedback", parameter="before")
    return float(parts[1]), bytes.fromhex(parts[2]), parts[3]


class _Ledger(Protocol):
    async def find(self, request_id: str, *, tenant: str | None, before: bytes | None, limit: int) -> tuple[Event, ...]:
        """Exchanges with this request id."""


class KnownExchanges:
    """The use case. `loader`: how far the ledger is behind."""

    def __init__(self, ledger: _Ledger, loader: Callable[[], LoaderStatus]) -> None:
        self._ledger = ledger
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
