"""Usage questions in SQL.

Whole hours come from `usage_hours`; the parts of an hour at the ends of the asked time from `exchanges`. By provider,
what calls at other providers than the exchange's own used is taken from its row and put into theirs.

Tags are not in `usage_hours`: sums by them could be as many as the exchanges. By a tag everything comes from
`exchanges`, by start time; see podium.store.sql.spent for what that costs.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    Text,
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
from podium.control.usage import TAG
from podium.core.errors import InvalidRequest
from podium.core.event import AttemptRecord
from podium.store.sql.rows import HOUR_S, SUMS, USAGE_KEYS
from podium.store.sql.tables import exchanges, usage_hours

__all__ = ["usage_rows", "usage_statement"]

_COLUMNS = {"tenant": "tenant", "key": "key_id", "model": "model", "provider": "provider", "day": "day"}
_DAY_S = 86_400
_NS = 1_000_000_000
_HOUR_NS = HOUR_S * _NS
_ERROR_STATUS = 400
_CALL = {name: index for index, name in enumerate(AttemptRecord.__struct_fields__)}
_OF_CALLS = ("input_tokens", "output_tokens", "cost_nanousd")


def usage_statement(query: UsageQuery, *, sqlite: bool) -> Select[Any]:
    """One statement that answers `query`; its columns are those of `_columns`, and the sums."""
    columns = _columns(query)
    parts = union_all(*_parts(query, sqlite=sqlite)).subquery()
    groups = [parts.c[column] for column in columns.values()]
    sums = [func.coalesce(func.sum(parts.c[name]), 0).label(name) for name in SUMS]
    return select(*groups, *sums).group_by(*groups)


def _columns(query: UsageQuery) -> dict[str, str]:
    """By the name of each group the column that tells it."""
    columns = _COLUMNS | {name: f"tag_{number}" for number, name in enumerate(_tags(query))}
    if unknown := set(query.by) - set(columns):
        raise InvalidRequest(f"`by` does not know `{min(unknown)}`; it takes {', '.join(_COLUMNS)}.", parameter="by")
    return {name: columns[name] for name in query.by}


def _tags(query: UsageQuery) -> list[str]:
    return [name for name in dict.fromkeys(query.by) if name.startswith(TAG)]


def _parts(query: UsageQuery, *, sqlite: bool) -> list[Select[Any]]:
    since = None if query.since_unix_s is None else _nanoseconds(query.since_unix_s)
    until = None if query.until_unix_s is None else _nanoseconds(query.until_unix_s)
    if _tags(query):
        return _from_exchanges(query, _between(since, until), sqlite=sqlite)
    first = None if since is None else -(-since // _HOUR_NS)  # the first whole hour
    last = None if until is None else until // _HOUR_NS  # the hour after the last whole one
    if first is not None and last is not None and first >= last:
        return _from_exchanges(query, _between(since, until), sqlite=sqlite)
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
        parts += _from_exchanges(query, or_(*edges), sqlite=sqlite)
    return parts


def _nanoseconds(unix_s: float) -> int:
    """Whole seconds exactly, which a product of floats would not give."""
    whole = int(unix_s // 1)
    return whole * _NS + round((unix_s - whole) * _NS)


def _between(since: int | None, until: int | None) -> ColumnElement[bool]:
    started = exchanges.c.started_unix_ns
    return and_(
        literal(True) if since is None else started >= since, literal(True) if until is None else started < until
    )


def _filters(query: UsageQuery, table: Table) -> list[ColumnElement[bool]]:
    asked = {"tenant": query.tenant, "key_id": query.key_id, "model": query.model}
    return [table.c[name] == value for name, value in asked.items() if value is not None]


def _from_hours(query: UsageQuery, time: ColumnElement[bool]) -> Select[Any]:
    hours = usage_hours.c
    day = (hours.hour_unix_s - hours.hour_unix_s % _DAY_S).label("day")
    return select(day, *(usage_hours.c[name] for name in (*USAGE_KEYS, *SUMS))).where(
        time, *_filters(query, usage_hours)
    )


def _from_exchanges(query: UsageQuery, time: ColumnElement[bool], *, sqlite: bool) -> list[Select[Any]]:
    of = exchanges.c
    made = {
        "exchanges": literal(1),
        "errors": case((of.status >= _ERROR_STATUS, 1), else_=0),
        "estimated_exchanges": case((of.tokens_estimated, 1), else_=0),
    }
    where = (time, *_filters(query, exchanges))
    columns = _columns(query)
    tags = [_tag(name.removeprefix(TAG), sqlite=sqlite).label(columns[name]) for name in _tags(query)]
    parts = [_rows({name: made.get(name, of.get(name)) for name in SUMS}, of.provider, tags).where(*where)]
    if "provider" in query.by:
        call = _call(sqlite=sqlite)
        provider = call("provider")
        amounts = {name: cast(call(name), BigInteger) for name in _OF_CALLS}
        used = or_(*(amount != 0 for amount in amounts.values()))
        elsewhere = (*where, of.trail != "", provider != "", provider != of.provider, used)
        parts.append(_rows(amounts, provider, tags).where(*elsewhere))
        parts.append(_rows({name: -amount for name, amount in amounts.items()}, of.provider, tags).where(*elsewhere))
    return parts


def _tag(name: str, *, sqlite: bool) -> ColumnElement[str]:
    """An exchange's value of a tag; "" when it has none. Names and values hold neither `,` nor, names, `=`."""
    before, tags = f",{name}=", "," + exchanges.c.tags + ","
    if not sqlite:
        return func.split_part(func.split_part(tags, before, 2), ",", 1)
    place = func.instr(tags, before)
    rest = func.substr(tags, place + len(before))
    return case((place > 0, func.substr(rest, 1, func.instr(rest, ",") - 1)), else_="")


def _rows(sums: Mapping[str, Any], provider: ColumnElement[str], tags: Sequence[ColumnElement[str]]) -> Select[Any]:
    """One row for each exchange, or for each call of it; sums that are not given are 0."""
    of = exchanges.c
    started_s = of.started_unix_ns // _NS
    day = (started_s - started_s % _DAY_S).label("day")
    keys = (provider.label(name) if name == "provider" else of[name] for name in USAGE_KEYS)
    return select(day, *keys, *tags, *(cast(sums.get(name, 0), BigInteger).label(name) for name in SUMS))


def _call(*, sqlite: bool) -> Callable[[str], ColumnElement[Any]]:
    """What reads a field of a call of the exchange's trail; the select has one row for each call then."""
    trail = func.nullif(exchanges.c.trail, "")
    if sqlite:
        each = func.json_each(trail).table_valued("value", name="call")
        return lambda name: func.json_extract(each.c.value, f"$[{_CALL[name]}]")
    each = func.json_array_elements(cast(trail, JSON)).table_valued("value", name="call")
    return lambda name: each.c.value.op("->>", return_type=Text())(_CALL[name])


def usage_rows(query: UsageQuery, found: Sequence[RowMapping]) -> tuple[UsageRow, ...]:
    """The answer in the control plane's words, largest cost first."""
    columns = _columns(query)
    rows = [
        UsageRow(
            group={name: _group_value(name, row[column]) for name, column in columns.items()},
            **{name: int(row[name]) for name in SUMS},
        )
        for row in found
    ]
    return tuple(sorted(rows, key=lambda row: (-row.cost_nanousd, tuple(row.group.values()))))


def _group_value(name: str, value: Any) -> str:
    return datetime.fromtimestamp(int(value), UTC).date().isoformat() if name == "day" else str(value)
