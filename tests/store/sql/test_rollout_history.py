"""History is read once, in bounded batches, from the newest exchange before the start backwards."""

import asyncio
import random
import time

import msgspec
import pytest
from sqlalchemy import func, insert, select

from podium.control.ports import Change
from podium.control.rollouts.standing import Standing, Standings
from podium.core.experiments import Adaptive, Experiment
from podium.core.rollouts import Arm, Progress, Rollout
from podium.delivery.analysis.history import HISTORY_MEASURES, HistoryTally, stripes_of
from podium.delivery.analysis.observed import Observed, run_us
from podium.delivery.analysis.tally import CLUSTERS
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.buckets import arms_at
from podium.delivery.choose import Chooser
from podium.store.sql import rollout_history as reading
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_analyst import SqlAnalyst
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.store.sql.rollout_tables import HISTORY_COLUMNS, rollout_history, rollout_history_read
from podium.store.sql.tables import resources
from podium.testing.events import make_event
from podium.testing.rollout_sums import BIG_ROLLOUT, big_progress, put_big_rollout

START_S = 1_760_000_000.0
DAY_S = 86_400.0
DESIGN = Experiment(
    hypothesis="h", primary="output_tokens", higher_is_better=False, effect=-0.1, samples=100, at_most_s=2 * DAY_S
)
PLAN = Rollout(
    model="m",
    strategy="ab",
    arms=(Arm(name="a", version="va"), Arm(name="b", version="vb")),
    experiment=DESIGN,
)
MODELS = ("m", "other-name")


def progress(**changes):
    fields = {"arms": arms_at(PLAN, 0, "va"), "started_unix_s": START_S, "step_unix_s": START_S, "design": "d" * 64}
    return Progress(**({"phase": "running", "before": "va", "salt": "s"} | fields | changes))


@pytest.fixture
def store(database):
    return SqlRolloutStore(database)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 64)


@pytest.fixture
def load(database):
    ledger, positions = SqlLedger(database), iter(range(1, 1000))

    async def run(events):
        await ledger.load("a/1", next(positions), tuple(events))

    return run


@pytest.fixture
async def running(database):
    """Its spans are known, so that exchanges of it are counted."""
    spec = msgspec.json.encode(progress()).decode()
    async with database.write() as connection:
        await connection.execute(insert(resources).values(kind="Progress", name="x", spec=spec, revision=1))


def old(count, *, seed=1, **changes):
    chance = random.Random(seed)
    for number in range(count):
        user = chance.randrange(400)
        yield make_event(
            **{
                "started_unix_ns": int((START_S - 120 - number * 10) * 1e9),
                "tenant": f"t{user % 3}",
                "user": f"u{user}",
                "model": chance.choice(["m", "other-name"]),
                "output_tokens": chance.randrange(50) + user,
            }
            | changes
        )


def new(count, *, seed=2):
    chance, chooser = random.Random(seed), Chooser("x", PLAN, progress())
    for number in range(count):
        user = chance.randrange(400)
        tenant = f"t{user % 3}"
        chosen, subject = chooser.choose(tenant, "k00000000001", f"u{user}", "", "", "")
        yield make_event(
            started_unix_ns=int((START_S + 3 + number / 100) * 1e9),
            tenant=tenant,
            user=f"u{user}",
            model="m",
            rollout="x",
            arm=chosen.arm,
            subject=subject,
            output_tokens=chance.randrange(50) + user,
        )


async def read_all(store, now=None, plan=PLAN):
    """Batch by batch; how many there were."""
    for number in range(1, 200):
        if not await reading.read_history(store._database, "x", plan, now or progress(), MODELS):
            return number
    raise AssertionError("it never ends")


async def kept(database):
    of = rollout_history.c
    async with database.read() as connection:
        found = await connection.execute(select(of.first_bucket, of.cluster, *(of[name] for name in HISTORY_COLUMNS)))
        return {(row[0], row[1]): list(row[2:]) for row in found}


async def state(database):
    async with database.read() as connection:
        return (await connection.execute(select(rollout_history_read))).mappings().one()


@pytest.mark.usefixtures("small_batches")
async def test_batches_add_up_to_what_memory_says(database, store, load):
    events = list(old(500))
    await load([*events, *old(60, seed=5, model="another")])
    batches = await read_all(store)
    tally = HistoryTally(PLAN, progress())
    for event in events:
        tally.add(event)
    found = await kept(database)

    assert batches >= 560 / 64
    assert found.keys() == tally.rows.keys()
    for key, row in tally.rows.items():
        assert found[key] == pytest.approx(row)
    told = await state(database)
    assert (told["exchanges"], told["complete"]) == (500, True)
    assert 560 <= told["looked_through"] <= 560 + batches  # the last one of a batch is seen again
    assert await read_all(store) == 1  # and nothing twice
    assert (await state(database))["exchanges"] == 500


async def test_only_the_period_before_the_start_counts(database, store, load):
    too_old = START_S - 60 - 2 * DAY_S - 1
    times = [too_old, too_old + 2, START_S - 61, START_S - 59, START_S, START_S + 5]
    await load([make_event(model="m", started_unix_ns=int(at_s * 1e9)) for at_s in times])
    await read_all(store)

    assert (await state(database))["exchanges"] == 2


