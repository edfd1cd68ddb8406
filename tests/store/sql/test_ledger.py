import msgspec
import pytest
from sqlalchemy import select, text

from podium.control.ports import UsageQuery
from podium.core.errors import InvalidRequest
from podium.core.event import AttemptRecord, Event
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.rows import SUMS, row_of
from podium.store.sql.tables import exchanges, usage_hours
from podium.testing.events import make_event


class SteppingClock:
    def __init__(self):
        self.now_s = 1e9

    def monotonic_ns(self):
        return int(self.now_s * 1e9)

    unix_ns = monotonic_ns


CALL = AttemptRecord(
    model="m",
    backend="p/m",
    kind="retry",
    why="turn",
    reason="ok",
    upstream_status=200,
    started_ns=1,
    ended_ns=2,
    input_tokens=3,
    output_tokens=4,
    cost_nanousd=5,
)


async def test_every_field_is_kept(database):
    # Each field has a value of its own, so that two swapped columns would be seen.
    fields = msgspec.structs.fields(Event)
    values = {
        field.name: {int: number, str: f"text {number}", bool: number % 2 == 0, bytes: bytes([number]) * 16}[field.type]
        for number, field in enumerate(fields, 10)
        if field.name != "trail"
    }
    event = Event(**values, trail=(CALL, CALL))
    await SqlLedger(database).load("a/1", 1, (event,))
    async with database.read() as connection:
        (row,) = (await connection.execute(select(exchanges))).all()
    written = row._asdict()
    assert Event(**written | {"trail": msgspec.json.decode(written["trail"], type=tuple[AttemptRecord, ...])}) == event


async def test_hourly_sums_are_the_sums_of_the_exchanges(database):
    ledger = SqlLedger(database)
    events = [
        make_event(
            started_unix_ns=1_760_000_000 * 10**9 + number * 700 * 10**9,
            tenant=f"t{number % 3}",
            status=(200, 429, 502)[number % 3],
            tokens_estimated=number % 4 == 0,
            cost_nanousd=number,
        )
        for number in range(100)
    ]
    for start in range(0, 100, 9):
        await ledger.load("a/1", start + 1, tuple(events[max(0, start - 5) : start + 9]))
    async with database.read() as connection:
        hours = (await connection.execute(select(*(usage_hours.c[name] for name in SUMS)))).all()
    (total,) = await ledger.usage(UsageQuery(by=()))
    assert tuple(map(sum, zip(*hours, strict=True))) == tuple(getattr(total, name) for name in SUMS)
    assert (total.exchanges, total.errors, total.estimated_exchanges, total.cost_nanousd) == (
        100,
        66,
        25,
        sum(range(100)),
    )


async def test_events_and_position_come_together_or_not_at_all(database):
    ledger = SqlLedger(database)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE usage_hours RENAME TO hidden"))
    with pytest.raises(Exception, match="usage_hours"):
        await ledger.load("a/1", 7, (make_event(),))
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO usage_hours"))
    assert await ledger.position("a/1") == 0
    assert (await ledger.usage(UsageQuery(by=())))[0].exchanges == 0
    async with database.read() as connection:
        assert (await connection.execute(select(exchanges))).all() == []


async def test_a_position_never_goes_back(database):
    ledger = SqlLedger(database)
    await ledger.load("a/1", 70, ())
    await ledger.load("a/1", 30, ())
    assert await ledger.position("a/1") == 70


async def test_positions_of_segments_long_gone_are_forgotten(database):
    clock = SteppingClock()
    ledger = SqlLedger(database, clock)
    await ledger.load("a/old", 5, ())
    clock.now_s += 20 * 86_400
    await ledger.load("a/recent", 5, ())
    clock.now_s += 20 * 86_400
    await ledger.load("a/new", 5, ())
    assert [await ledger.position(source) for source in ("a/old", "a/recent", "a/new")] == [0, 5, 5]


async def test_more_events_than_fit_one_statement(database):
    ledger = SqlLedger(database)
    events = tuple(make_event() for _ in range(2500))
    assert await ledger.load("a/1", 1, events) == 2500
    assert await ledger.load("a/1", 1, (*events, make_event())) == 1
    assert (await ledger.usage(UsageQuery(by=())))[0].exchanges == 2501


async def test_an_unknown_grouping_is_the_callers_mistake(database):
    with pytest.raises(InvalidRequest, match="colour") as raised:
        await SqlLedger(database).usage(UsageQuery(by=("tenant", "colour")))
    assert raised.value.parameter == "by"


def test_a_usual_event_is_taken_as_it_is():
    event = make_event()
    assert row_of(event) == tuple((msgspec.structs.asdict(event) | {"trail": ""}).values())


def test_an_odd_event_is_made_to_fit():
    event = make_event(user="a\0b", input_tokens=2**63, cost_nanousd=-(2**63), started_unix_ns=-1, stream=True)
    row = dict(zip(exchanges.columns.keys(), row_of(event), strict=True))
    assert (row["user"], row["input_tokens"], row["cost_nanousd"]) == ("a\ufffdb", 10**15, -(10**15))
    assert (row["started_unix_ns"], row["stream"], row["id"]) == (0, True, event.id)
