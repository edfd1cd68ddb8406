"""Opinions come with the journals' loads: each counts once for the exchange that it is about, whatever comes when."""

import asyncio
import random
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import func, select, text

from podium.control.feedback import FeedbackList
from podium.control.ports import Change
from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag
from podium.core.ids import event_id
from podium.core.records import FeedbackRecord, JudgementRecord
from podium.core.rollouts import ArmShare, Progress, Rollout, Step
from podium.store.sql import opinions as opinions_module
from podium.store.sql.feedback import SqlFeedback
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.opinions import WAIT_S
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.store.sql.rollout_tables import feedback, judgements, opinions_waiting, rollout_cells
from podium.testing.clock import TestClock
from podium.testing.events import make_event

START_S = 1_760_000_000.0
ROLLOUT = Rollout(model="m", candidate="new", steps=(Step(percent=25), Step(percent=100)))
PROGRESS = Progress(
    phase="running",
    before="old",
    salt="s",
    arms=(
        ArmShare(name="candidate", version="new", first=0, count=2500),
        ArmShare(name="baseline", version="old", first=7500, count=2500),
    ),
    started_unix_s=START_S,
    step_unix_s=START_S,
)


@dataclass
class Place:
    database: object
    ledger: SqlLedger
    store: SqlRolloutStore
    clock: TestClock

    async def counted(self, measure, arm="candidate"):
        return (await self.store.observe("r", ROLLOUT, PROGRESS)).sums(arm, measure)

    async def rows(self, table):
        async with self.database.read() as connection:
            return await connection.scalar(select(func.count()).select_from(table))


@pytest.fixture
async def place(database):
    change = Change("Progress", "r", None, msgspec.to_builtins(PROGRESS))
    await SqlResourceStore(database).commit(expected=0, author="a", message="start", changes=(change,))
    clock = TestClock()
    return Place(database, SqlLedger(database, clock), SqlRolloutStore(database), clock)


def exchange(**changes):
    fields = {
        "started_unix_ns": int((START_S + 5) * 1e9),
        "rollout": "r",
        "arm": "candidate",
        "version": "new",
        "subject": f"{random.getrandbits(64):016x}",
    }
    return make_event(**(fields | changes))


def says(request_id="q1", **said):
    fields = {"id": event_id(0), "given_unix_s": 1.0, "tenant": "acme", "key_id": "k", "request_id": request_id}
    return FeedbackRecord(**(fields | said))


def judged(event, first, second, **changes):
    fields = {
        "id": event_id(0),
        "given_unix_s": 1.0,
        "tenant": event.tenant,
        "exchange_id": event.id,
        "judge": "big",
        "judge_version": "big-1@abc",
        "score_first": first,
        "score_second": second,
        "cost_nanousd": 12,
    }
    return JudgementRecord(**(fields | changes))


async def test_each_kind_counts_once_for_an_exchange_and_the_first_one_does(place):
    events = (exchange(request_id="q1"), exchange(request_id="q2"))
    await place.ledger.load("a/1", 1, events, (says(thumbs=1.0, score=0.25),))
    again = (says(thumbs=0.0, task_done=0.0, comment="no\0t so good", user="alice\0"), says("q2", thumbs=0.0))
    await place.ledger.load("a/1", 2, (), again)
    thumbs = await place.counted("thumbs_up_rate")
    assert (thumbs.total_y, thumbs.total_x) == (1, 2)
    assert (await place.counted("feedback_score")).ratio == 0.25
    assert (await place.counted("task_done_rate")).ratio == 0
    assert (await place.counted("error_rate")).total_x == 2  # no exchange was counted again
    assert place.ledger.opinions == {
        ("thumbs", "counted"): 2,
        ("thumbs", "repeated"): 1,
        ("score", "counted"): 1,
        ("task_done", "counted"): 1,
        ("comment", "counted"): 1,
    }
    async with place.database.read() as connection:
        of = feedback.c
        said = await connection.execute(select(of.comment, of.user).where(of.kind == "comment"))
        assert said.all() == [("no\ufffdt so good", "alice\ufffd")]


