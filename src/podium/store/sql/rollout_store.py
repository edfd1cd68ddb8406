"""What is kept of rollouts besides their declaration: sums of exchanges, and evidence of decisions."""

from collections.abc import Collection, Iterable, Mapping
from math import exp
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.clock import Clock, SystemClock
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.compared import LOGARITHMS
from podium.delivery.analysis.evidence import Bundle, Point, decode_bundle, encode_bundle
from podium.delivery.analysis.measures import MEASURES
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, comparable, run_us
from podium.delivery.analysis.report import quantiles_of
from podium.delivery.analysis.tally import COUNTS
from podium.delivery.analysis.times import Times
from podium.store.sql.database import Database
from podium.store.sql.rollout_history import forget_history, past_of, read_history
from podium.store.sql.rollout_tables import (
    SUM_COLUMNS,
    evidence,
    rollout_arms,
    rollout_cells,
    rollout_minutes,
    rollout_times,
)

__all__ = ["SqlRolloutStore"]

_MOST_POINTS = 200  # of an arm's timeline
_MINUTE_S = 60
_MOST_HISTORIES = 10_000
_SAME_ID = 20  # exchanges with one request id that are looked through for the one that is meant


class SqlRolloutStore:
    """Reads what the ledger's loads add up; keeps evidence."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._histories: dict[str, int] = {}  # runs whose history needs no more reading

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """What was seen in the run that goes on; a few thousand rows, however many exchanges there were."""
        of = rollout_arms.c
        statement = (
            select(rollout_arms).where(of.rollout == name, of.span_us >= run_us(progress)).order_by(of.span_us, of.arm)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings().all()
            arms = tuple(
                ArmSeen(
                    row["arm"],
                    row["span_us"],
                    row["step"],
                    row["version"],
                    row["first_unix_ns"],
                    row["last_unix_ns"],
                    tuple(row[count] for count in COUNTS),
                )
                for row in rows
            )
            spans = comparable(rollout, progress, {arm.span_us: arm.step for arm in arms})
            found = await connection.execute(_cells(name, spans)) if spans else ()
            cells = tuple(Cell(row[0], row[1], row[2], tuple(row[3:])) for row in found)
            past = await past_of(connection, name, rollout, progress, arms, spans) if spans else None
        return Observed(arms, cells, past)

    async def read_history(self, name: str, rollout: Rollout, progress: Progress, models: Collection[str]) -> None:
        """Read a bounded part more of what subjects did before the run, if there is more to be read."""
        run = run_us(progress)
        if self._histories.get(name) == run:
            return
        if not await read_history(self._database, name, rollout, progress, models):
            if len(self._histories) >= _MOST_HISTORIES:
                self._histories.clear()
            self._histories[name] = run

    async def timeline(self, name: str, progress: Progress) -> tuple[Point, ...]:
        """The course of the run: at most 200 stretches of whole minutes."""
        of = rollout_minutes.c
        mine = (of.rollout == name) & (of.span_us >= run_us(progress))
        async with self._database.read() as connection:
            ends = (
                await connection.execute(select(func.min(of.minute_unix_s), func.max(of.minute_unix_s)).where(mine))
            ).one()
            if ends[0] is None:
                return ()
            minutes = (ends[1] - ends[0]) // _MINUTE_S + 1
            width_s = _MINUTE_S * -(-minutes // _MOST_POINTS)
            begin = (of.minute_unix_s - (of.minute_unix_s - ends[0]) % width_s).label("begin")
            sums = [func.sum(of[column]) for column in SUM_COLUMNS]
            statement = select(begin, of.arm, *sums).where(mine).group_by("begin", of.arm).order_by("begin", of.arm)
            rows = (await connection.execute(statement)).all()
        return tuple(
            Point(unix_s=int(row[0]), arm=row[1], exchanges=round(row[2]), measures=_means(row[3:])) for row in rows
        )

    async def quantiles(self, name: str, progress: Progress) -> dict[str, dict[str, dict[str, float]]]:
        """Of times of the run, by arm and measure: p50, p95 and p99 in milliseconds."""
        run = rollout_times.c.span_us >= run_us(progress)
        return {
            arm: {measure: quantiles_of(buckets.items()) for measure, buckets in measures.items()}
            for arm, measures in (await self._times(name, run)).items()
        }

    async def times(self, name: str, rollout: Rollout, progress: Progress, seen: Iterable[ArmSeen]) -> Times:
        """How many exchanges took how long, in the stretches that are looked at together."""
        spans = comparable(rollout, progress, {arm.span_us: arm.step for arm in seen})
        return await self._times(name, rollout_times.c.span_us.in_(spans))

    async def _times(self, name: str, spans: ColumnElement[bool]) -> dict[str, dict[str, dict[int, int]]]:
        of = rollout_times.c
        keys = (of.arm, of.measure, of.bucket)
        counted = func.sum(of.exchanges)
        statement = select(*keys, counted).where(of.rollout == name, spans).group_by(*keys).order_by(*keys)
        told: dict[str, dict[str, dict[int, int]]] = {}
        async with self._database.read() as connection:
            for arm, measure, bucket, count in await connection.execute(statement):
                told.setdefault(arm, {}).setdefault(measure, {})[bucket] = int(count)
        return told

    async def keep_evidence(self, bundle: Bundle) -> str:
        """Keep it for good; returns its id. The same bundle twice is kept once."""
        key, body = encode_bundle(bundle)
        row = {"id": key, "rollout": bundle.name, "created_unix_s": bundle.decided_unix_s, "body": body}
        async with self._database.write() as connection:
            await self._insert(connection, evidence, row)
        return key

    async def evidence(self, key: str) -> Bundle | None:
        """A bundle by its id."""
        async with self._database.read() as connection:
            body = await connection.scalar(select(evidence.c.body).where(evidence.c.id == key))
        return None if body is None else decode_bundle(body)

    async def evidence_of(self, name: str, *, limit: int = 50) -> tuple[tuple[str, float], ...]:
        """Ids and times of a rollout's evidence, newest first."""
        of = evidence.c
        statement = (
            select(of.id, of.created_unix_s)
            .where(of.rollout == name)
            .order_by(of.created_unix_s.desc(), of.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return tuple((row.id, row.created_unix_s) for row in await connection.execute(statement))

    async def forget_sums(self, name: str, before_us: int) -> None:
        """Remove the sums of spans that began before this; evidence and opinions stay."""
        async with self._database.write() as connection:
            for table in (rollout_cells, rollout_minutes, rollout_arms, rollout_times):
                await connection.execute(delete(table).where(table.c.rollout == name, table.c.span_us < before_us))
            await forget_history(connection, name, before_us)

    async def _insert(self, connection: AsyncConnection, table: Any, row: Mapping[str, object]) -> bool:
        """Whether the row is new."""
        made = sqlite_insert(table) if self._database.is_sqlite else postgres_insert(table)
        done = await connection.execute(made.values(**row).on_conflict_do_nothing())
        return done.rowcount > 0

    def _now_s(self) -> float:
        return self._clock.unix_ns() / 1e9


def _cells(name: str, spans: Iterable[int]) -> Select[Any]:
    of = rollout_cells.c
    keys = (of.arm, of.backend, of.cluster)
    return (
        select(*keys, *(func.sum(of[column]) for column in SUM_COLUMNS))
        .where(of.rollout == name, of.span_us.in_(tuple(spans)))
        .group_by(*keys)
        .order_by(*keys)
    )


def _means(totals: Iterable[float]) -> dict[str, float]:
    """Each measure's mean, in its own unit, of those that anything is known of."""
    pairs = list(totals)
    told = {}
    for number, measure in enumerate(MEASURES):
        y, x = pairs[2 * number], pairs[2 * number + 1]
        if x > 0:
            told[measure] = exp(y / x) if measure in LOGARITHMS else y / x
    return told
