"""A pool's backends: who takes a call, who is left out, and how that changes while streams run."""

import asyncio
import json
from dataclasses import dataclass

import pytest

from podium.core.resources import BackendSpec
from podium.testing.openai_requests import openai_error
from podium.testing.upstream import Mode
from podium.testing.waiting import eventually

ONCE = {"retries": {"attempts": 1}}
LONG = "paced=5ms,chunks=60"


async def served_by(stage, count, **asked):
    """Which provider answers each of so many requests."""
    answers = [await stage.ask(**asked) for _ in range(count)]
    assert [answer.status for answer in answers] == [200] * count
    return [answer.header("x-podium-backend").partition("/")[0] for answer in answers]


def pool_of(stage, model="m"):
    return stage.gateway.follower.current.pool(model)


def told_out(stage):
    """The sentence for each backend that takes no calls."""
    pool, now_ns = pool_of(stage), stage.clock.monotonic_ns()
    sentences = {one.upstream.provider: pool.explain(one, now_ns) for one in pool.backends}
    return {name: sentence for name, sentence in sentences.items() if sentence}


# Strategies, as a Model names them.


async def test_each_has_its_turn(stage):
    await stage.serve(m="a b c")
    assert await served_by(stage, 6) == ["a", "b", "c", "a", "b", "c"]


async def test_turns_may_go_by_weight(stage):
    await stage.serve(m=stage.model("a*3", "b", balancing={"strategy": "weighted_round_robin"}))
    turns = await served_by(stage, 8)
    assert (turns.count("a"), turns.count("b")) == (6, 2)


async def test_fewer_calls_under_way_may_count(stage):
    await stage.serve(m=stage.model("a", "b", balancing={"strategy": "least_in_flight"}))
    stage["a"].behave(Mode.STALLS_MIDWAY)
    stage["b"].behave(Mode.STALLS_MIDWAY)
    async with stage.asking(stream=True) as client:
        busy = (await client.read_head()).header("x-podium-backend")[0]
        idle = "b" if busy == "a" else "a"
        stage[idle].behave(Mode.PLAIN)
        assert await served_by(stage, 5) == [idle] * 5


async def test_the_cheapest_may_come_first(stage):
    await stage.serve(m=stage.model("b", "a", balancing={"strategy": "lowest_cost"}))
    answer = await stage.ask()
    assert (answer.header("x-podium-backend"), answer.header("x-podium-choice")) == ("b/b-model", "cheapest")


@pytest.mark.parametrize("named", [{"headers": {"x-podium-session": "s1"}}, {"user": "u1"}])
async def test_a_session_stays_where_it_is(stage, named):
    await stage.serve(m=stage.model("a", "b", "c", balancing={"strategy": "session_affinity"}))
    assert len(set(await served_by(stage, 6, **named))) == 1


async def test_a_session_moves_when_its_backend_fails(stage):
    await stage.serve(m=stage.model("a", "b", balancing={"strategy": "session_affinity"}))
    (own,) = set(await served_by(stage, 2, user="u1"))
    stage[own].behave(Mode.UNAVAILABLE)
    (other,) = set(await served_by(stage, 2, user="u1"))
    assert other != own


async def test_a_prompt_goes_where_its_beginning_was_seen(stage):
    await stage.serve(m=stage.model("a", "b", "c", balancing={"strategy": "prefix_affinity"}))
    beginning = "long and shared " * 100
    first = await stage.ask(content=beginning + "one")
    second = await stage.ask(content=beginning + "two")
    assert second.header("x-podium-backend") == first.header("x-podium-backend")
    assert second.header("x-podium-choice") == "warm_prefix"


async def test_a_slow_backend_is_asked_less(stage):
    """The time of each first content is told by the clock, which moves as each simulator is asked."""
    await stage.serve(m=stage.model("a", "b", balancing={"strategy": "response_time"}))
    assert stage.state("a").timed
    for name, ttft_ms in (("a", 2000.0), ("b", 20.0)):
        stage.state(name).load.first_content(stage.clock.monotonic_ns(), ttft_ms)
    assert (await served_by(stage, 8)).count("b") == 8


# Regions.

REGIONS = {"a": {"region": "eu"}, "b": {"region": "us"}, "c": {}}