async def test_a_journal_that_is_read_twice_counts_once(place, other_database):
    batch = ("a/1", 9, (exchange(request_id="q1"),), (says(thumbs=1.0), says("q9", thumbs=1.0)))
    other = SqlLedger(other_database, place.clock)
    await asyncio.gather(*(ledger.load(*batch) for ledger in (place.ledger, other) * 3))
    assert (await place.counted("thumbs_up_rate")).total_x == 1
    assert place.ledger.opinions["thumbs", "counted"] + other.opinions["thumbs", "counted"] == 1
    assert await place.rows(opinions_waiting) == 1


async def test_a_judgement_counts_once_and_what_it_says_in_one_order_only_is_even(place):
    events = [exchange(subject=f"{number:016x}") for number in range(4)]
    said = (
        judged(events[0], 1.0, 1.0),
        judged(events[0], 0.0, 0.0),
        judged(events[1], 0.0, 0.0),
        judged(events[2], 1.0, 0.0),
        judged(events[3], 1.0, 0.5),
    )
    await place.ledger.load("a/1", 1, tuple(events), said)
    sums = await place.counted("judge_score")
    assert (sums.total_y, sums.total_x) == (1.0 + 0.0 + 0.5 + 0.5, 4)
    assert place.ledger.opinions == {("judgement", "counted"): 4, ("judgement", "repeated"): 1}
    async with place.database.read() as connection:
        of = judgements.c
        kept = select(of.score_first, of.score_second, of.judge_version, of.cost_nanousd)
        row = (await connection.execute(kept.where(of.exchange_id == events[2].id))).one()
    assert tuple(row) == (1.0, 0.0, "big-1@abc", 12)


async def test_an_opinion_waits_for_the_journal_that_has_its_exchange(place):
    late, copied = exchange(request_id="q1"), exchange(request_id="q2")
    await place.ledger.load("b/1", 1, (), (says(thumbs=0.0), judged(copied, 1.0, 1.0)))
    assert place.ledger.opinions == {("thumbs", "waiting"): 1, ("judgement", "waiting"): 1}
    await place.ledger.load("c/1", 1, (exchange(request_id="other"),))
    assert await place.rows(opinions_waiting) == 2
    await place.ledger.load("a/1", 1, (late, copied))
    assert (await place.counted("thumbs_up_rate")).total_x == 1
    assert (await place.counted("judge_score")).total_y == 1
    assert await place.rows(opinions_waiting) == 0
    await place.ledger.load("b/1", 2, (), (says(thumbs=1.0),))
    assert place.ledger.opinions["thumbs", "repeated"] == 1


async def test_of_those_that_wait_the_first_counts(place):
    said = (says(id=event_id(2_000_000), thumbs=0.0), says(id=event_id(1_000_000), thumbs=1.0))
    await place.ledger.load("b/1", 1, (), said)
    await place.ledger.load("a/1", 1, (exchange(request_id="q1"),))
    assert (await place.counted("thumbs_up_rate")).ratio == 1


async def test_what_belongs_to_nobody_of_the_tenant_is_dropped_after_a_day(place):
    theirs = exchange(request_id="q2", tenant="globex")
    mirrored = exchange(request_id="q3", answer_flags=int(AnswerFlag.MIRRORED))
    said = (
        says("q1", thumbs=1.0),
        says("q2", thumbs=1.0),
        says("q2", thumbs=1.0, exchange_id=theirs.id),
        says("q3", thumbs=1.0),
    )
    await place.ledger.load("a/1", 1, (theirs, mirrored), said)
    assert place.ledger.opinions == {("thumbs", "waiting"): 4}
    place.clock.advance(WAIT_S + 1)
    await place.ledger.load("a/1", 2, ())
    assert place.ledger.opinions["thumbs", "dropped"] == 4
    assert await place.rows(opinions_waiting) == await place.rows(feedback) == 0
    assert (await place.counted("thumbs_up_rate")).n == 0


