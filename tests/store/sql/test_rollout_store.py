import random

import msgspec
import pytest

from podium.control.ports import Change
from podium.core.rollouts import Analysis, ArmShare, Progress, Rollout, Step
from podium.delivery.analysis.evidence import Bundle, RevisionNote, arm_record
from podium.delivery.analysis.judge import Evidence, judge
from podium.delivery.analysis.observed import observed_of
from podium.delivery.analysis.report import effects_of
from podium.delivery.analysis.tally import CLUSTERS, Tally, span_us
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.testing.events import make_event
from podium.testing.rollout_sums import BIG_ROLLOUT, big_progress, put_big_rollout

START_S = 1_760_000_000.0
ROLLOUT = Rollout(
    model="m",
    candidate="new",
    steps=(Step(percent=25, minimum_s=1), Step(percent=50, minimum_s=1), Step(percent=100)),
    analysis=Analysis(),
)


def progress(step=0, **changes):
    count = (2500, 5000)[step]
    arms = (
        ArmShare(name="candidate", version="new", first=0, count=count),
        ArmShare(name="baseline", version="old", first=10_000 - count, count=count),
    )
    fields = {
        "phase": "running",
        "before": "old",
        "salt": "s",
        "step": step,
        "arms": arms,
        "started_unix_s": START_S,
        "step_unix_s": START_S + 1000 * step,
    }
    return Progress(**(fields | changes))


async def declare(database, now):
    store = SqlResourceStore(database)
    number, found = await store.current()
    before = next((msgspec.to_builtins(one.spec) for one in found if one.kind == "Progress"), None)
    change = Change("Progress", "r", before, msgspec.to_builtins(now))
    await store.commit(expected=number, author="a", message=f"step {now.step}", changes=(change,))


def exchange(after_s=5.0, **changes):
    fields = {
        "started_unix_ns": int((START_S + after_s) * 1e9),
        "rollout": "r",
        "arm": "candidate",
        "version": "new",
        "subject": f"{random.getrandbits(64):016x}",
        "finish_reason": "stop",
    }
    return make_event(**(fields | changes))


@pytest.fixture
def store(database):
    return SqlRolloutStore(database)


async def test_what_is_observed_is_what_was_loaded(database, store):
    await declare(database, progress())
    chance = random.Random(3)
    events = [
        exchange(
            chance.uniform(3, 900),
            arm=chance.choice(["candidate", "baseline"]),
            backend=chance.choice(["p/a", "p/b"]),
            cost_nanousd=chance.randrange(10**6),
            first_byte_ns=chance.randrange(10**6, 10**9),
        )
        for _ in range(600)
    ]
    for start in range(0, 600, 100):
        await SqlLedger(database).load("a/1", start + 1, tuple(events[start : start + 100]))
    tally = Tally()
    for event in events:
        tally.add(event, span_us(START_S))
    seen, wanted = await store.observe("r", ROLLOUT, progress()), observed_of(tally)
    assert seen.arms == wanted.arms
    assert seen.backends == wanted.backends == {"candidate": ("p/a", "p/b"), "baseline": ("p/a", "p/b")}
    for arm in ("candidate", "baseline"):
        for measure in ("error_rate", "ttft_ms", "cost_nanousd", "call_wait_ms"):
            one, other = seen.sums(arm, measure), wanted.sums(arm, measure)
            assert (one.n, one.total_x) == (other.n, other.total_x)
            assert one.ratio == pytest.approx(other.ratio, rel=1e-12)
            assert one.yy == pytest.approx(other.yy, rel=1e-9)
    assert (await store.observe("other", ROLLOUT, progress())).arms == ()
    later = progress(started_unix_s=START_S + 950, step_unix_s=START_S + 950)
    assert (await store.observe("r", ROLLOUT, later)).arms == ()  # another run


async def test_steps_with_equal_shares_are_read_together(database, store):
    ledger = SqlLedger(database)
    await declare(database, progress())
    await ledger.load("a/1", 1, tuple(exchange(subject="s", cost_nanousd=1) for _ in range(3)))
    await declare(database, progress(1))
    await ledger.load("a/1", 2, tuple(exchange(1010.0, subject="s", cost_nanousd=10) for _ in range(2)))
    seen = await store.observe("r", ROLLOUT, progress(1))
    assert [(arm.step, arm.exchanges) for arm in seen.arms] == [(0, 3), (1, 2)]
    sums = seen.sums("candidate", "cost_nanousd")
    assert (sums.n, sums.y, sums.x) == (1, 23, 5)


