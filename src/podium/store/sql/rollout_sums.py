"""Adds exchanges to the sums of their rollouts, inside the transaction that brings them into the ledger.

Tables are written in one order, and rows in the order of their keys, so that transactions which meet wait for each
other and never in a circle.
"""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.event import Event
from podium.delivery.analysis.measures import is_analysed
from podium.delivery.analysis.tally import Tally, span_of, span_us
from podium.delivery.experiments.segments import SegmentTally
from podium.store.sql.rollout_rows import put_sums
from podium.store.sql.rollout_segments import add_segments, segment_tally
from podium.store.sql.rollout_tables import rollout_arms, rollout_cells, rollout_minutes, rollout_times
from podium.store.sql.tables import resources

__all__ = ["Spans", "add_tally", "add_to_rollouts", "fits", "segments_of", "spans_of"]


_LATEST_NS = 2**62


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
    experiment: bool = False  # its exchanges are counted by segment, too


async def add_to_rollouts(connection: AsyncConnection, events: Iterable[Event]) -> None:
    """Count those of the events that a rollout compares; they must be new.

    A rollout that no longer exists, and was never seen, is nobody's: its exchanges are not counted.
    """
    compared = [event for event in events if is_analysed(event) and fits(event)]
    if not compared:
        return
    spans = await spans_of(connection, {event.rollout for event in compared})
    tally, segments = Tally(), await segments_of(connection, spans, compared)
    for event in compared:
        span = span_of(event.started_unix_ns, spans[event.rollout].starts_us)
        if span is not None:
            tally.add(event, span)
            if spans[event.rollout].experiment:
                segments.add(event, span)
    await add_tally(connection, tally, spans)
    await add_segments(connection, segments)


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
    await put_sums(connection, rollout_cells, [(*key, *row) for key, row in sorted(tally.cells.items())])
    await put_sums(connection, rollout_minutes, [(*key, *row) for key, row in sorted(tally.minutes.items())])
    await put_sums(
        connection,
        rollout_arms,
        [
            (*key, spans[key.rollout].steps.get(key.span_us, 0), *arm.row)
            for key, arm in sorted(tally.arms.items(), key=lambda item: item[0])
        ],
    )
    await put_sums(connection, rollout_times, [(*key, count) for key, count in sorted(tally.times.items())])


async def segments_of(connection: AsyncConnection, spans: Mapping[str, Spans], events: Iterable[Event]) -> SegmentTally:
    """For those of the events that are of experiments."""
    return await segment_tally(connection, [name for name, one in spans.items() if one.experiment], events)
