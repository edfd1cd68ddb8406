import asyncio
import json
from datetime import UTC, datetime

import msgspec
import pytest

from podium.control.documents import parse_documents
from podium.control.resources import Resources
from podium.control.rollouts.loop import RolloutLoop
from podium.control.rollouts.ports import BadBackend, Judgement, Trial, Trip
from podium.control.rollouts.standing import LOOP_AUTHOR, Standings
from podium.control.rollouts.use import Rollouts
from podium.core.errors import Conflict, InternalError, Unavailable
from podium.core.rollouts import ArmShare
from podium.delivery.phases import Happening
from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.resources import SqlResourceStore
from podium.testing.clock import TestClock
from podium.testing.memory_store import MemoryKeyStore, MemoryResourceStore

ANNA = "aaaaaaaaaaaa/anna"
STEPS = [{"percent": 5, "minimum_s": 10}, {"percent": 50, "minimum_s": 10}, {"percent": 100, "minimum_s": 10}]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
"""
CANARY = """{kind: Rollout, name: r, spec: {model: chat, candidate: v2, steps: [
    {percent: 5, minimum_s: 5}, {percent: 50, minimum_s: 5}, {percent: 100, minimum_s: 5}]}}"""
BLUE_GREEN = """{kind: Rollout, name: r, spec: {model: chat, candidate: v2, strategy: blue_green, steps: [
    {percent: 100, minimum_s: 15}]}}"""
GOOD = Judgement(verdict="success", reason="no_worse", detail="no metric is worse", enough=True, body=b"{}")
EARLY = Judgement(verdict="inconclusive", reason="too_few", detail="3 of 50 exchanges")
BAD = Judgement(
    verdict="failed",
    reason="metric_worse",
    detail="error_rate: 0.2 more, at least 0.1",
    happening=Happening.FAILED,
    body=b'{"metric": "error_rate"}',
)


class Analyst:
    """Says what it is told to; keeps what it is given under a name of its content."""

    def __init__(self):
        self.judgement = GOOD
        self.kept = {}
        self.judged = 0

    async def judge(self, standing, now_unix_s):
        self.judged += 1
        if isinstance(self.judgement, Exception):
            raise self.judgement
        return self.judgement

    async def keep(self, standing, judgement, happening, now_unix_s):
        name = f"{standing.name}:{standing.progress.step}:{happening}:{judgement.body.decode()}"
        self.kept[name] = judgement
        return name


class Gateways:
    """Two gateways at which candidates behave as they are told to."""

    def __init__(self):
        self.answers = [True, True]
        self.tripped = ()
        self.tried = 0
        self.hangs = False

    async def trips(self):
        return self.tripped

    async def try_candidate(self, standing, timeout_s):
        self.tried += 1
        if self.hangs:
            await asyncio.sleep(60)
        return tuple(
            Trial(gateway=f"g{n}", answered=one, detail="503 no backend") for n, one in enumerate(self.answers)
        )


@pytest.fixture
def resource_store(clock):
    return MemoryResourceStore(clock)


@pytest.fixture
def analyst():
    return Analyst()


@pytest.fixture
def gateways():
    return Gateways()


@pytest.fixture
async def make_loop(resource_store, clock, analyst, gateways):
    made = []

    def make(store=resource_store):
        loop = RolloutLoop(Standings(store), clock, analyst=analyst, gateways=gateways, tick_s=0.01, prepare_s=60)
        made.append(loop)
        return loop

    yield make
    for loop in made:
        await loop._trials.close()


@pytest.fixture
def loop(make_loop):
    return make_loop()


@pytest.fixture
def rounds(loop, clock):
    async def some(seconds, step=1):
        for _ in range(int(seconds / step)):
            await loop.once()
            await asyncio.sleep(0)  # a trial's turn
            clock.advance(step)

    return some


@pytest.fixture
def started(declared, rollouts):
    async def start(**spec):
        await declared(**{"steps": STEPS, **spec})
        return await rollouts.start("r", author=ANNA)

    return start


@pytest.fixture
def running(started, rounds, rollouts):
    """A rollout at its first step."""

    async def run(**spec):
        await started(**spec)
        await rounds(3)
        one = await rollouts.get("r")
        assert (one.phase, one.step) == ("running", 0)
        return one

    return run


async def words(store):
    """What revisions say, the oldest first."""
    return [one.message for one in reversed(await store.revisions(before=None, limit=100))][1:]


async def test_a_good_candidate_goes_through_its_steps_in_their_time(
    started, rounds, rollouts, version_of, resource_store, analyst
):
    await started()
    await rounds(40)
    one = await rollouts.get("r")
    assert (one.phase, await version_of()) == ("promoted", "v2")
    assert [word.partition(":")[2].split(":")[0] for word in await words(resource_store)] == [
        " preparing (started)",
        " running at step 1, 5% v2 (prepared)",
        " running at step 2, 50% v2 (step_done)",
        " running at step 3, 100% v2 (step_done)",
        " promoted (all_steps_done)",
    ]
    assert one.evidence in analyst.kept
    assert all(revision.author == LOOP_AUTHOR for revision in await resource_store.revisions(before=None, limit=4))


async def test_nothing_moves_before_its_time_nor_before_enough_was_seen(running, rounds, rollouts, analyst):
    await running()
    await rounds(5)
    assert (await rollouts.get("r")).step == 0
    analyst.judgement = EARLY
    await rounds(60)
    assert (await rollouts.get("r")).step == 0
    analyst.judgement = GOOD
    await rounds(1)
    assert (await rollouts.get("r")).step == 1


@pytest.mark.parametrize("paused", [False, True])
async def test_a_bad_candidate_is_returned_with_the_evidence_also_from_a_pause(
    running, rounds, rollouts, analyst, version_of, paused
):
    await running()
    if paused:
        await rollouts.pause("r", author=ANNA)
    analyst.judgement = BAD
    await rounds(1)
    one = await rollouts.get("r")
    assert (one.phase, one.reason, one.arms) == ("returned", "metric_failed", ())
    assert one.detail == BAD.detail
    assert json.loads(analyst.kept[one.evidence].body) == {"metric": "error_rate"}
    assert await version_of() == "v1"


async def test_a_burst_that_gateways_saw_returns_it_before_any_statistics(running, rounds, rollouts, gateways, loop):
    await running()
    salt = (await loop._standings.one("r")).progress.salt
    gateways.tripped = (
        Trip(rollout="r", salt="of an earlier run", gateway="g0", detail=""),
        Trip(rollout="other", salt=salt, gateway="g0", detail=""),
    )
    await rounds(1)
    assert (await rollouts.get("r")).phase == "running"
    gateways.tripped += (Trip(rollout="r", salt=salt, gateway="g1", detail="10 failures in a row"),)
    await rounds(1)
    one = await rollouts.get("r")
    assert (one.phase, one.reason, one.detail) == ("returned", "burst", "g1: 10 failures in a row")


async def test_a_burst_is_acted_on_when_nothing_can_be_judged(running, rounds, rollouts, gateways, analyst, loop):
    await running()
    analyst.judgement = InternalError("the analysis is broken")
    gateways.tripped = (
        Trip(rollout="r", salt=(await loop._standings.one("r")).progress.salt, gateway="g", detail="dead"),
    )
    await rounds(1)
    assert (await rollouts.get("r")).reason == "burst"


async def test_a_candidate_that_never_answers_has_failed_after_its_time(
    started, rounds, rollouts, gateways, version_of
):
    gateways.answers = [True, False]
    await started()
    await rounds(59)
    assert (await rollouts.get("r")).phase == "preparing"
    await rounds(3)
    one = await rollouts.get("r")
    assert (one.phase, one.reason) == ("failed", "could_not_prepare")
    assert "within 60 s: g1: 503 no backend" in one.detail
    assert gateways.tried > 10
    assert await version_of() == "v1"


async def test_a_candidate_that_hangs_has_failed_after_its_time_and_holds_up_nobody(
    started, declared, rounds, rollouts, gateways
):
    gateways.hangs = True
    await started()
    async with asyncio.timeout(5):
        await rounds(62)
    assert (await rollouts.get("r")).phase == "failed"
    assert "did not answer" in (await rollouts.get("r")).detail


async def test_a_gateway_that_is_away_does_not_fail_a_candidate(started, rounds, rollouts, gateways):
    gateways.answers = [None, True]
    await started()
    await rounds(3)
    assert (await rollouts.get("r")).phase == "running"


async def test_where_no_gateway_is_known_the_rollout_says_that_nothing_was_tried(started, rounds, rollouts, gateways):
    gateways.answers = []
    await started()
    await rounds(3)
    one = await rollouts.get("r")
    assert one.phase == "running"
    assert "not tried" in one.detail


async def test_a_candidate_that_comes_up_late_is_taken(started, rounds, rollouts, gateways):
    gateways.answers = [False, None]
    await started()
    await rounds(10)
    gateways.answers = [True, True]
    await rounds(8)
    assert (await rollouts.get("r")).phase == "running"


@pytest.mark.parametrize(("policy", "phase"), [("hold", "paused"), ("return", "returned"), ("go_on", "running")])
async def test_what_happens_without_data_is_the_plans_choice(running, rounds, rollouts, analyst, policy, phase):
    await running(analysis={"no_data": policy})
    nothing = Judgement(verdict="inconclusive", reason="no_data", detail="none for 600 s", happening=Happening.NO_DATA)
    analyst.judgement = nothing
    await rounds(1)
    one = await rollouts.get("r")
    assert one.phase == phase
    assert one.step == (1 if policy == "go_on" else 0)


async def test_what_the_analysis_held_goes_on_when_it_is_cleared(running, rounds, rollouts, analyst):
    await running()
    analyst.judgement = Judgement(verdict="error", reason="mismatch", detail="60 to 40", happening=Happening.MISMATCH)
    await rounds(1)
    assert (await rollouts.get("r")).reason == "mismatch"
    analyst.judgement = EARLY
    await rounds(1)
    assert (await rollouts.get("r")).phase == "running"


async def test_a_hold_that_an_operator_has_lifted_is_not_made_again(running, rounds, rollouts, analyst):
    await running()
    analyst.judgement = Judgement(verdict="error", reason="mismatch", detail="60 to 40", happening=Happening.MISMATCH)
    await rounds(1)
    await rollouts.resume("r", author=ANNA, message="known")
    await rounds(30)
    assert (await rollouts.get("r")).phase == "running"


async def test_an_analysis_that_cannot_be_made_is_tried_for_a_while_before_it_holds(running, rounds, rollouts, analyst):
    await running()
    analyst.judgement = Judgement(verdict="error", reason="broken", detail="?", happening=Happening.ERROR)
    await rounds(20)
    assert (await rollouts.get("r")).phase == "running"
    await rounds(20)
    assert (await rollouts.get("r")).reason == "analysis_error"


async def test_a_backend_that_answers_worse_than_the_others_gets_no_more_calls(
    declared, resources, started, rounds, rollouts, analyst, resource_store
):
    await started()
    two = "{kind: Version, name: v2, spec: {backends: [{provider: p, model: n}, {provider: q, model: n}]}}"
    more = "{kind: Provider, name: q, spec: {protocol: local}}\n---\n" + two
    await resources.apply(parse_documents(more), author="test")
    await rounds(3)
    bad = BadBackend(version="v2", backend="q/n", detail="half of its answers are empty")
    analyst.judgement = msgspec.structs.replace(EARLY, bad_backend=bad)
    await rounds(3)
    one = await rollouts.get("r")
    assert (one.phase, one.step) == ("running", 0)
    assert "`q/n` of `v2` gets no more calls: half of its answers are empty" in one.detail
    _, declared_now = await resource_store.current()
    (version,) = [entry.spec for entry in declared_now if (entry.kind, entry.name) == ("Version", "v2")]
    assert [(backend.provider, backend.weight) for backend in version.backends] == [("p", 1), ("q", 0)]
    newest = (await resource_store.revisions(before=None, limit=1))[0]
    assert {change.kind for change in newest.changes} == {"Progress", "Version"}
    before = newest.number
    last = BadBackend(version="v2", backend="p/n", detail="so are these")
    analyst.judgement = msgspec.structs.replace(EARLY, bad_backend=last)
    await rounds(3)
    assert (await resource_store.revisions(before=None, limit=1))[0].number == before  # the last one stays


async def test_inside_a_freeze_nothing_goes_forward_and_a_bad_candidate_still_back(
    running, rounds, rollouts, analyst, clock
):
    tomorrow = DAYS[(datetime.fromtimestamp(clock.unix_ns() / 1e9, UTC).weekday() + 1) % 7]
    await running(freeze=[{"days": [tomorrow]}], analysis={"no_data": "go_on"})
    clock.advance(86_400)
    await rounds(30)
    assert (await rollouts.get("r")).step == 0
    analyst.judgement = Judgement(verdict="inconclusive", reason="x", detail="", happening=Happening.NO_DATA)
    await rounds(3)
    assert (await rollouts.get("r")).step == 0
    analyst.judgement = BAD
    await rounds(1)
    assert (await rollouts.get("r")).phase == "returned"


async def test_arms_get_other_shares_when_the_analysis_says_so(running, rounds, rollouts, analyst, loop):
    arms = [{"name": "a", "version": "v1"}, {"name": "b", "version": "v2"}]
    await running(strategy="ab", candidate=None, arms=arms, steps=[{"percent": 100}])
    other = tuple(
        ArmShare(name=name, version=version, first=first, count=count)
        for name, version, first, count in (("a", "v1", 0, 2000), ("b", "v2", 2000, 8000))
    )
    analyst.judgement = msgspec.structs.replace(EARLY, shares=other, shares_detail="a 20%, b 80%")
    await rounds(1)
    analyst.judgement = EARLY
    await rounds(2)
    one = await rollouts.get("r")
    assert [(arm.name, arm.percent) for arm in one.arms] == [("a", 20.0), ("b", 80.0)]
    assert (one.phase, one.detail) == ("running", "other shares: a 20%, b 80%")
    assert one.evidence in analyst.kept
    progress = (await loop._standings.one("r")).progress
    assert progress.step_unix_s == progress.changed_unix_s  # a span of its own


@pytest.mark.parametrize("fault", [InternalError("broken"), ZeroDivisionError("a bug")], ids=["internal", "bug"])
async def test_one_that_cannot_be_judged_does_not_stop_the_others_and_is_held(
    declared, rollouts, rounds, analyst, running, loop, fault
):
    await running()

    class Broken(type(analyst)):
        async def judge(self, standing, now_unix_s):
            if standing.name == "a":
                raise fault
            return BAD

    analyst.__class__ = Broken
    await declared("{kind: Model, name: talk, spec: {version: v1}}")
    await declared("{kind: Rollout, name: a, spec: {model: talk, candidate: v2}}")
    await rollouts.start("a", author=ANNA)
    await rounds(4)
    assert (await rollouts.get("r")).phase == "returned"
    held = await rollouts.get("a")
    assert (held.phase, loop.verdict("a").reason) == ("running", "analysis_broke")
    await rounds(40)
    held = await rollouts.get("a")
    assert (held.phase, held.reason) == ("paused", "analysis_error")


async def test_a_bad_candidate_is_returned_also_when_its_evidence_cannot_be_kept(rounds, rollouts, analyst, running):
    await running()

    class Forgetful(type(analyst)):
        async def keep(self, standing, judgement, happening, now_unix_s):
            raise ZeroDivisionError("a bug")

    analyst.__class__ = Forgetful
    analyst.judgement = BAD
    await rounds(1)
    one = await rollouts.get("r")
    assert (one.phase, one.reason, one.evidence) == ("returned", "metric_failed", "")


async def test_a_bug_that_one_rollout_meets_does_not_stop_the_others(
    declared, rollouts, rounds, analyst, running, loop, monkeypatch
):
    await running()
    analyst.judgement = BAD
    await declared("{kind: Model, name: talk, spec: {version: v1}}")
    await declared("{kind: Rollout, name: a, spec: {model: talk, candidate: v2}}")
    await rollouts.start("a", author=ANNA)
    look = loop._look

    async def buggy(standing):
        if standing.name == "a":
            raise ZeroDivisionError("a bug")
        await look(standing)

    monkeypatch.setattr(loop, "_look", buggy)
    await rounds(1)
    assert (await rollouts.get("r")).phase == "returned"


async def _many_running(declared, rollouts, rounds):
    """Ten rollouts of ten models, at their first step; their names."""
    names = [f"r{number}" for number in range(10)]
    for name in names:
        await declared(
            f"{{kind: Model, name: chat-{name}, spec: {{version: v1}}}}"
            f"\n--- {{kind: Rollout, name: {name}, spec: {{model: chat-{name}, candidate: v2, steps: ["
            "{percent: 5, minimum_s: 5}, {percent: 100, minimum_s: 5}]}}"
        )
        await rollouts.start(name, author=ANNA)
    await rounds(2)
    return names


async def test_all_that_are_ready_go_on_in_the_same_round(declared, rollouts, rounds, running, loop, clock):
    await running()
    names = await _many_running(declared, rollouts, rounds)
    clock.advance(5)
    await loop.once()
    assert {(await rollouts.get(name)).step for name in names} == {1}


async def test_all_that_gateways_took_out_return_in_the_same_round(declared, rollouts, rounds, running, loop, gateways):
    await running()
    names = await _many_running(declared, rollouts, rounds)
    salts = {name: (await loop._standings.one(name)).progress.salt for name in names}
    gateways.tripped = tuple(Trip(rollout=name, salt=salts[name], gateway="g", detail="dead") for name in names)
    await loop.return_tripped()
    assert {(await rollouts.get(name)).phase for name in names} == {"returned"}


async def test_operators_find_a_moment_while_many_rollouts_move(declared, rollouts, rounds, running, loop, clock):
    await running()
    names = await _many_running(declared, rollouts, rounds)
    clock.advance(5)
    paused = names[::3]

    async with asyncio.TaskGroup() as group:
        group.create_task(loop.once())
        for name in paused:
            group.create_task(rollouts.pause(name, author=ANNA))
    assert {(await rollouts.get(name)).phase for name in paused} == {"paused"}


async def test_a_blue_green_switch_waits_for_its_operator_then_everybody_has_it(
    started, rounds, rollouts, version_of, analyst, loop
):
    await started(strategy="blue_green")
    await rounds(5)
    one = await rollouts.get("r")
    assert (one.phase, one.reason) == ("paused", "waits_for_operator")
    assert [(arm.name, arm.version, arm.percent) for arm in one.arms] == [("baseline", "v1", 100.0)]
    analyst.judgement = BAD  # nobody has it yet: nothing is decided by what is seen of the old version
    await rounds(3)
    assert (await rollouts.get("r")).phase == "paused"
    assert loop.verdict("r").detail == BAD.detail
    analyst.judgement = GOOD
    one = await rollouts.promote("r", author=ANNA)
    assert [(arm.name, arm.percent) for arm in one.arms] == [("candidate", 100.0)]
    assert await version_of() == "v1"
    await rounds(12)
    assert (await rollouts.get("r")).phase == "promoted"
    assert await version_of() == "v2"


async def test_a_loop_whose_database_is_away_goes_on_when_it_is_back(running, rollouts, make_loop, analyst):
    await running()
    analyst.judgement = Unavailable("the database cannot be reached")
    loop, stop = make_loop(), asyncio.Event()
    task = asyncio.create_task(loop.run(stop))
    await asyncio.sleep(0.05)
    analyst.judgement = BAD
    async with asyncio.timeout(5):
        while (await rollouts.get("r")).phase != "returned":  # noqa: ASYNC110 - it is the loop's own doing
            await asyncio.sleep(0.01)
    stop.set()
    await task


async def test_a_burst_does_not_wait_for_an_analysis_that_takes_long(running, rollouts, make_loop, analyst, gateways):
    await running()
    loop, stop = make_loop(), asyncio.Event()

    async def endless(standing, now_unix_s):
        await asyncio.sleep(60)

    analyst.judge = endless
    task = asyncio.create_task(loop.run(stop))
    await asyncio.sleep(0.03)
    salt = (await loop._standings.one("r")).progress.salt
    gateways.tripped = (Trip(rollout="r", salt=salt, gateway="g", detail="dead"),)
    async with asyncio.timeout(5):
        while (await rollouts.get("r")).phase != "returned":  # noqa: ASYNC110 - it is the loop's own doing
            await asyncio.sleep(0.01)
    stop.set()
    task.cancel()  # as a leader does that is over
    with pytest.raises(asyncio.CancelledError):
        await task


class Killed(BaseException):
    """The process ends here."""


class Deadly:
    """Something whose n-th call, counted over all of them, is the last thing that the process does."""

    def __init__(self, inner, fuse, *, after):
        self._inner, self._fuse, self._after = inner, fuse, after

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        async def call(*arguments, **named):
            self._fuse[0] -= 1
            if self._fuse[0] == 0 and not self._after:
                raise Killed
            result = await method(*arguments, **named)
            if self._fuse[0] == 0 and self._after:
                raise Killed
            return result

        return call


async def life(clock, store, *, bad, plan=CANARY, death=0, after=False):
    """A rollout's whole life, with a loop that is killed at its `death`-th call of anything, and begun anew.

    Where it waits for an operator, one promotes it.
    Whether it was, and what revisions and evidence say at the end.
    """
    analyst, gateways, fuse = Analyst(), Gateways(), [death]
    analyst.judgement = BAD if bad else GOOD

    def new_loop():
        mortal = Deadly(analyst, fuse, after=after)
        standings = Standings(Deadly(store, fuse, after=after))
        return RolloutLoop(standings, clock, analyst=mortal, gateways=gateways, tick_s=0.01, prepare_s=60)

    rollouts, loop = Rollouts(Standings(store), clock), new_loop()
    await Resources(store, MemoryKeyStore(), clock).apply(parse_documents(f"{HOUSE}---\n{plan}"), author="test")
    await rollouts.start("r", author=ANNA)
    for _ in range(30):
        one = await rollouts.get("r")
        if one.ended:
            break
        if one.reason == "waits_for_operator":
            await rollouts.promote("r", author=ANNA)
        try:
            await loop.once()
        except Killed:
            await loop._trials.close()
            loop = new_loop()  # nothing that the old one remembered
        await asyncio.sleep(0)
        clock.advance(5)
    await loop._trials.close()
    end = await rollouts.get("r")
    assert end.evidence in analyst.kept
    _, resources = await store.current()
    version = next(one.spec.version for one in resources if (one.kind, one.name) == ("Model", "chat"))
    said = [word.partition(":")[2].split(":")[0].strip() for word in await words(store)]
    return fuse[0] <= 0, (end.phase, end.evidence, version, said)


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("bad", [False, True], ids=["promoted", "returned"])
@pytest.mark.parametrize("plan", [CANARY, BLUE_GREEN], ids=["canary", "blue-green"])
async def test_killed_at_every_point_it_ends_as_if_nothing_had_happened(plan, bad, after):
    _, undisturbed = await life(TestClock(), MemoryResourceStore(), plan=plan, bad=bad)
    assert undisturbed[0] == ("returned" if bad else "promoted")
    assert undisturbed[2] == ("v1" if bad else "v2")
    assert len(undisturbed[3]) == (3 if bad and plan is CANARY else 5)
    for death in range(1, 200):
        killed, end = await life(TestClock(), MemoryResourceStore(), plan=plan, bad=bad, death=death, after=after)
        assert end == undisturbed, f"killed at call {death}"
        if not killed:
            break
    assert not killed  # every call of the whole life was the last one once
    assert death > (8 if bad else 14)


@pytest.mark.parametrize("death", [4, 7, 12, 15, 19])
async def test_killed_while_it_writes_to_a_database_it_ends_as_if_nothing_had_happened(death, tmp_path):
    _, undisturbed = await life(TestClock(), MemoryResourceStore(), bad=False)
    database = open_database(DatabaseSettings(), tmp_path / "podium.db")
    await database.migrate()
    killed, end = await life(TestClock(), SqlResourceStore(database), bad=False, death=death, after=True)
    await database.close()
    assert killed
    assert end == undisturbed


async def test_two_loops_at_once_write_each_step_once(started, make_loop, clock, rollouts, resource_store, version_of):
    await started()
    loops = [make_loop(), make_loop()]
    for _ in range(60):
        done = await asyncio.gather(*(loop.once() for loop in loops), return_exceptions=True)
        assert not [one for one in done if isinstance(one, BaseException) and not isinstance(one, Conflict)]
        await asyncio.sleep(0)
        clock.advance(1)
    assert await version_of() == "v2"
    assert len(await words(resource_store)) == 5