async def test_of_one_tenant_only_so_many_wait(place, monkeypatch):
    monkeypatch.setattr(opinions_module, "MOST_WAITING", 3)
    await place.ledger.load("a/1", 1, (), tuple(says(f"q{number}", thumbs=1.0) for number in range(5)))
    await place.ledger.load("a/1", 2, (), (says("q", thumbs=1.0, tenant="globex"),))
    assert place.ledger.opinions == {("thumbs", "waiting"): 4, ("thumbs", "dropped"): 2}


async def test_opinions_on_what_no_rollout_chose_are_kept(place):
    events = (make_event(request_id="q1"), exchange(request_id="q2", rollout="gone"))
    await place.ledger.load("a/1", 1, events, (says("q1", task_done=1.0), says("q2", task_done=1.0)))
    assert place.ledger.opinions == {("task_done", "counted"): 2}
    assert await place.rows(rollout_cells) == 0


async def test_an_odd_opinion_does_not_stop_the_others(place):
    odd = (says(thumbs=float("nan")), says("q\0", thumbs=1.0), says(thumbs=1.0))
    await place.ledger.load("a/1", 1, (exchange(request_id="q1"),), odd)
    assert place.ledger.opinions == {("thumbs", "dropped"): 2, ("thumbs", "counted"): 1}


async def test_an_opinion_its_sum_and_the_position_come_together_or_not_at_all(place):
    async with place.database.write() as connection:
        await connection.execute(text("ALTER TABLE rollout_minutes RENAME TO hidden"))
    said = (says(thumbs=1.0),)
    await place.ledger.load("a/1", 1, (make_event(request_id="q1"),))
    with pytest.raises(Exception, match="rollout_minutes"):
        await place.ledger.load("a/1", 2, (exchange(request_id="q2"),), (says("q2", thumbs=1.0), *said))
    async with place.database.write() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO rollout_minutes"))
    assert await place.rows(feedback) == 0
    assert await place.ledger.position("a/1") == 1
    assert place.ledger.opinions == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
async def test_in_whatever_order_and_however_often_journals_are_read_each_opinion_counts_once(place, data):
    run = event_id(0).hex()
    events = [exchange(request_id=f"{run}{number}") for number in range(4)]
    said = [says(f"{run}{number % 4}", id=event_id(0), thumbs=1.0) for number in range(6)]
    loads = [((event,), ()) for event in events] + [((), (one,)) for one in said]
    before = (await place.counted("thumbs_up_rate")).total_x
    order = data.draw(some.lists(some.sampled_from(loads), max_size=8)) + data.draw(some.permutations(loads))
    for part in order:
        await place.ledger.load("a/1", 1, *part)
    assert (await place.counted("thumbs_up_rate")).total_x - before == 4


async def test_feedback_is_read_newest_first_page_by_page(place):
    events = [exchange(request_id=f"q{number}", tenant="acme" if number % 2 else "globex") for number in range(6)]
    said = [
        says(
            f"q{number}",
            tenant=event.tenant,
            given_unix_s=100.1234567 + number // 2,
            thumbs=number % 2 * 1.0,
            comment=f"comment {number}",
            user="ann",
        )
        for number, event in enumerate(events)
    ]
    await place.ledger.load("a/1", 1, tuple(events), tuple(said))
    reads = FeedbackList(SqlFeedback(place.database))
    seen, before = [], None
    while True:
        page = await reads.page(before=before, limit=5)
        seen += page.feedback
        before = page.next_before
        if before is None:
            break
    assert len({one.id for one in seen}) == len(seen) == 12
    assert [one.given_unix_s for one in seen] == sorted((one.given_unix_s for one in seen), reverse=True)
    comments = (await reads.page(tenant="acme", kind="comment")).feedback
    assert [one.comment for one in comments] == ["comment 5", "comment 3", "comment 1"]
    assert {one.value for one in comments} == {None}
    assert (comments[0].request_id, comments[0].arm, comments[0].rollout, comments[0].user) == (
        "q5", "candidate", "r", "ann",
    )  # fmt: skip
    assert (await reads.page(rollout="other")).feedback == ()
    for wrong in ("x", "1-2-3", "1.5-" + "0" * 31 + "-thumbs"):
        with pytest.raises(InvalidRequest):
            await reads.page(before=wrong)
