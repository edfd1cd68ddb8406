"""Usage questions in SQL.

Whole hours come from `usage_hours`; the parts of an hour at the ends of the asked time from `exchanges`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)

from podium.control.ports import UsageQuery, UsageRow
from podium.core.errors import InvalidRequest
from podium.store.sql.rows import HOUR_S, SUMS
from podium.store.sql.tables import exchanges, usage_hours

__all__ = ["usage_rows", "usage_statement"]

_COLUMNS = {"tenant": "tenant", "key": "key_id", "model": "model", "provider": "provider", "day": "day"}
_DAY_S = 86_400
_NS = 1_000_000_000
_HOUR_NS = HOUR_S * _NS
_ERROR_STATUS = 400


def usage_statement(query: UsageQuery) -> Select[Any]:
    """One statement that answers `query`; its columns are those of `_COLUMNS` that it groups by, and the sums."""
    if unknown := set(query.by) - set(_COLUMNS):
        raise InvalidRequest(f"`by` does not know `{min(unknown)}`; it takes {', '.join(_COLUMNS)}.", parameter="by")
    parts = union_all(*_parts(query)).subquery()
    groups = [parts.c[_COLUMNS[name]] for name in dict.fromkeys(query.by)]
    sums = [func.coalesce(func.sum(parts.c[name]), 0).label(name) for name in SUMS]
    return select(*groups, *sums).group_by(*groups)


def _parts(query: UsageQuery) -> list[Select[Any]]:
    since = None if query.since_unix_s is None else _nanoseconds(query.since_unix_s)
    until = None if query.until_unix_s is None else _nanoseconds(query.until_unix_s)
    first = None if since is None else -(-since // _HOUR_NS)  # the first whole hour
    last = None if until is None else until // _HOUR_NS  # the hour after the last whole one
    if first is not None and last is not None and first >= last:
        return [_from_exchanges(query, _between(since, until))]
    hours = usage_hours.c.hour_unix_s
    whole = and_(
        literal(True) if first is None else hours >= first * HOUR_S,
        literal(True) if last is None else hours < last * HOUR_S,
    )
    parts = [_from_hours(query, whole)]
    edges = []
    if since is not None and first is not None and since < first * _HOUR_NS:
        edges.append(_between(since, first * _HOUR_NS))
    if until is not None and last is not None and last * _HOUR_NS < until:
        edges.append(_between(last * _HOUR_NS, until))
    if edges:
        parts.append(_from_exchanges(query, or_(*edges)))
    return parts


def _nanoseconds(unix_s: float) -> int:
    """Whole seconds exactly, which a product of floats would not give."""
    whole = int(unix_s // 1)
    return whole * _NS + round((unix_s - whole) * _NS)


def _between(since: int | None, until: int | None) -> ColumnElement[bool]:
    started = exchanges.c.started_unix_ns
    return and_(started >= since, started < until)


def _filters(query: UsageQuery, table: Table) -> list[ColumnElement[bool]]:
    asked = {"tenant": query.tenant, "key_id": query.key_id, "model": query.model}
    return [table.c[name] == value for name, value in asked.items() if value is not None]


def _from_hours(query: UsageQuery, time: ColumnElement[bool]) -> Select[Any]:
    hours = usage_hours.c
    day = (hours.hour_unix_s - hours.hour_unix_s % _DAY_S).label("day")
    return select(day, *(usage_hours.c[name] for name in _names())).where(time, *_filters(query, usage_hours))


def _from_exchanges(query: UsageQuery, time: ColumnElement[bool]) -> Select[Any]:
    of = exchanges.c
    made = {
        "exchanges": literal(1),
        "errors": case((of.status >= _ERROR_STATUS, 1), else_=0),
        "estimated_exchanges": case((of.tokens_estimated, 1), else_=0),
    }
    started_s = of.started_unix_ns // _NS
    day = (started_s - started_s % _DAY_S).label("day")
    columns = (
        cast(made.get(name, of.get(name)), BigInteger).label(name) if name in SUMS else of[name] for name in _names()
    )
    return select(day, *columns).where(time, *_filters(query, exchanges))


def _names() -> tuple[str, ...]:
    return (*(column for column in _COLUMNS.values() if column != "day"), *SUMS)


def usage_rows(query: UsageQuery, found: Sequence[RowMapping]) -> tuple[UsageRow, ...]:
    """The answer in the control plane's words, largest cost first."""
    rows = [
        UsageRow(
            group={name: _group_value(name, row[_COLUMNS[name]]) for name in query.by},
            **{name: int(row[name]) for name in SUMS},
        )
        for row in found
    ]
    return tuple(sorted(rows, key=lambda row: (-row.cost_nanousd, tuple(row.group.values()))))


def _group_value(name: str, value: Any) -> str:
    return datetime.fromtimestamp(int(value), UTC).date().isoformat() if name == "day" else str(value)
