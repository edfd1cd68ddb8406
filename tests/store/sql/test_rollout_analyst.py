from dataclasses import replace

import msgspec
import pytest

from podium.control.ports import Change
from podium.control.rollouts.ports import Judgement
from podium.control.rollouts.standing import Standings
from podium.core.event import AnswerFlag
from podium.core.rollouts import Analysis, Metric, Rollout, Step
from podium.delivery.buckets import arms_at
from podium.delivery.digest import version_digest
from podium.delivery.phases import Happening
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_analyst import SqlAnalyst
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.testing.events import make_event

START_S = 1_760_000_000.0
STEPS = (Step(percent=50, minimum_s=5, minimum_samples=20), Step(percent=100))
ROLLOUT = Rollout(model="m", candidate="new", steps=STEPS)
BACKENDS = [{"provider": "p", "model": "a"}, {"provider": "p", "model": "b"}]


def declared(*, weight=1):
    progress = {
        "phase": "running",
        "before": "old",
        "salt": "s",
        "arms": msgspec.to_builtins(arms_at(ROLLOUT, 0, "old")),
        "started_unix_s": START_S,
        "step_unix_s": START_S,
    }
    backends = [BACKENDS[0], BACKENDS[1] | {"weight": weight}]
    yield "Version", "new", {"backends": backends, "system_prompt": "new"}
    yield "Version", "old", {"backends": BACKENDS}
    yield "Model", "m", {"version": "old"}
    yield "Rollout", "r", msgspec.to_builtins(ROLLOUT)
    yield "Progress", "r", progress


@pytest.fixture
def resources(database):
    return SqlResourceStore(database)


@pytest.fixture
async def standing(resources):
    changes = tuple(Change(kind, name, None, spec) for kind, name, spec in declared())
    await resources.commit(expected=0, author="ann", message="begin", changes=changes)
    return await Standings(resources).one("r")


@pytest.fixture
def store(database):
    return SqlRolloutStore(database)


