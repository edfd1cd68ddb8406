import msgspec
import pytest
from sqlalchemy import select, text

from podium.control.ports import UsageQuery
from podium.core.errors import InvalidRequest
from podium.core.event import AttemptRecord, Event
from podium.core.ids import event_id
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.request_ids import find_statements
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


def with_our_id():
    made = event_id(1_760_000_000_000_000_000)
    return make_event(id=made, request_id=f"req_{made.hex()}")


async def test_an_exchange_with_a_request_id_of_ours_is_found(database):
    ledger = SqlLedger(database)
    first, second = sorted((with_our_id(), with_our_id()), key=lambda event: event.id)
    await ledger.load("a/1", 1, (first, second))
    for event in (first, second):
        assert await ledger.find(event.request_id, tenant=None, before=None, limit=1) == (event,)
        assert await ledger.find(event.request_id, tenant="other", before=None, limit=1) == ()
        assert await ledger.find(event.request_id, tenant=None, before=event.id, limit=1) == ()
        assert await ledger.find(event.request_id.upper(), tenant=None, before=None, limit=1) == ()


async def test_a_caller_may_send_an_id_that_looks_like_ours(database):
    ledger = SqlLedger(database)
    ours = with_our_id()
    copies = [make_event(id=bytes([number]) * 16, request_id=ours.request_id) for number in (0, 1, 254, 255)]
    await ledger.load("a/1", 1, (ours, *copies))
    in_order = tuple(sorted((ours, *copies), key=lambda event: event.id, reverse=True))
    assert await ledger.find(ours.request_id, tenant=None, before=None, limit=9) == in_order
    paged = []
    while page := await ledger.find(ours.request_id, tenant=None, before=paged[-1].id if paged else None, limit=2):
        paged += page
    assert tuple(paged) == in_order


async def test_request_ids_are_found_by_their_indexes(database):
    ours = with_our_id()
    await SqlLedger(database).load("a/1", 1, (ours, make_event()))
    theirs, by_id = find_statements(ours.request_id, None, b"\x01" * 16, 5, sqlite=database.is_sqlite)
    async with database.read() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            await connection.execute(text("SET LOCAL enable_sort = off"))
        plans = [await explained(connection, statement, database) for statement in (theirs, by_id)]
    if database.is_sqlite:
        assert plans[0] == "SEARCH exchanges USING INDEX ix_exchanges_request_id_id (request_id=? AND id<?)"
        assert plans[1] == "SEARCH exchanges USING INDEX sqlite_autoindex_exchanges_1 (id=?)"
    else:
        assert "Index Scan Backward using ix_exchanges_request_id_id" in plans[0]
        assert "Sort" not in plans[0]
        assert "Index Scan using pk_exchanges" in plans[1]


async def explained(connection, statement, database):
    compiled = statement.compile(dialect=connection.dialect)
    values = tuple(compiled.params[name] for name in compiled.positiontup)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    rows = await connection.exec_driver_sql(f"{explain} {compiled}", values)
    return "\n".join(str(row[-1]) for row in rows)


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
