"""Events as rows of the ledger, and their sums."""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from podium.control.usage import calls_elsewhere
from podium.core.event import AttemptRecord, Event
from podium.store.sql.tables import exchanges, usage_hours

__all__ = ["HOUR_S", "SUMS", "USAGE_KEYS", "Row", "event_of", "hourly_sums", "row_of"]

Row = tuple[Any, ...]

HOUR_S = 3600
_HOUR_NS = HOUR_S * 1_000_000_000
# Far above what one exchange can be (a million dollars), far below where sums of many would overflow.
_MOST = 10**15
_LATEST_NS = 2**62

USAGE_KEYS = ("tenant", "key_id", "model", "provider")
_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
SUMS = ("exchanges", "errors", *_TOKENS, "estimated_exchanges", "cost_nanousd", "cache_write_tokens")

_FIELDS = msgspec.structs.fields(Event)
_INDEX = {field.name: index for index, field in enumerate(_FIELDS)}
assert tuple(_INDEX) == tuple(exchanges.columns.keys()), "tables.exchanges must follow the order of Event"
assert tuple(usage_hours.columns.keys()) == ("hour_unix_s", *USAGE_KEYS, *SUMS)

_encode = msgspec.json.Encoder().encode
_decode_trail = msgspec.json.Decoder(tuple[AttemptRecord, ...]).decode
_STARTED = _INDEX["started_unix_ns"]
_STATUS = _INDEX["status"]
_TRAIL = _INDEX["trail"]
_ESTIMATED = _INDEX["tokens_estimated"]
_texts = itemgetter(*(_INDEX[field.name] for field in _FIELDS if field.type is str))
_numbers = itemgetter(*(index for index, field in enumerate(_FIELDS) if field.type is int and index != _STARTED))
_keys = itemgetter(*map(_INDEX.__getitem__, USAGE_KEYS))
_provider = itemgetter(_INDEX["provider"])
_amounts = itemgetter(*map(_INDEX.__getitem__, (*_TOKENS, "cost_nanousd", "cache_write_tokens")))


def row_of(event: Event) -> Row:
    """The event's fields in the table's order, made to fit: one odd event must not stop all others."""
    fields = msgspec.structs.astuple(event)
    trail = _encode([_fitting(call) for call in event.trail]).decode() if event.trail else ""
    row = (*fields[:_TRAIL], trail, *fields[_TRAIL + 1 :])
    numbers = _numbers(row)
    fits = (
        max(numbers) <= _MOST
        and min(numbers) >= -_MOST
        and 0 <= row[_STARTED] <= _LATEST_NS
        and "\0" not in "".join(_texts(row))
    )
    return row if fits else tuple(_made_to_fit(index, value) for index, value in enumerate(row))


def event_of(row: RowMapping) -> Event:
    """The event of a row of `exchanges`."""
    fields = {str(name): value for name, value in row.items()}
    return Event(**fields | {"trail": _decode_trail(row["trail"]) if row["trail"] else ()})


def _fitting(call: AttemptRecord) -> AttemptRecord:
    """The same record with texts and numbers that every database's JSON functions take."""
    return AttemptRecord(**{name: _made_to_fit(-1, value) for name, value in msgspec.structs.asdict(call).items()})


def _made_to_fit(index: int, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")  # PostgreSQL's text cannot hold it
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if index == _STARTED:
        return max(0, min(value, _LATEST_NS))
    return max(-_MOST, min(value, _MOST))


def hourly_sums(rows: Iterable[Row]) -> list[Row]:
    """Rows for `usage_hours`, ordered by key, so that two loaders lock them in the same order."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (row[_STARTED] // _HOUR_NS * HOUR_S, *_keys(row))
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0] * len(SUMS)
        amounts = _amounts(row)
        input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost_nanousd, cache_write_tokens = amounts
        total[0] += 1
        total[1] += row[_STATUS] >= 400  # noqa: PLR2004 - HTTP's first error status
        total[2] += input_tokens
        total[3] += cached_input_tokens
        total[4] += output_tokens
        total[5] += reasoning_tokens
        total[6] += row[_ESTIMATED]
        total[7] += cost_nanousd
        total[8] += cache_write_tokens
        if row[_TRAIL]:
            for call in calls_elsewhere(_provider(row), _decode_trail(row[_TRAIL])):
                _move(call, total, sums.setdefault((*key[:-1], call.provider), [0] * len(SUMS)))
    return [(*key, *total) for key, total in sorted(sums.items())]


def _move(call: AttemptRecord, of: list[int], to: list[int]) -> None:
    """Take what a call used from one provider's sums to another's."""
    for index, amount in ((2, call.input_tokens), (4, call.output_tokens), (7, call.cost_nanousd)):
        of[index] -= amount
        to[index] += amount