async def test_the_course_and_the_quantiles_are_told(database, store):
    await declare(database, progress())
    events = [
        exchange(2.0 + number, first_byte_ns=(100 if number % 10 else 2000) * 10**6, stream=True)
        for number in range(900)
    ]
    await SqlLedger(database).load("a/1", 1, tuple(events))
    points = await store.timeline("r", progress())
    assert sum(point.exchanges for point in points) == 900
    assert [point.unix_s for point in points] == sorted({point.unix_s for point in points})
    assert 15 <= len(points) <= 16
    assert points[3].measures["error_rate"] == 0
    assert 100 < points[3].measures["ttft_ms"] < 200
    assert "judge_score" not in points[3].measures
    told = await store.quantiles("r", progress())
    assert told["candidate"]["ttft_ms"]["p50"] == pytest.approx(100, rel=0.07)
    assert told["candidate"]["ttft_ms"]["p99"] == pytest.approx(2000, rel=0.07)
    assert await store.timeline("x", progress()) == ()
    assert await store.quantiles("x", progress()) == {}


async def test_a_long_course_has_few_points(database, store):
    await declare(database, progress())
    days = [exchange(2.0 + 3600 * hour) for hour in range(700)]
    await SqlLedger(database).load("a/1", 1, tuple(days))
    points = await store.timeline("r", progress())
    assert len(points) <= 200
    assert sum(point.exchanges for point in points) == 700


async def test_evidence_is_read_back_whole_and_kept_once(database, store):
    await declare(database, progress())
    events = tuple(exchange(3 + number / 50, arm=("candidate", "baseline")[number % 2]) for number in range(400))
    await SqlLedger(database).load("a/1", 1, events)
    observed = await store.observe("r", ROLLOUT, progress())
    quantiles = await store.quantiles("r", progress())
    verdict = judge(ROLLOUT, progress(), Evidence(observed), START_S + 60)
    bundle = Bundle(
        name="r",
        decided_unix_s=START_S + 60.25,
        happening="step_done",
        reason=verdict.reason,
        detail=verdict.detail,
        rollout=ROLLOUT,
        progress=progress(),
        verdict=verdict,
        digests={"new": "abc", "old": "def"},
        arms=tuple(arm_record(seen, quantiles[seen.name]) for seen in observed.arms),
        metrics=effects_of(ROLLOUT, progress(), observed),
        timeline=await store.timeline("r", progress()),
        revisions=(RevisionNote(number=1, author="a", message="m", created_unix_s=1.5),),
    )
    key = await store.keep_evidence(bundle)
    assert await store.keep_evidence(bundle) == key
    other = await store.keep_evidence(msgspec.structs.replace(bundle, decided_unix_s=START_S + 90))
    assert len(key) == 64
    assert await store.evidence(key) == bundle
    assert await store.evidence("0" * 64) is None
    assert [one for one, _ in await store.evidence_of("r")] == [other, key]
    assert {one.name for one in bundle.metrics} >= {"error_rate", "ttft_ms", "cost_nanousd", "input_tokens"}


async def test_sums_of_old_runs_can_be_forgotten(database, store):
    await declare(database, progress())
    await SqlLedger(database).load("a/1", 1, (exchange(),))
    await store.forget_sums("r", span_us(START_S))
    assert (await store.observe("r", ROLLOUT, progress())).cells != ()
    await store.forget_sums("r", span_us(START_S) + 1)
    seen = await store.observe("r", ROLLOUT, progress())
    assert (seen.arms, seen.cells) == ((), ())


async def test_of_ten_million_exchanges_a_look_reads_few_rows(database, store):
    now_s = await put_big_rollout(database, "big", 10_000_000, backends=2)
    seen = await store.observe("big", BIG_ROLLOUT, big_progress())
    assert len(seen.cells) == 2 * 2 * CLUSTERS
    assert sum(arm.exchanges for arm in seen.arms) == pytest.approx(10_000_000, abs=6)
    verdict = judge(BIG_ROLLOUT, big_progress(), Evidence(seen), now_s)
    assert (verdict.outcome, verdict.reason) == ("success", "seen_enough")
    assert verdict.metrics[0].samples == pytest.approx(5_000_000, rel=0.01)
