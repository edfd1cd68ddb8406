"""What subjects did before a rollout began: read from the ledger once, batch by batch, and kept added up.

The ledger may hold millions of exchanges of before, so each look at a rollout that is under way reads a bounded batch
of them, the newest first, until the period is read or enough is known. How far that is stands beside the sums, and is
written with them: of two processes that read at once, one counts.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import BigInteger, Double, RowMapping, Text, and_, delete, func, literal, select, union_all, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.history import HistoryTally, Past, period_of, stripes_in, why_none
from podium.delivery.analysis.observed import ArmSeen, run_us
from podium.store.sql.database import Database
from podium.store.sql.rollout_rows import put_sums
from podium.store.sql.rollout_tables import HISTORY_COLUMNS, rollout_history, rollout_history_read
from podium.store.sql.rows import event_of
from podium.store.sql.tables import exchanges

__all__ = ["BATCH", "MOST_COUNTED", "MOST_LOOKED_THROUGH", "forget_history", "past_of", "read_history"]

BATCH = 4_000  # exchanges of all models that one call looks through: some 100 ms of work
MOST_LOOKED_THROUGH = 5_000_000
MOST_COUNTED = 1_000_000  # of the model


async def read_history(
    database: Database, name: str, rollout: Rollout, progress: Progress, models: Collection[str]
) -> bool:
    """Read one batch more of the run's history; whether there is more to read. `models`: what callers may call it."""
    if why_none(rollout, progress):
        return False
    since_ns, until_ns = period_of(rollout, progress)
    of = exchanges.c
    async with database.read() as connection:
        known = await _known(connection, name, progress)
        if known is not None and known["complete"]:
            return False
        reached_ns = until_ns if known is None else known["reached_unix_ns"]
        newest = (
            select(of.id, of.model, of.started_unix_ns)
            .where(of.started_unix_ns < reached_ns, of.started_unix_ns >= since_ns)
            .order_by(of.started_unix_ns.desc())
            .limit(BATCH)
            .subquery()
        )
        found, first_ns = (await connection.execute(select(func.count(), func.min(newest.c.started_unix_ns)))).one()
        mine = select(newest.c.id).where(newest.c.model.in_(tuple(models))).subquery()
        rows = (await connection.execute(select(exchanges).join(mine, mine.c.id == of.id))).mappings().all()
    begin_ns = since_ns
    if found == BATCH:  # others may have begun in the same nanosecond as the last one: they are of the next batch
        begin_ns = first_ns + 1 if first_ns + 1 < reached_ns else first_ns
    tally = await asyncio.to_thread(_counted, rollout, progress, rows, begin_ns)
    looked_through = found + (0 if known is None else known["looked_through"])
    counted = tally.exchanges + (0 if known is None else known["exchanges"])
    complete = found < BATCH or looked_through >= MOST_LOOKED_THROUGH or counted >= MOST_COUNTED
    state = {
        "until_unix_ns": until_ns,
        "reached_unix_ns": begin_ns,
        "looked_through": looked_through,
        "exchanges": counted,
        "complete": complete,
    }
    run = run_us(progress)
    async with database.write() as connection:
        if await _move(connection, name, run, None if known is None else reached_ns, state):
            sums = [(name, run, *key, *row) for key, row in sorted(tally.rows.items())]
            await put_sums(connection, rollout_history, sums)
    return not complete


def _counted(rollout: Rollout, progress: Progress, rows: Collection[RowMapping], begin_ns: int) -> HistoryTally:
    tally = HistoryTally(rollout, progress)
    for row in rows:
        if row["started_unix_ns"] >= begin_ns:
            tally.add(event_of(row))
    return tally


async def _move(
    connection: AsyncConnection, name: str, run: int, expected_ns: int | None, state: Mapping[str, Any]
) -> bool:
    """Whether it stood where this reader began. None: nobody had begun."""
    of = rollout_history_read.c
    if expected_ns is None:
        made = (sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert)(rollout_history_read)
        values = {"rollout": name, "span_us": run, **state}
        return (await connection.execute(made.values(**values).on_conflict_do_nothing())).rowcount > 0
    here = (of.rollout == name) & (of.span_us == run) & (of.reached_unix_ns == expected_ns) & of.complete.is_(False)
    return (await connection.execute(update(rollout_history_read).where(here).values(**state))).rowcount > 0


async def _known(connection: AsyncConnection, name: str, progress: Progress) -> RowMapping | None:
    of = rollout_history_read.c
    mine = (of.rollout == name) & (of.span_us == run_us(progress))
    return (await connection.execute(select(rollout_history_read).where(mine))).mappings().first()


async def past_of(
    connection: AsyncConnection,
    name: str,
    rollout: Rollout,
    progress: Progress,
    seen: Collection[ArmSeen],
    spans: Collection[int],
) -> Past | None:
    """History of the arms, as they were in these spans; None: none was read."""
    known = None if why_none(rollout, progress) else await _known(connection, name, progress)
    if known is None:
        return None
    steps, counts = dict.fromkeys(spans, progress.step), dict.fromkeys(spans, 0)
    for arm in seen:
        if arm.span_us in counts:
            steps[arm.span_us] = arm.step
            counts[arm.span_us] += arm.exchanges
    parts = stripes_in(rollout, progress.before, steps, counts)
    arms: dict[str, dict[int, tuple[float, ...]]] = {}
    if parts and known["exchanges"]:
        lines = [
            select(
                literal(first, BigInteger).label("first_bucket"),
                literal(arm, Text).label("arm"),
                literal(part, Double).label("part"),
            )
            for (first, arm), part in sorted(parts.items())
        ]
        given, of = union_all(*lines).cte("given"), rollout_history.c
        statement = (
            select(given.c.arm, of.cluster, *(func.sum(of[column] * given.c.part) for column in HISTORY_COLUMNS))
            .join(given, and_(given.c.first_bucket == of.first_bucket))
            .where(of.rollout == name, of.span_us == run_us(progress))
            .group_by(given.c.arm, of.cluster)
        )
        for row in await connection.execute(statement):
            arms.setdefault(row[0], {})[row[1]] = tuple(row[2:])
    return Past(
        since_unix_s=known["reached_unix_ns"] / 1e9,
        until_unix_s=known["until_unix_ns"] / 1e9,
        exchanges=known["exchanges"],
        complete=known["complete"],
        arms=arms,
    )


async def forget_history(connection: AsyncConnection, name: str, before_us: int) -> None:
    """Remove that of runs that began before this."""
    for table in (rollout_history, rollout_history_read):
        await connection.execute(delete(table).where(table.c.rollout == name, table.c.span_us < before_us))