async def test_the_nearest_region_comes_first_and_others_after_it(stage):
    await stage.serve(m=stage.model("b", "a", "c", balancing={"regions": ["eu", "us"]}), providers=REGIONS)
    assert await served_by(stage, 3) == ["a"] * 3
    stage["a"].behave(Mode.UNAVAILABLE)
    assert await served_by(stage, 2) == ["b"] * 2
    stage["b"].behave("rate-limited,retry-after=60")
    assert (await stage.ask()).status == 429  # a failed, then b
    assert await served_by(stage, 1) == ["c"]


async def test_residency_is_never_left(stage):
    await stage.serve(
        m=stage.model("a", "b", "c", balancing={"residency": ["eu"], "regions": ["us", "eu"]}), providers=REGIONS
    )
    assert await served_by(stage, 3) == ["a"] * 3
    stage["a"].behave("rate-limited,retry-after=30")
    assert (await stage.ask()).status == 429
    answer = await stage.ask()
    assert (answer.status, answer.header("retry-after")) == (429, "30")  # those elsewhere do not count
    assert stage.calls("b", "c") == [0, 0]
    assert "residency" in told_out(stage)["b"] and "residency" in told_out(stage)["c"]


async def test_a_residency_with_nobody_in_it_serves_nobody(stage):
    await stage.serve(m=stage.model("b", "c", balancing={"residency": ["eu"]}), providers=REGIONS)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
    assert stage.calls("b", "c") == [0, 0]


async def test_a_backends_own_region_goes_before_its_providers(stage):
    near = BackendSpec(provider="b", model="b-model", region="eu")
    await stage.serve(m=stage.model("a", near, balancing={"residency": ["eu"]}), providers=REGIONS)
    assert sorted(await served_by(stage, 2)) == ["a", "b"]


# Outliers and health.


async def test_who_fails_in_a_row_is_ejected_and_comes_back(stage):
    failure = ONCE | {"breaker": None, "ejection": {"max_share": 0.5}}
    await stage.serve(m=stage.model("a", "b", failure=failure))
    stage["a"].behave(Mode.SERVER_ERROR)
    assert sorted([(await stage.ask()).status for _ in range(10)]) == [200] * 5 + [502] * 5
    assert await served_by(stage, 4) == ["b"] * 4
    assert told_out(stage) == {"a": "Ejected for 30.0 s more, because 5 calls in a row failed."}
    stage["a"].behave(Mode.PLAIN)
    stage.clock.advance(30.1)
    assert sorted(await served_by(stage, 4)) == ["a", "a", "b", "b"]


async def test_one_backend_is_never_ejected(stage):
    await stage.serve(m=stage.model("a", "b", failure=ONCE | {"breaker": None, "ejection": {}}))
    for name in "ab":
        stage[name].behave(Mode.SERVER_ERROR)
    for _ in range(12):
        assert (await stage.ask()).status == 502
    assert len(told_out(stage)) == 1


@dataclass
class Health:
    """What a check says of each provider (podium.gateway.ports.HealthSource, HealthView)."""

    usable: bool = True

    def explain(self):
        return "The last 3 checks failed."


class Checks:
    def __init__(self):
        self.views = {}

    def view(self, account, spec):
        return self.views.setdefault(account, Health())

    def retire_unused(self):
        pass


async def test_who_fails_its_checks_is_left_out_until_it_passes(stage):
    checks = stage.checked_by(Checks())
    await stage.serve(m="a b")
    checks.views["a"].usable = False
    stage.gateway.fleet.noticed()
    assert await served_by(stage, 3) == ["b"] * 3
    assert told_out(stage) == {"a": "The provider a fails its health checks. The last 3 checks failed."}
    checks.views["b"].usable = False
    stage.gateway.fleet.noticed()
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"], answer.header("retry-after")) == (503, "no_backend", "5")
    checks.views["a"].usable = True
    stage.gateway.fleet.noticed()
    assert await served_by(stage, 2) == ["a"] * 2


# Changes while it serves.


async def test_backends_come_and_go_while_streams_run(stage):
    await stage.serve(m="a")
    stage["a"].behave(LONG)
    async with stage.asking(stream=True) as client:
        head = await client.read_head()
        await stage.serve(m="b")
        assert await served_by(stage, 2) == ["b", "b"]
        assert list(stage.gateway.fleet._accounts) == ["b"]
        await stage.serve(m="a b")
        stage["a"].behave(Mode.PLAIN)
        assert sorted(await served_by(stage, 4)) == ["a", "a", "b", "b"]
        assert stage.state("a").load.in_flight == 0  # the running stream is the old one's
        answer = await client.read_body(head)
        assert answer.events()[-1] == "[DONE]"
    assert [event.reason for event in stage.gateway.events] == ["ok"] * 7


