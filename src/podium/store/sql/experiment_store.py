"""What experiments read: sums of runs whose shares changed, evened over these; recent exchanges of a model."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Select, Table, Text, and_, func, literal, select, union_all

from podium.core.event import Event
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, run_us, shares_of
from podium.delivery.analysis.tally import COUNTS
from podium.delivery.experiments.course import shares_move
from podium.delivery.experiments.effects import declared_measures
from podium.delivery.experiments.evening import Factors, even_factors
from podium.delivery.experiments.segments import ALL_OTHERS, SEGMENTS_NOTE, Place, observed_by_place
from podium.delivery.experiments.tenants import MOST_TENANTS, OTHERS, observed_by_tenant
from podium.store.sql.rollout_segments import forget_segments
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.store.sql.rollout_tables import SUM_COLUMNS, rollout_arms, rollout_cells, rollout_segments, rollout_tenants
from podium.store.sql.rows import event_of
from podium.store.sql.tables import exchanges

__all__ = ["SqlExperimentStore"]

_OTHERS = "(all others)"  # what no tenant is called
_MOST_SCANNED = 200_000  # of the ledger's newest exchanges, of all models
_MOST_RECENT = 20_000  # of the model's: some ten thousand say what a level and a variance are


class SqlExperimentStore(SqlRolloutStore):
    """As its base; what is observed of experiments whose shares change is evened."""

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """What was seen in the run that goes on; evened over its shares where they change."""
        if not shares_move(rollout, progress):
            return await super().observe(name, rollout, progress)
        arms = await self.arms_seen(name, progress)
        last = max((one.span_us for one in arms), default=0)
        taking_part = set(shares_of(progress.arms)) or {one.name for one in arms if one.span_us == last}
        return Observed(arms, await self.cells(name, even_factors(arms, taking_part)))

    async def observe_even(self, name: str, progress: Progress, arms: Collection[str]) -> Observed:
        """Of these arms, in the spans in which each had exchanges."""
        seen = await self.arms_seen(name, progress)
        return Observed(seen, await self.cells(name, even_factors(seen, arms)))

    async def observe_whole(self, name: str, progress: Progress) -> Observed:
        """All spans of the run, added up as they are."""
        seen = await self.arms_seen(name, progress)
        return Observed(seen, await self.cells(name, {(one.name, one.span_us): 1.0 for one in seen}))

    async def arms_seen(self, name: str, progress: Progress) -> tuple[ArmSeen, ...]:
        """Each arm in each span of the run."""
        of = rollout_arms.c
        statement = (
            select(rollout_arms).where(of.rollout == name, of.span_us >= run_us(progress)).order_by(of.span_us, of.arm)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return tuple(
            ArmSeen(
                name=row["arm"],
                span_us=row["span_us"],
                step=row["step"],
                version=row["version"],
                first_unix_ns=row["first_unix_ns"],
                last_unix_ns=row["last_unix_ns"],
                counts=tuple(row[count] for count in COUNTS),
            )
            for row in rows
        )

    async def cells(self, name: str, factors: Factors) -> tuple[Cell, ...]:
        """Sums of groups of subjects by arm and backend, weighed."""
        if not factors:
            return ()
        async with self._database.read() as connection:
            of = rollout_cells.c
            rows = await connection.execute(_weighed(rollout_cells, (of.arm, of.backend, of.cluster), name, factors))
            return tuple(Cell(row[0], row[1], row[2], tuple(row[3:])) for row in rows)

    async def tenants(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[dict[str, dict[str, Observed]], str]:
        """What was seen of each tenant, by arm what it is compared by; and what is missing there, in a sentence."""
        seen = await self.arms_seen(name, progress)
        first, *others = (arm.name for arm in rollout.arms)
        by_tenant: dict[str, dict[str, Observed]] = {}
        if not shares_move(rollout, progress):
            same = await self._by_tenant(name, {(one.name, one.span_us): 1.0 for one in seen})
            by_tenant = {tenant: dict.fromkeys(others, observed) for tenant, observed in same.items()}
        else:
            for arm in others:
                for tenant, observed in (await self._by_tenant(name, even_factors(seen, {first, arm}))).items():
                    by_tenant.setdefault(tenant, {})[arm] = observed
        if OTHERS not in by_tenant:
            return by_tenant, ""
        by_tenant[_OTHERS] = by_tenant.pop(OTHERS)
        return by_tenant, f"Tenants beyond the first {MOST_TENANTS} are counted together: {_OTHERS}."

    async def segments(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[dict[Place, dict[str, Observed]], str]:
        """As `tenants`, of keys, tags, named segments; of those measures only that the design and the analysis name."""
        seen = await self.arms_seen(name, progress)
        columns = [SUM_COLUMNS.index(f"{measure}_{part}") for measure in declared_measures(rollout) for part in "yx"]
        first, *others = (arm.name for arm in rollout.arms)
        by_place: dict[Place, dict[str, Observed]] = {}
        if not shares_move(rollout, progress):
            same = await self._by_place(name, {(one.name, one.span_us): 1.0 for one in seen}, columns)
            by_place = {place: dict.fromkeys(others, observed) for place, observed in same.items()}
        else:
            for arm in others:
                pair = await self._by_place(name, even_factors(seen, {first, arm}), columns)
                for place, observed in pair.items():
                    by_place.setdefault(place, {})[arm] = observed
        return by_place, SEGMENTS_NOTE if any(shown.endswith(ALL_OTHERS) for _, shown in by_place) else ""

    async def _by_place(self, name: str, factors: Factors, columns: Sequence[int]) -> dict[Place, Observed]:
        """What is not among the columns is zero."""
        if not factors:
            return {}
        of, read = rollout_segments.c, [0, *columns]  # exposures, too
        keys = (of.arm, of.kind, of.name, of.cluster)
        statement = _weighed(rollout_segments, keys, name, factors, [SUM_COLUMNS[column] for column in read])
        found: list[tuple[Place, Cell]] = []
        async with self._database.read() as connection:
            for arm, kind, shown, cluster, *totals in await connection.execute(statement):
                row = [0.0] * len(SUM_COLUMNS)
                for column, total in zip(read, totals, strict=True):
                    row[column] = total
                found.append(((kind, shown), Cell(arm, "", cluster, tuple(row))))
        return observed_by_place(found)

    async def _by_tenant(self, name: str, factors: Factors) -> dict[str, Observed]:
        if not factors:
            return {}
        of = rollout_tenants.c
        async with self._database.read() as connection:
            rows = await connection.execute(_weighed(rollout_tenants, (of.arm, of.tenant, of.cluster), name, factors))
            return observed_by_tenant((row[1], Cell(row[0], "", row[2], tuple(row[3:]))) for row in rows)

    async def forget_sums(self, name: str, before_us: int) -> None:
        """Remove the sums of spans that began before this; evidence and opinions stay."""
        await super().forget_sums(name, before_us)
        async with self._database.write() as connection:
            await forget_segments(connection, name, before_us)

    async def recent(self, models: Collection[str], since_unix_s: float) -> tuple[Event, ...]:
        """The newest exchanges that began since then and asked for one of these names; a bounded number."""
        of = exchanges.c
        newest = (
            select(of.id, of.model)
            .where(of.started_unix_ns >= int(since_unix_s * 1e9))
            .order_by(of.started_unix_ns.desc())
            .limit(_MOST_SCANNED)
            .subquery()
        )
        mine = select(newest.c.id).where(newest.c.model.in_(tuple(models))).limit(_MOST_RECENT).subquery()
        statement = select(exchanges).join(mine, mine.c.id == of.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings()
            return tuple(map(event_of, rows))


def _weighed(
    table: Table,
    keys: tuple[Column[Any], ...],
    name: str,
    factors: Factors,
    columns: Sequence[str] = SUM_COLUMNS,
) -> Select[Any]:
    """Factors go along as rows: the database adds up, so that what is read stays small."""
    lines = [
        select(
            literal(arm, Text).label("arm"),
            literal(span, BigInteger).label("span_us"),
            literal(factor, Double).label("factor"),
        )
        for (arm, span), factor in sorted(factors.items())
    ]
    given = union_all(*lines).cte("given")
    of = table.c
    return (
        select(*keys, *(func.sum(of[column] * given.c.factor) for column in columns))
        .join(given, and_(given.c.arm == of.arm, given.c.span_us == of.span_us))
        .where(of.rollout == name)
        .group_by(*keys)
        .order_by(*keys)
    )
