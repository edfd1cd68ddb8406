import random

import msgspec
import pytest
from sqlalchemy import insert, select, text

from podium.core.experiments import Adaptive, Experiment, NamedSegment
from podium.core.records import FeedbackRecord
from podium.core.rollouts import Arm, Progress, Rollout
from podium.delivery.analysis.observed import Cell
from podium.delivery.analysis.tally import Tally, span_us
from podium.delivery.buckets import arms_at
from podium.delivery.experiments.evening import even_factors, weighed
from podium.delivery.experiments.segments import MOST_VALUES
from podium.delivery.experiments.tenants import MOST_TENANTS
from podium.store.sql.experiment_store import SqlExperimentStore
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.store.sql.rollout_tables import rollout_segments, rollout_tenants
from podium.store.sql.tables import api_keys, resources
from podium.testing.events import make_event

START_S = 1_760_000_000.0
DESIGN = Experiment(hypothesis="h", primary="cost_nanousd", effect=-0.1, samples=100)
PLAN = Rollout(
    model="m",
    strategy="ab",
    arms=(Arm(name="a", version="va"), Arm(name="b", version="vb")),
    experiment=DESIGN,
)
ADAPTIVE = msgspec.structs.replace(PLAN, experiment=msgspec.structs.replace(DESIGN, adaptive=Adaptive()))
SPANS = (START_S, START_S + 100, START_S + 200)


def progress(step_s=START_S, **changes):
    fields = {"arms": arms_at(PLAN, 0, "va"), "started_unix_s": START_S, "step_unix_s": step_s, "design": "d" * 64}
    return Progress(**({"phase": "running", "before": "va", "salt": "s"} | fields | changes))


@pytest.fixture
def store(database):
    return SqlExperimentStore(database)


@pytest.fixture
def load(database):
    """Say where the experiment stands, then load events."""
    ledger, positions = SqlLedger(database), iter(range(1, 1000))

    async def run(events, opinions=(), **changes):
        spec = msgspec.json.encode(progress(**changes)).decode()
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM resources WHERE kind = 'Progress' AND name = 'x'"))
            await connection.execute(insert(resources).values(kind="Progress", name="x", spec=spec, revision=1))
        await ledger.load("a/1", next(positions), tuple(events), tuple(opinions))

    return run


def exchanges(count, *, at_s=3.0, share=0.5, seed=1, **changes):
    chance = random.Random(f"{seed}{at_s}")
    for number in range(count):
        subject = chance.randrange(200)
        yield make_event(
            **{
                "started_unix_ns": int((START_S + at_s + number / 100) * 1e9),
                "rollout": "x",
                "arm": "b" if chance.random() < share else "a",
                "subject": f"{subject:016x}",
                "tenant": f"t{subject % 3}",
                "backend": chance.choice(["p/a", "p/b"]),
                "cost_nanousd": chance.randrange(10**6),
            }
            | changes
        )


async def three_spans(load):
    """Shares that change; all events."""
    seen = []
    for at_s, share in ((3, 0.2), (103, 0.5), (203, 0.8)):
        events = list(exchanges(200, at_s=at_s, share=share))
        await load(events, step_s=START_S + at_s - 3)
        seen += events
    return seen


