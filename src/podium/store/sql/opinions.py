"""Opinions of users and judges, brought in with the exchanges: in the transaction of a journal's load.

1. Opinions that waited for one of the exchanges that are new are taken up, and those of this load.
2. Each is resolved to its exchange, within its tenant. One that is not there yet waits: another gateway's journal may
   be read later. After a day it is dropped; of one tenant only so many wait.
3. Each kind of an opinion is kept once for an exchange. What is kept is counted for the exchange's arm, and nothing
   else is, so that no opinion counts twice however often a journal is read.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from podium.core.event import Event
from podium.core.records import FeedbackRecord, JudgementRecord, Opinion, Unknown, decode_record, encode_opinion
from podium.delivery.analysis.measures import is_analysed
from podium.delivery.analysis.opinions import MEASURE_OF, meant_by, opinions_of, pair_score
from podium.delivery.analysis.tally import Tally, span_of
from podium.store.sql.request_ids import find_statements
from podium.store.sql.rollout_segments import add_segments
from podium.store.sql.rollout_sums import add_tally, fits, segments_of, spans_of
from podium.store.sql.rollout_tables import feedback, judgements, opinions_waiting
from podium.store.sql.rows import event_of
from podium.store.sql.tables import exchanges

__all__ = ["MOST_WAITING", "WAIT_S", "Ends", "OpinionLoad"]

WAIT_S = 86_400.0
MOST_WAITING = 10_000  # of one tenant
_CHUNK = 1000
_SAME_ID = 20  # exchanges with one request id that are looked through for the one that is meant

Ends = Counter[tuple[str, str]]  # what it was, what became of it


class OpinionLoad:
    """One load's opinions. `ends`: what became of them."""

    def __init__(self, connection: AsyncConnection, now_unix_s: float) -> None:
        self.ends: Ends = Counter()
        self._connection = connection
        self._now_s = now_unix_s
        self._sqlite = connection.dialect.name == "sqlite"
        self._counted: list[tuple[Event, str, float]] = []  # exchange, measure, value
        self._waiting: dict[str, int] = {}  # of tenants, as far as they were counted

    async def run(self, new: Mapping[bytes, Event], opinions: Iterable[Opinion]) -> None:
        """Take up what waited for the events that are new, and these."""
        taken_up = await self._take_up(new)
        for opinion in taken_up:
            await self._settle(opinion, new, waited=True)
        for opinion in opinions:
            if _fits(opinion):
                await self._settle(opinion, new, waited=False)
            else:
                self._end_all((opinion,), "dropped")
        await self._add_up()

    async def _take_up(self, new: Mapping[bytes, Event]) -> list[Opinion]:
        """Those that waited for events that are new, in the order in which they were said."""
        of = opinions_waiting.c
        if (await self._connection.execute(select(of.id).limit(1))).first() is None:
            return []
        late = of.since_unix_s < self._now_s - WAIT_S
        for row in (await self._connection.execute(delete(opinions_waiting).where(late).returning(of.body))).all():
            self._end_all(_decoded(row.body), "dropped")
        if not new:
            return []
        events, found = list(new.values()), {}
        for start in range(0, len(events), _CHUNK):
            part = events[start : start + _CHUNK]
            theirs = or_(
                of.exchange_id.in_([event.id for event in part]),
                of.tenant.in_({event.tenant for event in part}) & of.request_id.in_({one.request_id for one in part}),
            )
            for row in await self._connection.execute(delete(opinions_waiting).where(theirs).returning(of.id, of.body)):
                found[row.id] = row.body
        return [opinion for key in sorted(found) for opinion in _decoded(found[key])]

    async def _settle(self, opinion: Opinion, new: Mapping[bytes, Event], *, waited: bool) -> None:
        event = await self._meant(opinion, new)
        if event is None:
            await self._wait(opinion, waited=waited)
        elif isinstance(opinion, FeedbackRecord):
            await self._keep_feedback(opinion, event)
        else:
            await self._keep_judgement(opinion, event)

    async def _meant(self, opinion: Opinion, new: Mapping[bytes, Event]) -> Event | None:
        if opinion.exchange_id:
            event = new.get(opinion.exchange_id) or await self._by_id(opinion.exchange_id)
            return event if event is not None and event.tenant == opinion.tenant else None
        assert isinstance(opinion, FeedbackRecord)
        found: dict[bytes, Event] = {}
        for statement in find_statements(opinion.request_id, opinion.tenant, None, _SAME_ID, sqlite=self._sqlite):
            rows = (await self._connection.execute(statement)).mappings()
            found |= {event.id: event for event in map(event_of, rows)}
        return meant_by(tuple(found[one] for one in sorted(found, reverse=True)))

    async def _by_id(self, exchange_id: bytes) -> Event | None:
        statement = select(exchanges).where(exchanges.c.id == exchange_id)
        row = (await self._connection.execute(statement)).mappings().first()
        return None if row is None else event_of(row)

    async def _wait(self, opinion: Opinion, *, waited: bool) -> None:
        of = opinions_waiting.c
        request_id = opinion.request_id if isinstance(opinion, FeedbackRecord) else ""
        many = self._waiting.get(opinion.tenant)
        if many is None:
            counted = select(func.count()).select_from(opinions_waiting).where(of.tenant == opinion.tenant)
            many = await self._connection.scalar(counted) or 0
        self._waiting[opinion.tenant] = many
        if many >= MOST_WAITING:
            self._end_all((opinion,), "dropped")
            return
        since_s = min(opinion.given_unix_s, self._now_s) if waited else self._now_s
        row = {
            "id": opinion.id,
            "tenant": opinion.tenant,
            "request_id": request_id,
            "exchange_id": opinion.exchange_id,
            "body": encode_opinion(opinion),
            "since_unix_s": since_s,
        }
        if await self._insert(opinions_waiting, row):
            self._waiting[opinion.tenant] += 1
            if not waited:
                self._end_all((opinion,), "waiting")

    async def _keep_feedback(self, given: FeedbackRecord, event: Event) -> None:
        for kind, value, comment in opinions_of(given):
            row = {
                "exchange_id": event.id,
                "kind": kind,
                "tenant": given.tenant,
                "key_id": given.key_id,
                "value": value,
                "comment": comment,
                "created_unix_s": given.given_unix_s,
                "user": given.user.replace("\0", "\ufffd"),
            }
            if await self._insert(feedback, row):
                self.ends[kind, "counted"] += 1
                if kind in MEASURE_OF:
                    self._counted.append((event, MEASURE_OF[kind], value))
            else:
                self.ends[kind, "repeated"] += 1

    async def _keep_judgement(self, said: JudgementRecord, event: Event) -> None:
        row = {
            "exchange_id": event.id,
            "judge": said.judge,
            "score_first": said.score_first,
            "score_second": said.score_second,
            "created_unix_s": said.given_unix_s,
            "judge_version": said.judge_version,
            "cost_nanousd": said.cost_nanousd,
        }
        if await self._insert(judgements, row):
            self.ends["judgement", "counted"] += 1
            self._counted.append((event, "judge_score", pair_score(said.score_first, said.score_second)))
        else:
            self.ends["judgement", "repeated"] += 1

    async def _add_up(self) -> None:
        """Add to the sums of the arms."""
        compared = [one for one in self._counted if is_analysed(one[0]) and fits(one[0])]
        if not compared:
            return
        spans = await spans_of(self._connection, {event.rollout for event, _, _ in compared})
        tally, segments = Tally(), await segments_of(self._connection, spans, [event for event, _, _ in compared])
        for event, measure, value in compared:
            span = span_of(event.started_unix_ns, spans[event.rollout].starts_us)
            if span is not None:
                tally.add_opinion(event, span, measure, value)
                if spans[event.rollout].experiment:
                    segments.add_opinion(event, span, measure, value)
        await add_tally(self._connection, tally, spans)
        await add_segments(self._connection, segments)

    async def _insert(self, table: Table, row: Mapping[str, Any]) -> bool:
        """Whether the row is new."""
        made = sqlite_insert(table) if self._sqlite else postgres_insert(table)
        done = await self._connection.execute(made.values(**row).on_conflict_do_nothing())
        return done.rowcount > 0

    def _end_all(self, opinions: Collection[Opinion], end: str) -> None:
        for opinion in opinions:
            for kind in _kinds(opinion):
                self.ends[kind, end] += 1


def _fits(opinion: Opinion) -> bool:
    """One odd opinion must not stop all others: names with a NUL, and numbers that are none."""
    if isinstance(opinion, FeedbackRecord):
        texts: tuple[str, ...] = (opinion.tenant, opinion.key_id, opinion.request_id)
        numbers: tuple[float, ...] = (opinion.thumbs or 0.0, opinion.score or 0.0, opinion.task_done or 0.0)
    else:
        texts, numbers = (opinion.tenant, opinion.judge), (opinion.score_first, opinion.score_second)
    return not any("\0" in text for text in texts) and all(0 <= number <= 1 for number in numbers)


def _kinds(opinion: Opinion) -> Iterator[str]:
    if isinstance(opinion, FeedbackRecord):
        yield from (one.kind for one in opinions_of(opinion))
    else:
        yield "judgement"


def _decoded(body: bytes) -> Sequence[Opinion]:
    found = decode_record(body)
    return () if isinstance(found, Event | Unknown) else (found,)