@pytest.mark.usefixtures("small_batches")
async def test_exchanges_of_one_nanosecond_are_not_lost_between_batches(database, store, load):
    same = [int((START_S - 200 - number // 50) * 1e9) for number in range(300)]
    await load([make_event(model="m", user=f"u{number}", started_unix_ns=at) for number, at in enumerate(same)])
    await read_all(store)

    assert (await state(database))["exchanges"] == 300


@pytest.mark.usefixtures("small_batches")
async def test_two_that_read_at_once_count_nothing_twice(database, other_database, store, load):
    await load(old(400))
    await asyncio.gather(read_all(store), read_all(SqlRolloutStore(other_database)))

    assert (await state(database))["exchanges"] == 400
    requests = HISTORY_MEASURES.index("error_rate") * 2 + 1
    assert sum(row[requests] for row in (await kept(database)).values()) == 400


async def test_it_ends_where_enough_is_known(database, store, load, monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 50)
    monkeypatch.setattr(reading, "MOST_COUNTED", 120)
    await load(old(400))
    assert await read_all(store) == 3
    told = await state(database)

    assert (told["complete"], told["exchanges"]) == (True, pytest.approx(150, abs=5))
    assert told["reached_unix_ns"] > (START_S - 60 - DAY_S) * 1e9


@pytest.mark.usefixtures("running")
async def test_a_look_reads_history_beside_the_sums(database, store, load):
    await load(old(1500))
    await load(new(1500))
    assert (await store.observe("x", PLAN, progress())).past is None
    await store.read_history("x", PLAN, progress(), MODELS)
    found = await store.observe("x", PLAN, progress())

    assert found.past.complete
    assert (found.past.exchanges, found.past.until_unix_s) == (1500, START_S - 60)
    for arm in "ab":
        with_history, without = (one.sums(arm, "output_tokens") for one in (found, Observed(found.arms, found.cells)))
        related = with_history.zy**2 / with_history.zz / with_history.yy
        assert related > 0.3
        assert (with_history.n, with_history.yy) == (without.n, without.yy)


@pytest.mark.usefixtures("running")
async def test_where_subjects_cannot_be_told_nothing_is_read(database, store, load):
    await load(old(100))
    adaptive = msgspec.structs.replace(PLAN, experiment=msgspec.structs.replace(DESIGN, adaptive=Adaptive()))
    by_session = msgspec.structs.replace(PLAN, sticky_by=("session", "key"))
    for plan in (adaptive, by_session):
        await store.read_history("x", plan, progress(), MODELS)
        assert (await store.observe("x", plan, progress())).past is None
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(rollout_history_read)) == 0


async def test_history_of_earlier_runs_is_forgotten(database, store, load):
    await load(old(50))
    await read_all(store)
    later = progress(started_unix_s=START_S + 100)
    await read_all(store, later)
    await store.forget_sums("x", run_us(later))
    async with database.read() as connection:
        for table in (rollout_history, rollout_history_read):
            runs = (await connection.execute(select(table.c.span_us).distinct())).scalars().all()
            assert runs == [run_us(later)]


async def test_a_look_over_ten_million_exchanges_goes_by_all_history_within_a_second(database, store):
    now_s = await put_big_rollout(database, "big", 10_000_000)
    run, chance = run_us(big_progress()), random.Random(1)
    rows = [
        {"rollout": "big", "span_us": run, "first_bucket": first, "cluster": cluster}
        | {name: chance.uniform(90, 110) for name in HISTORY_COLUMNS}
        for first in stripes_of(BIG_ROLLOUT, "old")
        for cluster in range(CLUSTERS)
    ]
    read = {"until_unix_ns": 2, "reached_unix_ns": 1, "looked_through": 9, "exchanges": 10**6, "complete": True}
    async with database.write() as connection:
        await connection.execute(insert(rollout_history), rows)
        await connection.execute(insert(rollout_history_read).values(rollout="big", span_us=run, **read))
    analyst = SqlAnalyst(store, SqlResourceStore(database), lambda: 0.0)
    standing, took_s = Standing(1, "big", BIG_ROLLOUT, big_progress(), {}), []
    for _ in range(3):  # others may want the processor, too
        began = time.perf_counter()
        judgement = await analyst.judge(standing, now_s)
        took_s.append(time.perf_counter() - began)

    assert judgement.enough
    verdict = msgspec.json.decode(judgement.body, type=Verdict)
    assert all(result.variance_reduction is not None for result in verdict.metrics if result.name == "ttft_ms")
    assert min(took_s) < 1


async def test_judging_reads_on_by_the_names_of_the_model(database, store, load):
    standing = await declared(database)
    await load(old(200))
    analyst = SqlAnalyst(store, SqlResourceStore(database), lambda: 0.0)
    await analyst.judge(standing, START_S + 30)

    assert (await state(database))["exchanges"] == 200


async def declared(database):
    changes = [
        ("Version", "va", {"backends": [{"provider": "p", "model": "a"}]}),
        ("Version", "vb", {"backends": [{"provider": "p", "model": "b"}]}),
        ("Model", "m", {"version": "va", "aliases": ["other-name"]}),
        ("Rollout", "x", msgspec.to_builtins(PLAN)),
        ("Progress", "x", msgspec.to_builtins(progress())),
    ]
    store = SqlResourceStore(database)
    made = tuple(Change(kind, name, None, spec) for kind, name, spec in changes)
    await store.commit(expected=0, author="ann", message="begin", changes=made)
    return await Standings(store).one("x")
