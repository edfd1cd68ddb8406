"""New versions on their way to users and back: two gateways, PostgreSQL, real processes, callers who must not notice."""

import asyncio
import json
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager

import pytest

from podium.testing.postgres_server import PostgresServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.stream_load import StreamLoad
from podium.testing.unharmed import true_in_a_thread
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

PER_SECOND = 30  # at each gateway
USERS = 400
QUICK = {"PODIUM_CONTROL_ROLLOUT_TICK_S": "0.2", "PODIUM_CONTROL_LEASE_TTL_S": "1", "PODIUM_CONTROL_POLL_S": "0.1"}
FEW = {"minimum_subjects": 5}
STREAM = "chunks=6,between=10ms,before-content=20ms"


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory):
    """The place of the old version, and the place of the new one."""
    folder = tmp_path_factory.mktemp("upstreams")
    with ExitStack() as stack:
        both = [stack.enter_context(SimulatorProcess(folder / f"{name}.log", STREAM)) for name in ("old", "new")]
        for one in both:
            one.wait_up()
        yield both


class Control:
    """The control process, which can be killed and started again."""

    def __init__(self, site):
        self._site = site
        self._process = None

    def start(self):
        """Start it, and wait until it answers."""
        self._process = self._site.start_control()
        answers = lambda: self._site.admin_status("/healthz") == 200  # noqa: E731
        self._site.control.wait_for(answers, self._process, timeout_s=40)

    def kill(self):
        """End it with SIGKILL."""
        self._process.kill()


@pytest.fixture(scope="module")
def site(postgres, tmp_path_factory):
    """Nothing runs yet. Control is told where the gateways are."""
    site = Site(tmp_path_factory.mktemp("site"), gateways=2, database_url=postgres.url, environment=QUICK)
    site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = ",".join(
        f"http://127.0.0.1:{one.port}" for one in site.gateways
    )
    return site


@pytest.fixture(scope="module")
def control(site):
    control = Control(site)
    control.start()
    yield control
    control.kill()


@pytest.fixture(scope="module")
def house(site, control, upstreams):
    """Two gateways and control, all running."""
    for name, upstream in zip(("old", "new"), upstreams, strict=True):
        site.declare({"kind": "Provider", "name": name, "spec": {"protocol": "openai", "base_url": upstream.url}})
    with site.running_gateway(0), site.running_gateway(1):
        yield site


@pytest.fixture(scope="module")
def key(house):
    return house.new_key("callers")[1]