async def test_what_is_known_of_a_backend_outlives_snapshots(stage):
    touchy = ONCE | {"breaker": {"consecutive_failures": 2}}
    await stage.serve(m=stage.model("a", failure=touchy))
    stage["a"].behave(Mode.SERVER_ERROR)
    for _ in range(2):
        await stage.ask()
    await stage.serve(m=stage.model("a", "b", failure=touchy), n="a")
    assert await served_by(stage, 4) == ["b"] * 4
    assert "breaker" in told_out(stage)["a"]
    stage["a"].behave(Mode.PLAIN)
    assert (await stage.ask("n")).status == 200  # a breaker is a backend's, and a backend is a model's


async def test_a_rest_is_the_accounts_whichever_model_asks(stage):
    await stage.serve(m="a", n="a")
    stage["a"].behave("rate-limited,retry-after=30")
    await stage.ask()
    await stage.serve(m="a", n="a")
    assert (await stage.ask("n")).status == 429
    assert stage.calls("a") == [1]


async def test_a_draining_backend_finishes_what_it_has(stage):
    await stage.serve(m="a b")
    stage["a"].behave(LONG)
    async with stage.asking(stream=True) as client:
        head = await client.read_head()
        await stage.serve(m=stage.model("a*0", "b"))
        assert await served_by(stage, 4) == ["b"] * 4
        assert told_out(stage) == {"a": "Its weight is 0: it takes nothing new."}
        assert stage.state("a").load.in_flight == 1
        assert (await client.read_body(head)).events()[-1] == "[DONE]"
    await eventually(lambda: stage.state("a").load.in_flight == 0)
    await stage.serve(m="a b")
    stage["a"].behave(Mode.PLAIN)
    assert sorted(await served_by(stage, 4)) == ["a", "a", "b", "b"]


async def test_a_retry_of_a_running_exchange_finds_the_backends_that_it_began_with(stage, trail):
    await stage.serve(m="a b")
    stage["a"].behave("unavailable,before-head=100ms")
    asking = asyncio.create_task(stage.ask())
    await eventually(lambda: stage.calls("a") == [1])
    await stage.serve(m="a")
    assert (await asking).status == 200
    assert trail(await stage.event()) == ["first a upstream_error", "retry b ok"]


async def test_a_changed_bound_holds_at_once(stage):
    await stage.serve(m="a", providers={"a": {"max_calls": 1}})
    stage["a"].behave(Mode.STALLS_MIDWAY)
    async with stage.asking(stream=True) as first:
        await first.read_head()
        assert (await stage.ask()).status == 503
        await stage.serve(m="a", providers={"a": {"max_calls": 2}})
        async with stage.asking(stream=True) as second:
            assert (await second.read_head()).status == 200


async def test_a_strategy_may_change_while_streams_run(stage):
    await stage.serve(m="a b")
    stage["a"].behave(LONG)
    async with stage.asking(stream=True) as client:
        head = await client.read_head()
        for strategy in ("response_time", "least_in_flight", "lowest_cost", "weighted_round_robin", "prefix_affinity"):
            await stage.serve(m=stage.model("a", "b", balancing={"strategy": strategy}))
            stage["a"].behave(Mode.PLAIN)
            await served_by(stage, 2)
        assert (await client.read_body(head)).events()[-1] == "[DONE]"


async def test_retry_budget_and_second_calls_may_be_declared_and_taken_back(stage):
    await stage.serve(m="a b")
    await stage.serve(m=stage.model("a", "b", failure={"hedging": {}, "ejection": {}, "breaker": None}))
    assert len(await served_by(stage, 2)) == 2
    await stage.serve(m=stage.model("a", "b", failure={"retries": {"attempts": 1}}))
    stage["a"].behave(Mode.UNAVAILABLE)
    assert sorted([(await stage.ask()).status for _ in range(2)]) == [200, 503]


async def test_hundreds_of_snapshots_leave_nothing_behind(stage):
    for number in range(200):
        await stage.serve(m=f"a b{'' if number % 2 else ' c'}")
    fleet = stage.gateway.fleet
    assert set(fleet._accounts) == {"a", "b"}
    assert len(fleet._backends) == 2 and len(fleet._memories) == 1
    assert json.loads((await stage.ask()).body)["choices"]
