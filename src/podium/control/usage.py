"""Sums over the ledger."""

from collections.abc import Sequence

import msgspec

from podium.control.ports import Ledger, UsageQuery, UsageRow
from podium.core.errors import InvalidRequest
from podium.core.event import AttemptRecord
from podium.core.tags import encode_tags

__all__ = ["GROUPS", "TAG", "Usage", "UsageReport", "calls_elsewhere"]

GROUPS = ("tenant", "key", "model", "provider", "day")
TAG = "tag:"  # and a tag's name: by its values, "" for exchanges without it


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, largest cost first, and all of them together."""

    rows: tuple[UsageRow, ...]
    total: UsageRow


class Usage:
    """The use case."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def report(self, query: UsageQuery) -> UsageReport:
        """What was used; InvalidRequest for groups that do not exist and times that hold nothing."""
        if not all(map(_is_group, query.by)) or len(set(query.by)) != len(query.by):
            raise InvalidRequest(f"`by` takes each of {', '.join(GROUPS)} and {TAG}NAME at most once", parameter="by")
        if query.since_unix_s is not None and query.until_unix_s is not None:  # noqa: SIM102 - two thoughts
            if query.since_unix_s >= query.until_unix_s:
                raise InvalidRequest("`since` must lie before `until`", parameter="since_unix_s")
        for name, value in (("tenant", query.tenant), ("key", query.key_id), ("model", query.model)):
            if "\0" in (value or ""):
                raise InvalidRequest(f"`{name}` holds a NUL", parameter=name)
        rows = await self._ledger.usage(query)
        return UsageReport(rows=rows, total=_sum(rows))


def _is_group(name: str) -> bool:
    if not name.startswith(TAG):
        return name in GROUPS
    try:
        return bool(encode_tags({name.removeprefix(TAG): "value"}))
    except ValueError:
        return False


def _sum(rows: tuple[UsageRow, ...]) -> UsageRow:
    return UsageRow(
        group={},
        exchanges=sum(row.exchanges for row in rows),
        errors=sum(row.errors for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        cached_input_tokens=sum(row.cached_input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens for row in rows),
        estimated_exchanges=sum(row.estimated_exchanges for row in rows),
        cost_nanousd=sum(row.cost_nanousd for row in rows),
        cache_write_tokens=sum(row.cache_write_tokens for row in rows),
    )


def calls_elsewhere(provider: str, trail: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Calls that used something at another provider than the exchange's own.

    Their tokens and cost are part of the exchange's; by provider they belong to theirs.
    """
    return [
        call
        for call in trail
        if call.provider not in ("", provider) and (call.input_tokens or call.output_tokens or call.cost_nanousd)
    ]
