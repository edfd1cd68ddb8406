"""Adds exchanges to the sums of their rollouts, inside the transaction that brings them into the ledger.

SQL by hand, and one statement a table on PostgreSQL, as in podium.store.sql.bulk. Tables are written in one order, and
rows in the order of their keys, so that transactions which meet wait for each other and never in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table, select
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.event import Event
from podium.delivery.analysis.measures import is_analysed
from podium.delivery.analysis.tally import COUNTS, WIDTH, Tally, span_of, span_us
from podium.delivery.experiments.tenants import TenantTally
from podium.store.sql.rollout_tables import (
    SUM_COLUMNS,
    rollout_arms,
    rollout_cells,
    rollout_minutes,
    rollout_tenants,
    rollout_times,
)
from podium.store.sql.tables import resources

__all__ = ["Spans", "add_tally", "add_tenants", "add_to_rollouts", "fits", "spans_of", "tenant_tally"]


_LATEST_NS = 2**62
_TENANTS_SPAN = 0


class _Progress(msgspec.Struct):
    """What is read of a Progress."""

    step: int = 0
    step_unix_s: float = 0.0
    design: str = ""


_decode_progress = msgspec.json.Decoder(_Progress).decode


class Spans(msgspec.Struct, frozen=True):
    """The spans of one rollout, rising, and the steps that they are of."""

    starts_us: tuple[int, ...]
    steps: Mapping[int, int]
    experiment: bool = False  # its exchanges are counted by tenant, too


async def add_to_rollouts(connection: AsyncConnection, events: Iterable[Event]) -> None:
    """Count those of the events that a rollout compares; they must be new.

    A rollout that no longer exists, and was never seen, is nobody's: its exchanges are not counted.
    """
    compared = [event for event in events if is_analysed(event) and fits(event)]
    if not compared:
        return
    spans = await spans_of(connection, {event.rollout for event in compared})
    tally, tenants = Tally(), await tenant_tally(connection, spans)
    for event in compared:
        span = span_of(event.started_unix_ns, spans[event.rollout].starts_us)
        if span is not None:
            tally.add(event, span)
            if spans[event.rollout].experiment:
                tenants.add(event, span)
    await add_tally(connection, tally, spans)
    await add_tenants(connection, tenants)


def fits(event: Event) -> bool:
    """One odd event must not stop all others: names with a NUL, and times beyond all clocks."""
    texts = (event.rollout, event.arm, event.version, event.backend, *(call.backend for call in event.trail))
    return event.started_unix_ns <= _LATEST_NS and not any("\0" in text for text in texts)


async def spans_of(connection: AsyncConnection, rollouts: set[str]) -> dict[str, Spans]:
    """Each rollout's spans: those that have exchanges, and the one of its step now."""
    of = rollout_arms.c
    found = await connection.execute(select(of.rollout, of.span_us, of.step).where(of.rollout.in_(rollouts)))
    steps: dict[str, dict[int, int]] = {rollout: {} for rollout in rollouts}
    experiments = set()
    for rollout, span, step in found:
        steps[rollout][span] = step
    declared = (resources.c.kind == "Progress") & resources.c.name.in_(rollouts)
    for name, spec in await connection.execute(select(resources.c.name, resources.c.spec).where(declared)):
        progress = _progress(spec)
        if progress.design:
            experiments.add(name)
        if progress.step_unix_s > 0:
            steps[name][span_us(progress.step_unix_s)] = progress.step
    return {
        rollout: Spans(tuple(sorted(known)), known, experiment=rollout in experiments)
        for rollout, known in steps.items()
    }


def _progress(spec: str) -> _Progress:
    """What a later Podium wrote, and this one cannot read, stops no ledger: the step that is known goes on."""
    try:
        return _decode_progress(spec)
    except msgspec.DecodeError:
        return _Progress()