def exchanges(*, bad_backend=None, bad=False):
    for number in range(600):
        candidate, backend = number % 2 == 0, ("p/a", "p/b")[number // 2 % 2]
        empty = candidate and (bad or backend == bad_backend) and number % 3 == 0
        yield make_event(
            started_unix_ns=int((START_S + 3 + number / 20) * 1e9),
            rollout="r",
            arm="candidate" if candidate else "baseline",
            version="new" if candidate else "old",
            backend=backend,
            subject=f"s{number % 300}",
            finish_reason="stop",
            answer_flags=int(AnswerFlag.EMPTY) if empty else 0,
        )


async def test_a_good_candidate_has_had_enough(database, standing, store, resources):
    analyst = SqlAnalyst(store, resources, lambda: 0.5)
    assert (await analyst.judge(standing, START_S + 3)).reason == "too_early"
    assert (await analyst.judge(standing, START_S + 33)).reason == "too_few_samples"
    await SqlLedger(database).load("a/1", 1, tuple(exchanges()))
    told = await analyst.judge(standing, START_S + 33)
    assert (told.verdict, told.enough, told.happening, told.bad_backend) == ("success", True, None, None)


async def test_a_bad_candidate_fails_and_the_evidence_says_why(database, standing, store, resources):
    await SqlLedger(database).load("a/1", 1, tuple(exchanges(bad=True)))
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    told = await analyst.judge(standing, START_S + 33)
    assert (told.verdict, told.enough, told.happening) == ("failed", False, Happening.FAILED)
    key = await analyst.keep(standing, told, "failed", START_S + 33)
    assert await analyst.keep(standing, told, "failed", START_S + 33) == key
    bundle = await store.evidence(key)
    (worse,) = (one for one in bundle.verdict.metrics if one.decision == "worse")
    assert (worse.name, worse.reference) == ("empty_rate", 0)
    assert worse.lower > worse.margin == 0.01
    assert worse.samples == worse.reference_samples == 300
    assert (bundle.name, bundle.happening, bundle.reason) == ("r", "failed", "metric_worse")
    assert (bundle.rollout, bundle.progress) == (ROLLOUT, standing.progress)
    assert bundle.digests == {name: version_digest(standing.version(name)) for name in ("new", "old")}
    assert {arm.name: arm.counts["exchanges"] for arm in bundle.arms} == {"candidate": 300, "baseline": 300}
    assert bundle.arms[0].quantiles_ms["ttft_ms"]["p50"] == pytest.approx(90, rel=0.07)
    assert sum(point.exchanges for point in bundle.timeline) == 600
    assert {one.name for one in bundle.metrics} >= {"empty_rate", "cost_nanousd"}
    # Its revision was written now, long after the run began.
    assert [(note.number, note.author, note.message) for note in bundle.revisions] == [(1, "ann", "begin")]


async def test_a_bad_backend_is_named_until_it_is_taken_out(database, standing, store, resources):
    await SqlLedger(database).load("a/1", 1, tuple(exchanges(bad_backend="p/b")))
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    told = await analyst.judge(standing, START_S + 33)
    assert (told.verdict, told.happening, told.enough) == ("running", None, False)
    assert (told.bad_backend.version, told.bad_backend.backend) == ("new", "p/b")
    assert "`p/b`" in told.bad_backend.detail
    before, after = (next(spec for _, name, spec in declared(weight=weight) if name == "new") for weight in (1, 0))
    change = Change("Version", "new", before, after)
    await resources.commit(expected=1, author="podium", message="taken out", changes=(change,))
    without = await analyst.judge(await Standings(resources).one("r"), START_S + 33)
    assert (without.verdict, without.bad_backend) == ("success", None)


async def test_a_ledger_that_is_behind_is_an_error(standing, store, resources):
    told = await SqlAnalyst(store, resources, lambda: 61.0).judge(standing, START_S + 33)
    assert (told.verdict, told.happening) == ("error", Happening.ERROR)


async def test_what_was_decided_without_an_analysis_is_kept_too(standing, store, resources):
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    burst = Judgement(verdict="failed", reason="burst", detail="gateway-0: 10 failures in a row")
    bundle = await store.evidence(await analyst.keep(standing, burst, "burst", START_S + 4))
    assert (bundle.verdict, bundle.detail, bundle.arms) == (None, "gateway-0: 10 failures in a row", ())


async def test_once_everybody_has_it_the_report_is_of_the_last_step_that_compared(database, standing, store, resources):
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    await SqlLedger(database).load("a/1", 1, tuple(exchanges(bad=True)))
    before = {one.name: one for one in await analyst.report(standing)}
    assert before["empty_rate"].lower > 0
    step = msgspec.structs.replace(
        standing.progress, step=1, step_unix_s=START_S + 100.123456, arms=arms_at(ROLLOUT, 1, "old")
    )
    for number, now in enumerate((step, msgspec.structs.replace(step, phase="promoted", arms=())), 1):
        change = Change("Progress", "r", {}, msgspec.to_builtins(now))
        await resources.commit(expected=number, author="ann", message="on", changes=(change,))
        event = make_event(started_unix_ns=int((START_S + 110) * 1e9), rollout="r", arm="candidate", subject="s")
        await SqlLedger(database).load("a/1", number + 1, (event,))
        later = await Standings(resources).one("r")
        assert {one.name: one for one in await analyst.report(later)} == before


BLUE_GREEN = Rollout(model="m", candidate="new", strategy="blue_green", steps=(Step(percent=100, minimum_s=5),))
SWITCH_S = START_S + 60


@pytest.fixture
def switch(database, resources):
    """A blue-green rollout a minute after it began: everybody has the new version from now on."""

    async def after(*exchanges_before):
        changes = [
            Change(kind, name, None, spec) for kind, name, spec in declared() if kind not in ("Rollout", "Progress")
        ]
        changes += [Change("Rollout", "r", None, msgspec.to_builtins(BLUE_GREEN)), Change("Progress", "r", None, at(0))]
        await resources.commit(expected=0, author="ann", message="begin", changes=tuple(changes))
        await SqlLedger(database).load("a/1", 1, exchanges_before)
        await resources.commit(
            expected=1, author="ann", message="promote", changes=(Change("Progress", "r", at(0), at(1)),)
        )
        return await Standings(resources).one("r")

    return after


def at(step):
    return {
        "phase": "running",
        "before": "old",
        "salt": "s",
        "step": step,
        "arms": msgspec.to_builtins(arms_at(BLUE_GREEN, step, "old")),
        "started_unix_s": START_S,
        "step_unix_s": SWITCH_S if step else START_S,
    }


def of_arm(arm, begin_s, count, failing):
    """So many exchanges, 20 a second; of each hundred so many fail."""
    for number in range(count):
        failed = {"reason": "upstream_timeout", "fault": "upstream", "status": 504} if number % 100 < failing else {}
        yield make_event(
            started_unix_ns=int((begin_s + 3 + number / 20) * 1e9),
            rollout="r",
            arm=arm,
            version={"baseline": "old", "candidate": "new"}[arm],
            backend="p/a",
            subject=f"s{number * 7 % 300}",
            **failed,
        )


async def test_after_a_switch_it_is_judged_by_what_the_version_before_showed(database, switch, store, resources):
    switched = await switch(*of_arm("baseline", START_S, 600, 1))
    await SqlLedger(database).load("a/1", 2, tuple(of_arm("candidate", SWITCH_S, 100, 1)))
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    told = await analyst.judge(switched, SWITCH_S + 9)
    assert (told.verdict, told.enough) == ("success", True)
    assert "not compared at the same time: `old` had 600 exchanges from 2025-10-09 08:53:23 to" in told.detail
    await SqlLedger(database).load("a/1", 3, tuple(of_arm("candidate", SWITCH_S + 5, 300, 20)))
    bad = await analyst.judge(switched, SWITCH_S + 25)
    assert (bad.verdict, bad.reason, bad.happening) == ("failed", "worse_than_before", Happening.FAILED)
    bundle = await store.evidence(await analyst.keep(switched, bad, "failed", SWITCH_S + 25))
    (worse,) = (one for one in bundle.verdict.metrics if one.decision == "worse")
    assert (worse.name, worse.role, worse.reference, worse.reference_samples) == ("error_rate", "watch", 0.01, 600)
    assert {one.name for one in bundle.metrics} >= {"error_rate", "ttft_ms"}
    assert {(one.name, one.step): one.counts["exchanges"] for one in bundle.arms} == {
        ("baseline", 0): 600,
        ("candidate", 1): 400,
    }


async def test_without_exchanges_before_a_switch_the_verdict_says_that_nothing_is_watched(
    database, switch, store, resources
):
    switched = await switch()
    await SqlLedger(database).load("a/1", 2, tuple(of_arm("candidate", SWITCH_S, 300, 20)))
    told = await SqlAnalyst(store, resources, lambda: 0.0).judge(switched, SWITCH_S + 20)
    assert told.verdict == "success"
    assert "only limits and bursts hold" in told.detail


async def test_a_limit_of_a_quantile_is_held_against_the_times_of_the_stretch(database, standing, store, resources):
    await SqlLedger(database).load("a/1", 1, tuple(exchanges()))  # each takes 90 ms to the first content
    analyst = SqlAnalyst(store, resources, lambda: 0.0)
    for limit, reason in ((200, "seen_enough"), (50, "limit_passed")):
        metric = Metric(name="ttft_ms", limit=limit, limit_quantile=0.95)
        rollout = msgspec.structs.replace(ROLLOUT, analysis=Analysis(metrics=(metric,)))
        told = await analyst.judge(replace(standing, rollout=rollout), START_S + 33)
        assert told.reason == reason
    assert "ttft_ms_p95 of arm `candidate` is" in told.detail
    assert "against 50 at most: worse by at least" in told.detail
