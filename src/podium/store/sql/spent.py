"""What was spent in a stretch of time, by what budgets tell apart: podium.economics.budgets.spending.

By tenant, key and model, whole hours are read from `usage_hours`, which is a few rows an hour however many exchanges
there are. User and tags are not in there, because hourly sums by them could be as many as the exchanges: these are
read from `exchanges`, by start time and a day at a time, so that no statement runs for long. That was measured (SQLite,
5,000 users) at 0.6 (tags) to 3.4 (users) seconds of processor time for each million of exchanges in the stretch; by key
and model at 0.07. Who asks again and again waits in between, so that it takes a twentieth of the time at most.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, func, select

from podium.economics.budgets.spending import SPEND_COLUMNS, SpendQuery, Spent
from podium.store.sql.rows import HOUR_S
from podium.store.sql.tables import exchanges, usage_hours

__all__ = ["spent_rows", "spent_statements"]

_NS = 1_000_000_000
_HOUR_NS = HOUR_S * _NS
_DAY_NS = 24 * _HOUR_NS
_NAMES = dict(zip(SPEND_COLUMNS, ("tenant", "key_id", "user", "model", "tags"), strict=True))
_START = "start_ns"
_NOBODYS = ""  # key of copies that rollouts make of exchanges: no budget pays for them
_OF_HOURS = {"tenant", "key", "model"}


def spent_statements(query: SpendQuery) -> Iterator[Select[Any]]:
    """Statements over stretches that do not overlap and together are the one asked for."""
    first, last = -(-query.start_ns // _HOUR_NS), query.end_ns // _HOUR_NS  # whole hours: from, up to
    if not set(query.by) <= _OF_HOURS or query.bucket_ns % _HOUR_NS or first >= last:
        yield from _by_days(query, query.start_ns, query.end_ns)
        return
    yield from _by_days(query, query.start_ns, first * _HOUR_NS)
    yield _of_hours(query, first * HOUR_S, last * HOUR_S)
    yield from _by_days(query, last * _HOUR_NS, query.end_ns)


def spent_rows(query: SpendQuery, found: Iterable[RowMapping]) -> Iterator[Spent]:
    """The answers of one statement."""
    for row in found:
        tenant, key, user, model, tags = (row.get(name, "") for name in _NAMES.values())
        start_ns = int(row.get(_START, query.start_ns))
        yield Spent(start_ns, tenant, key, user, model, tags, int(row["nanousd"]), int(row["tokens"]))


def _by_days(query: SpendQuery, start_ns: int, end_ns: int) -> Iterator[Select[Any]]:
    begun = exchanges.c.started_unix_ns
    while start_ns < end_ns:
        until_ns = min(end_ns, (start_ns // _DAY_NS + 1) * _DAY_NS)
        yield _sums(query, exchanges, begun).where(begun >= start_ns, begun < until_ns)
        start_ns = until_ns


def _of_hours(query: SpendQuery, first_s: int, last_s: int) -> Select[Any]:
    hour = usage_hours.c.hour_unix_s
    return _sums(query, usage_hours, hour * _NS).where(hour >= first_s, hour < last_s)


def _sums(query: SpendQuery, table: Table, begun: ColumnElement[int]) -> Select[Any]:
    of = table.c
    columns: list[Any] = [of[_NAMES[column]] for column in query.by]
    groups = list(columns)
    if query.bucket_ns:
        columns.append((begun - begun % query.bucket_ns).label(_START))
        groups.append(_START)  # the column of the answer: repeated, its parameter would make it another expression
    tokens = func.sum(of.input_tokens + of.output_tokens).label("tokens")
    told = select(*columns, func.sum(of.cost_nanousd).label("nanousd"), tokens).where(of.key_id != _NOBODYS)
    return told.group_by(*groups).having(func.count() > 0)
