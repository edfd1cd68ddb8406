import asyncio
import math
import random

import msgspec
import pytest
from sqlalchemy import insert, select, text

from podium.core.event import AnswerFlag
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.tally import CLUSTERS, Tally, span_us
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.rollout_tables import (
    SUM_COLUMNS,
    rollout_arms,
    rollout_cells,
    rollout_minutes,
    rollout_times,
)
from podium.store.sql.tables import resources
from podium.testing.events import make_call, make_event

START_S = 1_760_000_000


async def declare(database, name="r", **progress):
    spec = msgspec.json.encode({"phase": "running", "before": "v", "salt": "s", "step_unix_s": START_S} | progress)
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM resources WHERE name = :name"), {"name": name})
        await connection.execute(insert(resources).values(kind="Progress", name=name, spec=spec.decode(), revision=1))


def compared(after_s=1.0, **changes):
    fields = {"rollout": "r", "arm": "candidate", "subject": f"{random.getrandbits(64):016x}"}
    return make_event(**({"started_unix_ns": int((START_S + after_s) * 1e9)} | fields | changes))


def a_mix(count, seed=7):
    chance = random.Random(seed)
    for number in range(count):
        failed, fell = chance.random() < 0.1, chance.random() < 0.05
        calls = (make_call(reason="upstream_timeout", backend="p/b"), make_call(kind="retry", started_ns=10**6))
        yield compared(
            after_s=chance.uniform(0, 300),
            arm=chance.choice(["candidate", "baseline"]),
            subject=f"{chance.randrange(900):016x}",
            backend=chance.choice(["p/a", "p/b", "p/c"]),
            reason="upstream_timeout" if failed else "ok",
            fault="upstream" if failed else "nobody",
            fallbacks=int(fell),
            served_model="other" if fell else "",
            trail=calls if number % 7 == 0 else (),
            answer_flags=chance.choice([0, int(AnswerFlag.EMPTY), int(AnswerFlag.FORMAT_ASKED)]),
            finish_reason=chance.choice(["stop", "length"]),
            cost_nanousd=chance.randrange(10**7),
        )


async def rows(database, table):
    keys = len(table.primary_key.columns)
    async with database.read() as connection:
        found = (await connection.execute(select(table))).all()
    return {tuple(row)[:keys]: tuple(row)[keys:] for row in found}


def close(one, other):
    return one.keys() == other.keys() and all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6) for key in one for a, b in zip(one[key], other[key], strict=True)
    )


async def test_batches_add_up_to_what_all_events_together_do(database):
    await declare(database)
    events = list(a_mix(400))
    ledger = SqlLedger(database)
    for start in range(0, 400, 37):  # with repetitions, of which nothing may be counted
        batch = events[max(0, start - 20) : start + 37]
        await ledger.load("a/1", start + 1, (*batch, *batch[:3]))
    whole = Tally()
    for event in events:
        whole.add(event, span_us(START_S))
    assert close(await rows(database, rollout_cells), {tuple(key): tuple(row) for key, row in whole.cells.items()})
    assert close(await rows(database, rollout_minutes), {tuple(key): tuple(row) for key, row in whole.minutes.items()})
    assert await rows(database, rollout_times) == {tuple(key): (count,) for key, count in whole.times.items()}
    assert await rows(database, rollout_arms) == {tuple(key): (0, *arm.row) for key, arm in whole.arms.items()}


async def test_sums_come_with_the_events_or_not_at_all(database, other_database):
    await declare(database)
    ledger = SqlLedger(database)
    events = tuple(a_mix(20))
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE rollout_times RENAME TO hidden"))  # the last one to be written
    with pytest.raises(Exception, match="rollout_times"):
        await ledger.load("a/1", 7, events)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO rollout_times"))
    assert await ledger.position("a/1") == 0
    assert await rows(database, rollout_cells) == {}
    await SqlLedger(other_database).load("a/1", 7, events)
    cells = await rows(other_database, rollout_cells)
    assert sum(row[0] for row in cells.values()) == 20


async def test_two_loaders_of_one_journal_count_each_exchange_once(database, other_database):
    await declare(database)
    events = list(a_mix(120))
    ledgers = SqlLedger(database), SqlLedger(other_database)
    batches = [tuple(events[start : start + 30]) for start in range(0, 120, 15)]
    await asyncio.gather(*(ledgers[turn % 2].load("a/1", turn + 1, batch) for turn, batch in enumerate(batches * 2)))
    cells = await rows(database, rollout_cells)
    assert sum(row[0] for row in cells.values()) == 120


async def test_rows_are_bounded_however_many_subjects_there_are(database):
    await declare(database)
    ledger = SqlLedger(database)
    for batch in range(4):
        await ledger.load("a/1", batch + 1, tuple(compared() for _ in range(1000)))
    cells = await rows(database, rollout_cells)
    assert len(cells) <= CLUSTERS
    assert sum(row[0] for row in cells.values()) == 4000
    assert len(await rows(database, rollout_minutes)) == 1


async def test_an_exchange_belongs_to_the_step_in_which_it_began(database):
    await declare(database)
    ledger = SqlLedger(database)
    await ledger.load("a/1", 1, (compared(5.0),))
    await declare(database, step=1, step_unix_s=START_S + 60.5)
    late, next_step = compared(62.4), compared(62.6)
    await ledger.load("a/1", 2, (late, next_step, compared(-1.0)))  # the last: of a run that nobody knows of
    arms = await rows(database, rollout_arms)
    at = SUM_COLUMNS.index("exposures")
    assert at == 0
    assert {(key[1], row[0]): row[4] for key, row in arms.items()} == {
        (span_us(START_S), 0): 2,
        (span_us(START_S + 60.5), 1): 1,
    }


async def test_what_is_not_compared_is_not_counted(database):
    await declare(database)
    events = (
        make_event(),
        compared(arm=""),
        compared(answer_flags=int(AnswerFlag.OVERRIDDEN)),
        compared(rollout="unknown"),
        compared(backend="a\0b"),
        compared(started_unix_ns=2**62 + 1),
    )
    assert await SqlLedger(database).load("a/1", 1, events) == len(events)
    assert await rows(database, rollout_cells) == {}
    assert await rows(database, rollout_arms) == {}


async def test_a_progress_that_cannot_be_read_stops_nothing(database):
    await declare(database)
    ledger = SqlLedger(database)
    await ledger.load("a/1", 1, (compared(5.0),))
    await declare(database, step="of tomorrow")
    assert await ledger.load("a/1", 2, (compared(5.0),)) == 1
    assert sum(row[0] for row in (await rows(database, rollout_cells)).values()) == 2


async def test_measures_are_in_their_columns(database):
    await declare(database)
    await SqlLedger(database).load("a/1", 1, (compared(cost_nanousd=77, output_tokens=5),))
    async with database.read() as connection:
        row = (await connection.execute(select(rollout_cells))).mappings().one()
    assert (row["exposures"], row["cost_nanousd_y"], row["cost_nanousd_x"]) == (1, 77, 1)
    assert (row["time_per_output_token_ms_x"], row["error_rate_y"], row["error_rate_x"]) == (4, 0, 1)
    assert SUM_COLUMNS[2 * INDEX["judge_score"] + 1] == "judge_score_y"
