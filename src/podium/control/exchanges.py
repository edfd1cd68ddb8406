"""Single exchanges of the ledger, found by their request id."""

import re

import msgspec

from podium.control.ports import Ledger
from podium.core.errors import InvalidRequest, NotFound
from podium.core.event import Event

__all__ = ["MAX_EXCHANGES", "ExchangePage", "Exchanges"]

MAX_EXCHANGES = 100
_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}\Z")


class ExchangePage(msgspec.Struct, frozen=True, kw_only=True):
    """Exchanges with one request id, newest first."""

    events: tuple[Event, ...]
    next_before: bytes | None  # `before` of the next page; None: this was the last


class Exchanges:
    """The use case."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def find(
        self, request_id: str, *, tenant: str | None = None, before: bytes | None = None, limit: int = 20
    ) -> ExchangePage:
        """Those with this request id: one, unless callers have used an id of their own several times.

        NotFound when there is none (of this tenant); InvalidRequest for what cannot be an id.
        """
        if not _REQUEST_ID.match(request_id):
            raise InvalidRequest("a request id is 1 to 128 printable ASCII characters", parameter="request_id")
        if "\0" in (tenant or ""):
            raise InvalidRequest("`tenant` holds a NUL", parameter="tenant")
        if not 1 <= limit <= MAX_EXCHANGES:
            raise InvalidRequest(f"`limit` is 1 to {MAX_EXCHANGES}", parameter="limit")
        found = await self._ledger.find(request_id, tenant=tenant, before=before, limit=limit + 1)
        if not found and before is None:
            raise NotFound(
                f"there is no exchange with the request id `{request_id}`",
                hint="the ledger has an exchange a few seconds after its end, and none of callers without a valid key",
            )
        events = found[:limit]
        return ExchangePage(events=events, next_before=events[-1].id if len(found) > limit else None)
