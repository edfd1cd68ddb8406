"""Sums of experiments by parts of their subjects: tenants, keys, tags, and the segments that their designs name.

Written and read in the transactions of podium.store.sql.rollout_sums.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.event import Event
from podium.core.experiments import NamedSegment
from podium.delivery.analysis.tally import WIDTH
from podium.delivery.experiments.segments import Place, SegmentTally, compiled
from podium.delivery.experiments.tenants import TenantTally
from podium.store.sql.rollout_rows import put_sums
from podium.store.sql.rollout_tables import rollout_segments, rollout_tenants
from podium.store.sql.tables import api_keys, resources

__all__ = ["add_segments", "forget_segments", "segment_tally"]

_LIST_SPAN = 0  # where those are listed that are counted by themselves
_NOTHING = (0.0,) * WIDTH


class _Design(msgspec.Struct):
    """What is read of an experiment."""

    segments: tuple[NamedSegment, ...] = ()


class _Rollout(msgspec.Struct):
    """What is read of a Rollout."""

    experiment: _Design | None = None


class _Tiered(msgspec.Struct):
    """What is read of a key, and of a Tenant."""

    tier: str = ""


_decode_rollout = msgspec.json.Decoder(_Rollout).decode
_decode_tiered = msgspec.json.Decoder(_Tiered).decode


async def segment_tally(
    connection: AsyncConnection, experiments: Collection[str], events: Iterable[Event]
) -> SegmentTally:
    """For a batch of these experiments' exchanges: it knows who is counted by himself already."""
    tenants: dict[str, set[str]] = {}
    places: dict[str, set[Place]] = {}
    named: dict[str, tuple[NamedSegment, ...]] = {}
    if experiments:
        for rollout, tenant in await _listed(connection, rollout_tenants, ("tenant",), experiments):
            tenants.setdefault(rollout, set()).add(tenant)
        for rollout, kind, name in await _listed(connection, rollout_segments, ("kind", "name"), experiments):
            places.setdefault(rollout, set()).add((kind, name))
        named = await _named(connection, experiments)
    by_tier = any(one.tiers is not None for segments in named.values() for one in segments)
    tiers = await _tiers(connection, [one for one in events if one.rollout in named]) if by_tier else {}
    told = {rollout: compiled(segments) for rollout, segments in named.items()}
    return SegmentTally(TenantTally(tenants), places, told, tiers)


async def _listed(
    connection: AsyncConnection, table: Table, columns: tuple[str, ...], experiments: Collection[str]
) -> Iterable[tuple[Any, ...]]:
    of = table.c
    wanted: list[Column[Any]] = [of.rollout, *(of[column] for column in columns)]
    statement = select(*wanted).where(of.rollout.in_(experiments), of.span_us == _LIST_SPAN)
    return [tuple(row) for row in await connection.execute(statement)]


async def _named(connection: AsyncConnection, experiments: Collection[str]) -> dict[str, tuple[NamedSegment, ...]]:
    """What a later Podium wrote, and this one cannot read, stops no ledger: nothing is named then."""
    of = resources.c
    found = {}
    statement = select(of.name, of.spec).where(of.kind == "Rollout", of.name.in_(experiments))
    for name, spec in await connection.execute(statement):
        try:
            design = _decode_rollout(spec).experiment
        except msgspec.DecodeError:
            continue
        if design is not None and design.segments:
            found[name] = design.segments
    return found


async def _tiers(connection: AsyncConnection, events: Collection[Event]) -> dict[str, str]:
    """Of the events' keys, else of their tenants, as they are declared now."""
    of_tenants = select(resources.c.name, resources.c.spec).where(
        resources.c.kind == "Tenant", resources.c.name.in_({event.tenant for event in events})
    )
    of_keys = select(api_keys.c.id, api_keys.c.entry).where(api_keys.c.id.in_({event.key_id for event in events}))
    tenants = {name: _tier(spec) for name, spec in await connection.execute(of_tenants)}
    keys = {key: _tier(entry) for key, entry in await connection.execute(of_keys)}
    return {event.key_id: keys.get(event.key_id) or tenants.get(event.tenant, "") for event in events}


def _tier(spec: str) -> str:
    try:
        return _decode_tiered(spec).tier
    except msgspec.DecodeError:
        return ""


async def add_segments(connection: AsyncConnection, tally: SegmentTally) -> None:
    """Add a batch's sums to those that are stored, and list who is new."""
    tenants = tally.tenants
    new = [(rollout, _LIST_SPAN, "", tenant, 0, *_NOTHING) for rollout, tenant in sorted(tenants.new)]
    await put_sums(connection, rollout_tenants, [*new, *_rows(tenants.cells)])
    listed = [(rollout, _LIST_SPAN, "", kind, name, 0, *_NOTHING) for rollout, kind, name in sorted(tally.new)]
    await put_sums(connection, rollout_segments, [*listed, *_rows(tally.cells)])


def _rows(cells: Mapping[Any, list[float]]) -> list[tuple[Any, ...]]:
    return [(*key, *row) for key, row in sorted(cells.items())]


async def forget_segments(connection: AsyncConnection, name: str, before_us: int) -> None:
    """Remove the sums of spans that began before this, and with them the list of who was counted by himself."""
    for table in (rollout_tenants, rollout_segments):
        of = table.c
        mine = of.rollout == name
        old = (of.span_us > _LIST_SPAN) & (of.span_us < before_us)
        if (await connection.execute(delete(table).where(mine, old))).rowcount:
            await connection.execute(delete(table).where(mine, of.span_us == _LIST_SPAN))