class Stage:
    """One model and its rollout, with callers at both gateways."""

    def __init__(self, house, key, name):
        self.house, self.key, self.name = house, key, name
        self.loads = []

    def declare(self, *, provider="new", **rollout):
        """A model whose version is at `old`, and a rollout to the one at the provider."""
        for version, place in (("1", "old"), ("2", provider)):
            spec = {"backends": [{"provider": place, "model": "scripted"}]}
            self.house.declare({"kind": "Version", "name": f"{self.name}-{version}", "spec": spec})
        model = {"version": f"{self.name}-1", "endpoints": ["chat.completions"]}
        plan = {"model": self.name, "candidate": f"{self.name}-2", **rollout}
        self.house.declare(
            {"kind": "Model", "name": self.name, "spec": model}, {"kind": "Rollout", "name": self.name, "spec": plan}
        )
        deadline = time.monotonic() + 10
        while {self.house.status_of(self.name, self.key, number) for number in (0, 1)} != {200}:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    async def podium(self, *words, code=0):
        """A `podium rollout` command about it."""
        command, *options = words
        arguments = ("rollout", command, self.name, *options)
        done = await asyncio.to_thread(self.house.control.run, *arguments, check=False, timeout_s=60)
        assert done.code == code, done.out + done.err
        return done

    def ask(self, command="", **query):
        """The admin API's answer, without the command line's start."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        path = f"/admin/v1/rollouts/{self.name}{command and f'/{command}'}?{text}"
        status, answer = self.house.admin("POST" if command else "GET", path)
        return status, json.loads(answer) if answer else {}

    async def reaches(self, *phases, step=None, timeout_s=20.0):
        """Return once it stands there; what is shown of it then."""
        seen = {}

        def there():
            seen.update(self.ask()[1])
            return seen.get("phase") in phases and step in (None, seen.get("step"))

        await true_in_a_thread(there, timeout_s=timeout_s)
        return seen

    @asynccontextmanager
    async def callers(self, users=USERS, **more):
        """Streams at both gateways until the block ends."""
        first, second = self.loads = [
            StreamLoad(
                one.port, self.key, model=self.name, per_second=PER_SECOND, users=users, name=f"{self.name}-{n}", **more
            )
            for n, one in enumerate(self.house.gateways)
        ]
        async with first, second:
            yield self

    @property
    def seen(self):
        return [one for load in self.loads for one in load.seen]

    def since(self, started_s):
        return [one for load in self.loads for one in load.since(started_s)]

    async def more(self, count=30):
        """Those of the next so many that begin from now on at each gateway."""
        started_s = asyncio.get_running_loop().time()
        await eventually(lambda: all(len(load.since(started_s)) >= count for load in self.loads), timeout_s=20)
        return self.since(started_s)

    @property
    def failed(self):
        return [one for load in self.loads for one in load.failed]


@pytest.fixture
def stage(house, key, upstreams):
    """Makes the stage of a test; upstreams answer well again after it."""
    yield lambda name: Stage(house, key, name)
    for one in upstreams:
        one.behave(STREAM)


def places(seen):
    """How many were answered by which provider."""
    return Counter(one.backend.partition("/")[0] for one in seen)


def steps(*percents, **more):
    return [{"percent": one, "minimum_s": 1, "minimum_samples": 10, **more} for one in percents]


async def test_a_good_candidate_goes_through_its_steps_and_nobody_notices(stage):
    stage = stage("good")
    await asyncio.to_thread(stage.declare, steps=steps(20, 60, 100), analysis=FEW)
    async with stage.callers():
        before = await stage.more(20)
        assert set(places(before)) == {"old"}
        told = await stage.podium("start", "--wait", "--timeout", "40", "-m", "a better prompt")
        after = await stage.more()
    assert [line.split(":")[1].split(",")[0].strip() for line in told.out.splitlines()] == [
        "preparing",
        "running",
        "running",
        "running",
        "promoted",
    ]
    assert set(places(after)) == {"new"}
    assert stage.failed == []


@pytest.mark.parametrize(
    ("name", "plan", "behaviour", "reasons"),
    [
        ("failing", {"analysis": None}, "server-error", {"burst"}),
        ("silent", {}, "chunks=0", {"burst", "metric_failed"}),  # empty answers: whoever is quicker
    ],
)
async def test_a_candidate_that_fails_is_returned_by_itself_before_three_percent_saw_it(
    stage, upstreams, name, plan, behaviour, reasons
):
    stage = stage(name)
    await asyncio.to_thread(stage.declare, steps=[{"percent": 5}, {"percent": 100}], **plan)
    async with stage.callers():
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("running")
        await stage.more(20)
        upstreams[1].behave(behaviour)
        seen = await stage.reaches("returned", timeout_s=30)
        returned_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(returned_s)) >= 300, timeout_s=30)
    assert seen["reason"] in reasons
    assert ("failures_in_a_row" if seen["reason"] == "burst" else "empty_rate") in seen["detail"]
    assert seen["evidence"]
    harmed = [one for one in stage.seen if not (one.served and one.pieces)]
    assert 3 <= len(harmed) < 0.03 * len(stage.seen)
    assert [one for one in harmed if one.started_s > returned_s + 2] == []


async def test_a_candidate_that_comes_up_and_then_hangs_is_returned_and_nobody_waits_for_ever(stage, house, upstreams):
    place = {"protocol": "openai", "base_url": upstreams[1].url, "timeouts": {"first_byte_s": 11, "total_s": 11}}
    house.declare({"kind": "Provider", "name": "hanging", "spec": place})
    stage = stage("hanging")
    plan = {"steps": [{"percent": 5, "minimum_samples": 10_000}, {"percent": 100}], "analysis": {"burst_errors": 2}}
    await asyncio.to_thread(stage.declare, provider="hanging", **plan)
    async with stage.callers(patience_s=60):
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("running")
        await stage.more(30)
        assert stage.failed == []
        upstreams[1].behave("silent")  # it takes calls, and says nothing
        seen = await stage.reaches("returned", timeout_s=60)
        returned_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(returned_s + 2)) >= 200, timeout_s=60)
    assert (seen["step"], seen["reason"]) == (0, "burst")
    assert "hangs" in seen["detail"] or "failures_in_a_row" in seen["detail"]  # slow machines come to their end first
    harmed = [one for one in stage.seen if not one.served]
    assert {(one.status, one.error) for one in harmed} == {(504, "upstream_timeout")}
    assert [one for one in harmed if one.started_s > returned_s + 2] == []
    assert 2 <= len(harmed) < 0.05 * len(stage.seen)


async def test_a_candidate_that_does_not_come_up_reaches_nobody(stage, upstreams):
    stage = stage("broken")
    await asyncio.to_thread(stage.declare, steps=steps(50, 100))
    upstreams[1].behave("silent")
    async with stage.callers():
        await asyncio.to_thread(stage.ask, "start")
        await stage.more(30)
        status, seen = await asyncio.to_thread(stage.ask)
        assert (status, seen["phase"]) == (200, "preparing")
        await asyncio.to_thread(stage.ask, "abort", message="it hangs")
        after = await stage.more(20)
    assert set(places(stage.seen)) == set(places(after)) == {"old"}
    assert stage.failed == []


async def test_blue_green_switches_at_once_and_back_within_two_seconds_with_no_failed_exchange(stage):
    stage = stage("switched")
    await asyncio.to_thread(stage.declare, strategy="blue_green", steps=steps(100))
    async with stage.callers():
        await stage.podium("start", "--wait", "--timeout", "30", code=5)  # tested, and waits for its operator
        assert set(places(await stage.more(20))) == {"old"}
        promoted = await asyncio.to_thread(stage.ask, "promote")
        switched_s = asyncio.get_running_loop().time()
        assert promoted[0] == 200
        await stage.reaches("promoted")
        await eventually(lambda: len(stage.since(switched_s + 2)) >= 40, timeout_s=20)
        switched = stage.since(switched_s + 2)
        assert (await asyncio.to_thread(stage.ask, "undo", message="colours"))[0] == 200
        undone_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(undone_s + 2)) >= 60, timeout_s=20)
    assert stage.failed == []
    assert set(places(switched)) == {"new"}
    assert set(places(stage.since(undone_s + 2))) == {"old"}


async def test_a_green_that_is_worse_than_blue_was_is_returned_though_nobody_is_left_to_compare_with(stage, upstreams):
    stage = stage("green")
    await asyncio.to_thread(stage.declare, strategy="blue_green", steps=steps(100, minimum_samples=20_000))
    async with stage.callers():
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("paused")
        await stage.more(200)  # what blue shows now is what green is watched by
        upstreams[1].behave("chunks=0,share=0.2")
        assert (await asyncio.to_thread(stage.ask, "promote"))[0] == 200
        seen = await stage.reaches("returned", timeout_s=40)
        returned_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(returned_s + 2)) >= 60, timeout_s=20)
    assert (seen["step"], seen["reason"]) == (1, "metric_failed")
    assert "empty_rate of arm `candidate`" in seen["detail"]
    assert "not compared at the same time: `green-1` had" in seen["detail"]
    assert set(places(stage.since(returned_s + 2))) == {"old"}
    assert stage.failed == []


async def test_a_returned_candidate_gets_nothing_more_at_either_gateway_within_two_seconds(stage):
    stage = stage("aborted")
    await asyncio.to_thread(stage.declare, steps=steps(50, 100, minimum_samples=10_000))
    async with stage.callers():
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("running")
        running = await stage.more()
        assert set(places(running)) == {"old", "new"}
        assert (await asyncio.to_thread(stage.ask, "abort", message="enough"))[0] == 200
        aborted_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(aborted_s + 2)) >= 60, timeout_s=20)
    assert set(places(stage.since(aborted_s + 2))) == {"old"}
    assert stage.failed == []


async def test_of_two_operators_at_once_one_is_told_what_the_other_did(stage):
    stage = stage("two")
    await asyncio.to_thread(stage.declare, steps=steps(5, 50, 100, minimum_samples=10_000))
    await asyncio.to_thread(stage.ask, "start")
    seen = (await stage.reaches("running"))["changed_unix_s"]
    answers = await asyncio.gather(
        *(asyncio.to_thread(stage.ask, "promote", seen=repr(seen), message=f"operator-{n}") for n in range(4))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    refused = next(answer for status, answer in answers if status == 409)["error"]["message"]
    assert "moved since you saw it" in refused
    assert "operator-" in refused
    assert (await stage.reaches("running"))["step"] == 1
    await asyncio.to_thread(stage.ask, "abort")


async def test_without_traffic_it_holds_and_goes_on_when_callers_come(stage):
    stage = stage("quiet")
    plan = steps(20, 100)
    await asyncio.to_thread(stage.declare, steps=plan, analysis={**FEW, "no_data_after_s": 2})
    await asyncio.to_thread(stage.ask, "start")
    held = await stage.reaches("paused")
    assert (held["step"], held["reason"]) == (0, "no_data")
    assert "had no exchange" in held["detail"]
    async with stage.callers():
        await stage.reaches("promoted", timeout_s=40)
    assert stage.failed == []


@pytest.mark.parametrize(("name", "behaviour"), [("alone", STREAM), ("unlucky", "chunks=0,share=0.3")])
async def test_one_caller_who_makes_all_the_traffic_decides_nothing(stage, upstreams, name, behaviour):
    stage = stage(name)
    await asyncio.to_thread(stage.declare, steps=steps(50, 100), analysis=FEW)
    upstreams[1].behave(behaviour)
    async with stage.callers(users=0):  # all of them are one key's
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("running")
        known_s = asyncio.get_running_loop().time() + 2  # at both gateways
        await eventually(lambda: len(stage.since(known_s)) >= 100, timeout_s=30)
        seen = {one.backend for one in stage.since(known_s)}
        _, after = await asyncio.to_thread(stage.ask)
        assert (after["phase"], after["step"]) == ("running", 0), after
        assert after["verdict"]["reason"] in {"too_few_samples", "too_few_subjects", "too_early"}, after
        assert len(seen) == 1, seen
    await asyncio.to_thread(stage.ask, "abort")


SLEEP = """CREATE OR REPLACE FUNCTION hold() RETURNS trigger AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$
LANGUAGE plpgsql"""
HOLD = """CREATE OR REPLACE TRIGGER hold BEFORE INSERT OR UPDATE ON resources
FOR EACH ROW WHEN (NEW.kind = 'Progress') EXECUTE FUNCTION hold()"""
LET_GO = "DROP TRIGGER IF EXISTS hold ON resources"
MOVES = "SELECT message FROM revisions WHERE message LIKE $1 ORDER BY number"
WRITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


async def test_control_killed_inside_and_after_each_step_goes_on_exactly_there(house, key, postgres, control):
    stage = Stage(house, key, "killed")
    await asyncio.to_thread(stage.declare, steps=steps(20, 100), analysis=FEW)

    def moves():
        said = (row[0] for row in postgres.execute(MOVES, "rollout killed:%"))
        return [message.partition(": ")[2].split(":")[0] for message in said]

    async with stage.callers():
        await asyncio.to_thread(postgres.execute, SLEEP)
        await asyncio.to_thread(stage.ask, "start")
        for number, inside in enumerate((True, False, True), 1):  # prepared, the second step, promoted
            if inside:  # the transaction that writes the step
                await asyncio.to_thread(postgres.execute, HOLD)
                await true_in_a_thread(lambda: postgres.execute(WRITING)[0][0], timeout_s=30)
                await asyncio.to_thread(control.kill)
                await asyncio.to_thread(postgres.execute, LET_GO)
                assert len(await asyncio.to_thread(moves)) == number
            else:  # it is written; whoever wrote it may not know
                await true_in_a_thread(lambda wanted=number + 1: len(moves()) >= wanted, timeout_s=30)
                await asyncio.to_thread(control.kill)
            await asyncio.to_thread(control.start)
            await true_in_a_thread(lambda wanted=number + 1: len(moves()) >= wanted, timeout_s=30)
        await stage.reaches("promoted")
        after = await stage.more(20)
    assert moves() == [
        "preparing (started)",
        "running at step 1, 20% killed-2 (prepared)",
        "running at step 2, 100% killed-2 (step_done)",
        "promoted (all_steps_done)",
    ]
    assert set(places(after)) == {"new"}
    assert stage.failed == []


async def test_while_the_database_is_away_everybody_keeps_the_version_they_had(house, key, postgres):
    stage = Stage(house, key, "away")
    await asyncio.to_thread(stage.declare, steps=steps(50, 100, minimum_samples=10_000))
    async with stage.callers():
        await asyncio.to_thread(stage.ask, "start")
        await stage.reaches("running")
        await stage.more(20)
        await asyncio.to_thread(postgres.stall)
        try:
            assert set(places(await stage.more(30))) == {"old", "new"}
        finally:
            await asyncio.to_thread(postgres.resume)
        await true_in_a_thread(lambda: stage.ask()[0] == 200, timeout_s=30)
        assert (await asyncio.to_thread(stage.ask, "abort"))[0] == 200
        aborted_s = asyncio.get_running_loop().time()
        await eventually(lambda: len(stage.since(aborted_s + 2)) >= 40, timeout_s=20)
    assert set(places(stage.since(aborted_s + 2))) == {"old"}
    assert stage.failed == []
