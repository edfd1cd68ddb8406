"""What users said in words is erased: by age, by request and by person; marks stay and count."""

import pytest
from sqlalchemy import select, text

from podium.control.feedback_keeping import Erasure
from podium.core.ids import event_id
from podium.core.records import FeedbackRecord
from podium.store.sql.feedback import SqlFeedback
from podium.store.sql.feedback_words import _old_words
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.rollout_tables import feedback, opinions_waiting
from podium.testing.events import make_event


def says(request_id, given_unix_s=1.0, tenant="acme", **said):
    made = {"id": event_id(0), "given_unix_s": given_unix_s, "tenant": tenant, "key_id": "k", "request_id": request_id}
    return FeedbackRecord(**(made | {"thumbs": 1.0, "comment": f"about {request_id}"} | said))


class Words:
    def __init__(self, database):
        self.database = database
        self.shelf = SqlFeedback(database)
        self.ledger = SqlLedger(database)

    async def load(self, *opinions, **users):
        """Exchanges by request id with their users, and what was said of them."""
        self.position = getattr(self, "position", 0) + 1
        events = tuple(make_event(request_id=name, user=user) for name, user in users.items())
        await self.ledger.load("a/1", self.position, events, opinions)

    async def left(self):
        """All rows: kind, comment, user."""
        of = feedback.c
        statement = select(of.kind, of.comment, of.user).order_by(of.created_unix_s, of.kind)
        async with self.database.read() as connection:
            return [tuple(row) for row in await connection.execute(statement)]

    async def waiting(self):
        async with self.database.read() as connection:
            return list(await connection.scalars(select(opinions_waiting.c.request_id)))


@pytest.fixture
def words(database):
    return Words(database)


async def test_what_is_old_is_found_by_its_index_however_many_marks_there_are(words, database):
    statement = _old_words(100.0).limit(500).compile(compile_kwargs={"literal_binds": True})
    async with database.read() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # of a table without rows it is quicker
        how = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = (await connection.execute(text(f"{how} {statement}"))).all()
    assert "ix_feedback_words" in str(plan)


async def test_what_is_old_loses_comment_and_name_in_batches_and_keeps_its_marks(words):
    old = [says(f"q{number}", given_unix_s=number, user="ann") for number in range(3)]
    await words.load(*old, says("new", given_unix_s=100.0, user="ben"), q0="", q1="", q2="", new="")
    rounds = 0
    while await words.shelf.forget_before(100.0, limit=2):
        rounds += 1
    assert rounds >= 3
    assert await words.left() == [("thumbs", "", "")] * 3 + [("comment", "about new", "ben"), ("thumbs", "", "ben")]
    await words.load(says("q0", given_unix_s=200.0, thumbs=0.0, comment=None))
    assert words.ledger.opinions["thumbs", "repeated"] == 1


async def test_words_about_one_exchange_are_erased_and_what_waits_for_it_too(words):
    await words.load(says("q1", user="ann"), says("q2"), says("late"), says("q1", tenant="other"), q1="", q2="")
    await words.load(says("q1", given_unix_s=2.0, thumbs=None, score=0.5, comment=None, user="ben"))
    assert await words.shelf.forget(Erasure(tenant="acme", request_id="q1"), limit=100) == 3
    assert await words.shelf.forget(Erasure(tenant="acme", request_id="late"), limit=100) == 1
    assert await words.shelf.forget(Erasure(tenant="acme", request_id="q1"), limit=100) == 0
    assert sorted(await words.left()) == [
        ("comment", "about q2", ""),
        ("score", "", ""),
        ("thumbs", "", ""),
        ("thumbs", "", ""),
    ]
    assert await words.waiting() == ["q1"]  # another tenant's


async def test_a_persons_words_are_erased_and_those_about_their_exchanges_and_nobody_elses(words):
    await words.load(
        says("q1", given_unix_s=1.0, user="ann"),
        says("q2", given_unix_s=2.0, user="ben"),
        says("q3", given_unix_s=3.0, user="ben"),
        says("late", user="ann"),
        says("later", user="ben"),
        q1="x",
        q2="ann",
        q3="ben",
    )
    erased = 0
    while count := await words.shelf.forget(Erasure(tenant="acme", user="ann"), limit=1):
        erased += count
    assert erased == 5
    assert await words.left() == [
        ("thumbs", "", ""),
        ("thumbs", "", ""),
        ("comment", "about q3", "ben"),
        ("thumbs", "", "ben"),
    ]
    assert await words.waiting() == ["later"]