async def add_tally(connection: AsyncConnection, tally: Tally, spans: Mapping[str, Spans]) -> None:
    """Add a batch's sums to those that are stored."""
    await _put(connection, rollout_cells, [(*key, *row) for key, row in sorted(tally.cells.items())])
    await _put(connection, rollout_minutes, [(*key, *row) for key, row in sorted(tally.minutes.items())])
    await _put(
        connection,
        rollout_arms,
        [
            (*key, spans[key.rollout].steps.get(key.span_us, 0), *arm.row)
            for key, arm in sorted(tally.arms.items(), key=lambda item: item[0])
        ],
    )
    await _put(connection, rollout_times, [(*key, count) for key, count in sorted(tally.times.items())])


async def tenant_tally(connection: AsyncConnection, spans: Mapping[str, Spans]) -> TenantTally:
    """Of the tenants that experiments among these count by themselves."""
    experiments = [rollout for rollout, of_rollout in spans.items() if of_rollout.experiment]
    known: dict[str, set[str]] = {}
    if experiments:
        of = rollout_tenants.c
        listed = select(of.rollout, of.tenant).where(of.rollout.in_(experiments), of.span_us == _TENANTS_SPAN)
        for rollout, tenant in await connection.execute(listed):
            known.setdefault(rollout, set()).add(tenant)
    return TenantTally(known)


async def add_tenants(connection: AsyncConnection, tally: TenantTally) -> None:
    """Add a batch's sums by tenant to those that are stored, and list the tenants that are new."""
    nothing = (0.0,) * WIDTH
    new = [(rollout, _TENANTS_SPAN, "", tenant, 0, *nothing) for rollout, tenant in sorted(tally.new)]
    await _put(connection, rollout_tenants, [*new, *((*key, *row) for key, row in sorted(tally.cells.items()))])


def _upsert(table: Table, *, sqlite: bool) -> str:
    """The statement that adds rows to a table's, in the words of the database."""
    name, keys = table.name, [column.name for column in table.primary_key.columns]
    names = ", ".join(column.name for column in table.columns)
    least, most = ("min", "max") if sqlite else ("least", "greatest")
    special = {
        "step": "excluded.step",
        "version": f"CASE WHEN excluded.version <> '' THEN excluded.version ELSE {name}.version END",
        "first_unix_ns": f"{least}({name}.first_unix_ns, excluded.first_unix_ns)",
        "last_unix_ns": f"{most}({name}.last_unix_ns, excluded.last_unix_ns)",
    }
    changes = ", ".join(
        f"{column.name} = {special.get(column.name, f'{name}.{column.name} + excluded.{column.name}')}"
        for column in table.columns
        if column.name not in keys
    )
    start, end = f"INSERT INTO {name} ({names})", f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    if sqlite:
        return f"{start} VALUES ({', '.join('?' * len(table.columns))}) {end}"
    dialect = PGDialect()  # type: ignore[no-untyped-call]
    arrays = (f"${number}::{column.type.compile(dialect=dialect)}[]" for number, column in enumerate(table.columns, 1))
    return f"{start} SELECT * FROM unnest({', '.join(arrays)}) {end}"  # noqa: S608 - names of ours


_TABLES = (rollout_cells, rollout_minutes, rollout_arms, rollout_times, rollout_tenants)
_SQLITE = {table.name: _upsert(table, sqlite=True) for table in _TABLES}
_POSTGRES = {table.name: _upsert(table, sqlite=False) for table in _TABLES}
assert tuple(rollout_arms.columns.keys())[-len(COUNTS) :] == COUNTS
assert tuple(rollout_cells.columns.keys())[5:] == SUM_COLUMNS
assert tuple(rollout_tenants.columns.keys())[5:] == SUM_COLUMNS


async def _put(connection: AsyncConnection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(_SQLITE[table.name], list(rows))
    else:
        await connection.exec_driver_sql(_POSTGRES[table.name], tuple(map(list, zip(*rows, strict=True))))
