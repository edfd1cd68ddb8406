import random

import pytest
from sqlalchemy import text

from podium.economics.budgets.spending import SPEND_COLUMNS, SpendQuery
from podium.store.sql.ledger import SqlLedger
from podium.testing.events import make_event

HOUR_NS = 3600 * 10**9
NOON_NS = 1_760_000_400 * 10**9 // HOUR_NS * HOUR_NS


def events_of(count):
    rng = random.Random(7)
    return [
        make_event(
            started_unix_ns=NOON_NS + rng.randrange(-40 * HOUR_NS, 40 * HOUR_NS),
            tenant=f"t{rng.randrange(2)}",
            key_id=rng.choice(("k0", "k1", "k2", "")),
            user=rng.choice(("", "ann", "bob")),
            model=rng.choice(("small", "large")),
            tags=rng.choice(("", "team=a", "project=x,team=b")),
            cost_nanousd=rng.randrange(1000),
            input_tokens=rng.randrange(1000),
            output_tokens=rng.randrange(1000),
            status=rng.choice((200, 499, 502)),
        )
        for _ in range(count)
    ]


def expected(events, query):
    sums = {}
    for event in events:
        if not (query.start_ns <= event.started_unix_ns < query.end_ns and event.key_id):
            continue  # copies that rollouts make have no key, and are paid by no budget
        values = {"tenant": event.tenant, "key": event.key_id, "user": event.user, "model": event.model}
        values["tags"] = event.tags
        start_ns = event.started_unix_ns // query.bucket_ns * query.bucket_ns if query.bucket_ns else query.start_ns
        group = (start_ns, *(values[column] if column in query.by else "" for column in SPEND_COLUMNS))
        nanousd, tokens = sums.get(group, (0, 0))
        sums[group] = nanousd + event.cost_nanousd, tokens + event.input_tokens + event.output_tokens
    return sums


async def told(ledger, query):
    sums = {}
    for row in await ledger.spent(query):
        group = (row.start_ns, row.tenant, row.key, row.user, row.model, row.tags)
        nanousd, tokens = sums.get(group, (0, 0))
        sums[group] = nanousd + row.nanousd, tokens + row.tokens
    return sums


STRETCHES = [
    (NOON_NS - 50 * HOUR_NS, NOON_NS + 50 * HOUR_NS, 0),
    (NOON_NS - 7 * HOUR_NS - 1, NOON_NS + 30 * HOUR_NS + 123, 0),
    (NOON_NS + 5, NOON_NS + HOUR_NS // 2, 0),
    (NOON_NS - 24 * HOUR_NS, NOON_NS + 17, 6 * HOUR_NS),
    (NOON_NS - 9 * HOUR_NS, NOON_NS + 17, HOUR_NS // 4),
]


@pytest.mark.parametrize("by", [(), ("tenant",), ("key", "model"), ("user",), ("tags",), SPEND_COLUMNS])
async def test_sums_are_those_of_the_exchanges_that_began_in_the_stretch(database, by):
    events = events_of(600)
    ledger = SqlLedger(database)
    await ledger.load("a/1", 1, tuple(events))
    for start_ns, end_ns, bucket_ns in STRETCHES:
        query = SpendQuery(by=by, start_ns=start_ns, end_ns=end_ns, bucket_ns=bucket_ns)
        assert await told(ledger, query) == expected(events, query)


async def test_an_empty_stretch_has_no_rows(database):
    ledger = SqlLedger(database)
    for by in ((), ("tenant",), ("user",)):
        assert await ledger.spent(SpendQuery(by=by, start_ns=1, end_ns=90 * HOUR_NS)) == ()


async def test_whole_hours_by_key_and_model_are_read_from_hourly_sums(database):
    ledger = SqlLedger(database)
    await ledger.load("a/1", 1, tuple(events_of(50)))
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM exchanges"))
    whole = SpendQuery(by=("key", "model"), start_ns=NOON_NS - 50 * HOUR_NS, end_ns=NOON_NS + 50 * HOUR_NS)
    assert await told(ledger, whole) == expected(events_of(50), whole)


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": ("model", "key")},
        {"by": ("colour",)},
        {"by": ("key", "key")},
        {"start_ns": 5, "end_ns": 5},
        {"start_ns": -1},
        {"end_ns": 2**62},
        {"bucket_ns": -1},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="`"):
        SpendQuery(**({"by": (), "start_ns": 0, "end_ns": 10} | wrong))