async def test_the_database_weighs_as_memory_does(store, load):
    events = await three_spans(load)
    tally = Tally()
    for event in events:
        number = int((event.started_unix_ns / 1e9 - START_S) // 100)
        tally.add(event, span_us(SPANS[number]))
    cells = [(key.span_us, Cell(key.arm, key.backend, key.cluster, tuple(row))) for key, row in tally.cells.items()]
    arms = await store.arms_seen("x", progress(SPANS[-1]))
    factors = even_factors(arms, {"a", "b"})

    assert len(factors) == 6
    wanted = weighed(cells, factors)
    found = await store.cells("x", factors)
    assert [cell[:3] for cell in map(place, found)] == [cell[:3] for cell in map(place, wanted)]
    for one, other in zip(found, wanted, strict=True):
        assert one.totals == pytest.approx(other.totals)
    assert await store.cells("x", {}) == ()


def place(cell):
    return cell.arm, cell.backend, cell.cluster


async def test_adaptive_experiments_are_evened_and_others_are_not(store, load, database):
    await three_spans(load)
    now = progress(SPANS[-1])
    evened = await store.observe("x", ADAPTIVE, now)
    plain = await store.observe("x", PLAN, now)

    assert plain == await SqlRolloutStore(database).observe("x", PLAN, now)
    assert {len(seen.arms) for seen in (evened, plain)} == {6}
    for arm in "ab":
        everything = sum(seen.exchanges for seen in evened.arms if seen.name == arm)
        assert evened.sums(arm, "cost_nanousd").total_x == pytest.approx(everything, rel=1e-4)


async def test_an_ended_experiment_is_read_as_before(store, load):
    await three_spans(load)
    running, ended = progress(SPANS[-1]), progress(SPANS[-1], arms=(), phase="aborted")

    assert await store.observe("x", ADAPTIVE, ended) == await store.observe("x", ADAPTIVE, running)


async def test_whole_runs_and_pairs_of_arms_are_read_too(store, load):
    await three_spans(load)
    now = progress(SPANS[-1])
    whole = await store.observe_whole("x", now)
    pair = await store.observe_even("x", now, ("a", "b"))

    counts = {arm: sum(seen.exchanges for seen in whole.arms if seen.name == arm) for arm in "ab"}
    assert {arm: whole.exposures(arm)[0] for arm in "ab"} == counts
    assert pair == await store.observe("x", ADAPTIVE, now)
    assert (await store.observe_even("x", now, ("a", "nobody"))).cells == ()


async def test_tenants_add_up_to_the_arms(store, load):
    events = list(exchanges(300))
    await load(events[:200])
    await load(events[100:])  # a hundred twice
    tenants, note = await store.tenants("x", PLAN, progress())
    whole = await store.observe("x", PLAN, progress())

    assert (sorted(tenants), note) == (["t0", "t1", "t2"], "")
    for arm in "ab":
        parts = [tenants[name]["b"].sums(arm, "cost_nanousd") for name in tenants]
        everything = whole.sums(arm, "cost_nanousd")
        assert sum(part.total_x for part in parts) == everything.total_x
        assert sum(part.total_y for part in parts) == pytest.approx(everything.total_y)


async def test_opinions_are_counted_for_the_tenant(store, load):
    (event,) = exchanges(1, request_id="liked", arm="a", tenant="t0")
    said = {"id": b"o" * 16, "given_unix_s": START_S, "tenant": "t0", "key_id": "k", "request_id": "liked"}
    await load([event], [FeedbackRecord(**said, exchange_id=b"", thumbs=1.0)])
    tenants, _ = await store.tenants("x", PLAN, progress())

    assert tenants["t0"]["b"].sums("a", "thumbs_up_rate").total_y == 1


async def test_tenants_of_adaptive_experiments_are_evened(store, load):
    await three_spans(load)
    tenants, _ = await store.tenants("x", ADAPTIVE, progress(SPANS[-1]))
    pair = await store.observe_even("x", progress(SPANS[-1]), ("a", "b"))

    assert tenants["t0"].keys() == {"b"}
    parts = [tenants[name]["b"].sums("a", "cost_nanousd").total_y for name in tenants]
    assert sum(parts) == pytest.approx(pair.sums("a", "cost_nanousd").total_y)


async def test_beyond_so_many_tenants_the_others_are_counted_together(store, load):
    first = [event for number in range(MOST_TENANTS + 5) for event in exchanges(1, seed=number, tenant=f"t{number:03}")]
    await load(first)
    await load(exchanges(3, at_s=9, tenant="late"))
    await load(exchanges(2, at_s=12, tenant="t000"))
    tenants, note = await store.tenants("x", PLAN, progress())

    assert len(tenants) == MOST_TENANTS + 1
    assert "late" not in tenants
    assert "(all others)" in note
    others = tenants["(all others)"]["b"]
    assert sum(others.sums(arm, "cost_nanousd").total_x for arm in "ab") == 5 + 3
    known = tenants["t000"]["b"]
    assert sum(known.sums(arm, "cost_nanousd").total_x for arm in "ab") == 1 + 2


async def test_rollouts_without_a_design_are_not_counted_by_tenant(load, database):
    await load(exchanges(20), design="")
    async with database.read() as connection:
        assert (await connection.execute(select(rollout_tenants))).all() == []
        assert (await connection.execute(select(rollout_segments))).all() == []


async def declare(database, *segments):
    design = msgspec.structs.replace(DESIGN, segments=segments)
    spec = msgspec.json.encode(msgspec.structs.replace(PLAN, experiment=design)).decode()
    rows = [("Rollout", "x", spec), ("Tenant", "t0", '{"tier": "gold"}'), ("Tenant", "t1", "{}")]
    async with database.write() as connection:
        for kind, name, text_of in rows:
            await connection.execute(insert(resources).values(kind=kind, name=f"{name}", spec=text_of, revision=1))
        entry = '{"id":"k1","tenant":"t1","name":"n","secrets":[],"tier":"gold"}'
        key = {"id": "k1", "tenant": "t1", "entry": entry, "created_unix_s": 0.0, "created_by": "ann"}
        await connection.execute(insert(api_keys).values(**key))


async def test_parts_of_the_subjects_add_up_to_the_arms(store, load):
    events = [
        msgspec.structs.replace(event, key_id=f"k{number % 3}", tags=f"region=r{number % 2}")
        for number, event in enumerate(exchanges(300))
    ]
    await load(events[:200])
    await load(events[100:])  # a hundred twice
    places, note = await store.segments("x", PLAN, progress())
    whole = await store.observe("x", PLAN, progress())

    assert sorted(places) == [
        *(("key", f"k{number}") for number in range(3)),
        ("tag", "region=r0"),
        ("tag", "region=r1"),
    ]
    assert note == ""
    for kind in ("key", "tag"):
        for arm in "ab":
            parts = [seen["b"].sums(arm, "cost_nanousd") for (of, _), seen in places.items() if of == kind]
            everything = whole.sums(arm, "cost_nanousd")
            assert sum(part.total_x for part in parts) == everything.total_x
            assert sum(part.total_y for part in parts) == pytest.approx(everything.total_y)
    assert places["key", "k1"]["b"].sums("a", "output_tokens").n == 0  # no report shows it


async def test_named_segments_go_by_tiers_of_keys_else_of_tenants(store, load, database):
    await declare(database, NamedSegment(name="gold", tiers=("gold",)), NamedSegment(name="r1", tags=("region=r1",)))
    callers = [("t0", "k0"), ("t1", "k1"), ("t1", "k2"), ("t2", "k3")]
    for number, (tenant, key) in enumerate(callers):
        await load(exchanges(5, seed=number, tenant=tenant, key_id=key, tags=f"region=r{number % 2}"))
    places, _ = await store.segments("x", PLAN, progress())
    sizes = {
        name: sum(cell.totals[0] for cell in seen["b"].cells)
        for (kind, name), seen in places.items()
        if kind == "segment"
    }

    assert sizes == {"gold": 10, "r1": 10}


async def test_opinions_are_counted_for_the_parts_too(store, load):
    liked = msgspec.structs.replace(
        PLAN, experiment=msgspec.structs.replace(DESIGN, primary="thumbs_up_rate", effect=0.1)
    )
    (event,) = exchanges(1, request_id="liked", arm="a", tenant="t0", tags="team=a")
    said = {"id": b"o" * 16, "given_unix_s": START_S, "tenant": "t0", "key_id": "k", "request_id": "liked"}
    await load([event], [FeedbackRecord(**said, exchange_id=b"", thumbs=1.0)])
    places, _ = await store.segments("x", liked, progress())

    assert places["tag", "team=a"]["b"].sums("a", "thumbs_up_rate").total_y == 1


async def test_parts_of_adaptive_experiments_are_evened(store, load):
    await three_spans(load)
    places, _ = await store.segments("x", ADAPTIVE, progress(SPANS[-1]))
    pair = await store.observe_even("x", progress(SPANS[-1]), ("a", "b"))

    (key,) = places
    assert places[key].keys() == {"b"}
    for arm in "ab":
        parts, whole = (one.sums(arm, "cost_nanousd") for one in (places[key]["b"], pair))
        assert parts.total_y == pytest.approx(whole.total_y)


async def test_beyond_so_many_keys_the_others_are_counted_together(store, load):
    await load(
        [event for number in range(MOST_VALUES + 5) for event in exchanges(1, seed=number, key_id=f"k{number:03}")]
    )
    await load(exchanges(3, at_s=9, key_id="late"))
    await load(exchanges(2, at_s=12, key_id="k000"))
    places, note = await store.segments("x", PLAN, progress())
    sizes = {name: sum(cell.totals[0] for cell in seen["b"].cells) for (_, name), seen in places.items()}

    assert len(sizes) == MOST_VALUES + 1
    assert (sizes["(all others)"], sizes["k000"]) == (5 + 3, 1 + 2)
    assert f"the first {MOST_VALUES} values" in note


async def test_sums_of_an_earlier_run_are_forgotten_with_whom_they_listed(store, load, database):
    await load(exchanges(20, tenant="old"))
    await load(exchanges(20, at_s=103, tenant="new"), step_s=SPANS[1], started_unix_s=SPANS[1])
    await store.forget_sums("x", span_us(SPANS[1]))
    async with database.read() as connection:
        of = rollout_tenants.c
        left = (await connection.execute(select(of.tenant, of.span_us).distinct())).all()
        spans = (await connection.execute(select(rollout_segments.c.span_us).distinct())).scalars().all()

    assert spans == [span_us(SPANS[1])]

    assert [tuple(row) for row in left] == [("new", span_us(SPANS[1]))]
    await load(exchanges(2, at_s=120, tenant="new"), step_s=SPANS[1], started_unix_s=SPANS[1])
    await store.forget_sums("x", span_us(SPANS[1]))  # at every decision: nothing is old any more
    tenants, _ = await store.tenants("x", PLAN, progress(SPANS[1], started_unix_s=SPANS[1]))
    assert sum(tenants["new"]["b"].sums(arm, "cost_nanousd").total_x for arm in "ab") == 22


async def test_recent_exchanges_are_those_of_the_names_since_then(store, load, monkeypatch):
    await load([*exchanges(5, model="m"), *exchanges(4, at_s=50, model="alias"), *exchanges(3, at_s=60, model="other")])

    assert len(await store.recent(("m", "alias"), START_S)) == 9
    assert {event.model for event in await store.recent(("m", "alias"), START_S + 40)} == {"alias"}
    assert await store.recent(("nobody",), START_S) == ()
    monkeypatch.setattr("podium.store.sql.experiment_store._MOST_RECENT", 2)
    assert len(await store.recent(("m", "alias"), START_S)) == 2
    monkeypatch.setattr("podium.store.sql.experiment_store._MOST_SCANNED", 3)
    assert await store.recent(("m", "alias"), START_S) == ()  # the newest three are another model's
