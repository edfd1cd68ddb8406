"""Exchanges before a pool whose places are taken: who waits, who is told what, and that every place comes back."""

import asyncio
import time
from contextlib import AsyncExitStack

import msgspec
import pytest

from podium.core.resources import Timeouts
from podium.gateway.fleet import Out
from podium.gateway.queue import PoolQueue
from podium.testing.gateway import TEST_KEY
from podium.testing.openai_requests import openai_error
from podium.testing.upstream import Mode
from podium.testing.waiting import eventually
from podium.traffic.account_backoff import NoticeSource, RateLimitNotice
from podium.traffic.queueing.fair_queue import Priority

ONE = {"places": 1}
NO_RETRIES = {"retries": {"attempts": 1}}


async def busy(stage, stack, count=1, model="m", provider="a"):
    """So many streams that keep their places until they are closed."""
    stage[provider].behave(Mode.STALLS_MIDWAY)
    clients = [await stack.enter_async_context(stage.asking(model, stream=True)) for _ in range(count)]
    for client in clients:
        assert (await client.read_head()).status == 200
    stage[provider].behave(Mode.PLAIN)
    return clients


def waiting(stage, model="m"):
    return [stage.queue(model).waiting(priority) for priority in Priority]


async def test_a_model_without_settings_has_no_queue(stage):
    await stage.serve(m="a")
    assert (await stage.ask()).status == 200
    assert stage.gateway.fleet._queues == {}
    assert (await stage.ask(headers={"x-podium-priority": "whatever"})).status == 200


async def test_who_finds_a_place_is_not_told_of_a_queue(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-queued-ms")) == (200, None)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_keeps_its_place_to_its_end_and_others_wait_for_it(stage, stream):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        (holder,) = await busy(stage, stack)
        other = asyncio.create_task(stage.ask(stream=stream))
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        assert stage.calls("a") == [1]
        stage.clock.advance(0.25)
        holder.close()
        answer = await other
    assert answer.status == 200
    assert answer.header("x-podium-queued-ms") == "250"
    event = next(event for event in stage.gateway.events if event.reason == "ok")
    assert event.upstream_ns - event.admitted_ns == 250_000_000


async def test_a_full_queue_answers_at_once_and_says_when_to_come_again(stage):
    await stage.serve(m=stage.model("a", queueing=ONE | {"max_entries": 1}))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        first = await stack.enter_async_context(stage.asking())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        took_s = []
        for _ in range(10):
            began_s = time.monotonic()
            answer = await stage.ask()
            took_s.append(time.monotonic() - began_s)
            assert (answer.status, openai_error(answer)["code"]) == (503, "overloaded")
            assert int(answer.header("retry-after")) in (1, 2)
        assert min(took_s) < 0.05  # what a machine that does other things adds does not count
        first.close()
        await eventually(lambda: waiting(stage) == [0, 0, 0])
    assert stage.calls("a") == [1]
    told = [event for event in stage.gateway.events if event.reason == "overloaded"]
    assert [(event.status, event.fault, event.attempts, event.cost_nanousd) for event in told] == [
        (503, "podium", 0, 0)
    ] * 10


async def test_one_tenant_s_share_of_the_queue_is_its_own_fault(stage):
    await stage.serve(m=stage.model("a", queueing=ONE | {"max_entries": 10, "max_per_tenant": 1}))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        await stack.enter_async_context(stage.asking())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        answer = await stage.ask()
        assert (answer.status, openai_error(answer)["code"]) == (429, "tenant_queue_full")
        assert answer.header("retry-after") is not None


async def test_whoever_goes_while_waiting_is_forgotten_and_costs_nothing(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        async with stage.asking() as client:
            await eventually(lambda: waiting(stage) == [0, 1, 0])
            client.close()
            await eventually(lambda: waiting(stage) == [0, 0, 0])
    await eventually(lambda: len(stage.gateway.events) == 2)
    event = next(event for event in stage.gateway.events if not event.attempts)
    assert (event.reason, event.cost_nanousd, event.upstream_ns) == ("client_gone", 0, -1)
    assert stage.calls("a") == [1]


async def test_a_deadline_ends_the_wait(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        client = await stack.enter_async_context(stage.asking(headers={"x-podium-timeout-ms": "500"}))
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        stage.clock.advance(0.6)
        answer = await client.read_response()
        assert (answer.status, openai_error(answer)["code"]) == (503, "cannot_start_in_time")
    assert stage.calls("a") == [1]


async def test_what_cannot_end_in_time_is_not_begun(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    queue = stage.gateway.follower.current.pool("m").queue
    for _ in range(20):  # what takes two seconds
        assert queue.try_enter(stage.clock.monotonic_ns())
        stage.clock.advance(2.0)
        queue.leave(stage.clock.monotonic_ns(), served_ns=2_000_000_000)
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        late = await stage.ask(headers={"x-podium-timeout-ms": "4000"})  # it could start, but not end
        assert (late.status, openai_error(late)["code"]) == (503, "cannot_start_in_time")
        assert int(late.header("retry-after")) >= 2
        await stack.enter_async_context(stage.asking(headers={"x-podium-timeout-ms": "9000"}))
        await eventually(lambda: waiting(stage) == [0, 1, 0])


@pytest.mark.parametrize(
    ("asked", "rules", "found"),
    [
        (None, [], "standard"),
        ("batch", [], "batch"),
        ("critical", [], "standard"),
        (" Critical ", [{"highest": "critical"}], "critical"),
        (None, [{"highest": "critical"}], "standard"),
        (None, [{"tenants": ["te*"], "highest": "batch"}], "batch"),
        (None, [{"tiers": ["free"], "highest": "batch"}], "standard"),
        ("critical", [{"tenants": ["other"], "highest": "critical"}], "standard"),
        ("critical", [{"keys": [TEST_KEY.id], "highest": "critical"}, {"highest": "batch"}], "critical"),
    ],
)
async def test_classes_are_asked_for_and_allowed(stage, asked, rules, found):
    await stage.serve(m=stage.model("a", queueing=ONE | {"priorities": rules}))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        headers = {} if asked is None else {"x-podium-priority": asked}
        await stack.enter_async_context(stage.asking(headers=headers))
        await eventually(lambda: sum(waiting(stage)) == 1)
        assert stage.queue().waiting(Priority(found)) == 1


async def test_a_tier_may_say_which_class_is_allowed(stage):
    rules = [{"tiers": ["gold"], "highest": "critical"}]
    await stage.serve(m=stage.model("a", queueing=ONE | {"priorities": rules}))
    snapshot = stage.gateway.follower.current.snapshot
    for tier in ("gold", "silver"):
        entry = msgspec.structs.replace(next(iter(snapshot.keys)), tier=tier)
        stage.gateway.follower.install(msgspec.structs.replace(snapshot, keys=(entry,)))
        async with AsyncExitStack() as stack:
            await busy(stage, stack)
            await stack.enter_async_context(stage.asking(headers={"x-podium-priority": "critical"}))
            await eventually(lambda: sum(waiting(stage)) == 1)
            assert stage.queue().waiting(Priority.CRITICAL) == (tier == "gold")
        await eventually(lambda: not stage.gateway.in_flight)


async def test_a_class_that_does_not_exist_is_an_error_that_names_the_others(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    answer = await stage.ask(headers={"x-podium-priority": "urgent"})
    assert (answer.status, openai_error(answer)["code"]) == (400, "invalid_request")
    assert "critical, standard, batch" in openai_error(answer)["message"]


async def test_retries_keep_the_one_place(stage, trail):
    await stage.serve(m=stage.model("a", "b", queueing=ONE))
    stage["a"].behave(Mode.UNAVAILABLE)
    assert [(await stage.ask()).status for _ in range(3)] == [200] * 3
    assert trail(await stage.event())[-1].endswith("ok")


async def test_the_place_of_the_first_model_is_free_before_the_second_one_is_asked(stage):
    fallback = NO_RETRIES | {"fallbacks": [{"model": "n"}]}
    await stage.serve(
        m=stage.model("a", queueing=ONE, failure=fallback), n=stage.model("b", queueing=ONE, failure=NO_RETRIES)
    )
    async with AsyncExitStack() as stack:
        (holder,) = await busy(stage, stack, model="n", provider="b")
        stage["a"].behave(Mode.UNAVAILABLE)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage, "n") == [0, 1, 0])
        assert stage.queue("m").running == 0
        holder.close()
        answer = await task
    assert (answer.status, answer.header("x-podium-model")) == (200, "n")


async def test_who_is_shed_may_go_on_to_another_model(stage):
    fallback = {"fallbacks": [{"model": "n"}]}
    await stage.serve(m=stage.model("a", queueing=ONE | {"max_entries": 1}, failure=fallback), n="b")
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        await stack.enter_async_context(stage.asking())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        answer = await stage.ask()
        assert (answer.status, answer.header("x-podium-model")) == (200, "n")


async def test_whatever_goes_wrong_gives_the_place_back(stage):
    """The stage's end looks at it; one place, so the next one would wait for ever."""
    quick = Timeouts(connect_s=1.0, first_byte_s=0.1, between_bytes_s=0.1, total_s=5.0)
    await stage.serve(
        m=stage.model("a", queueing=ONE, failure=NO_RETRIES | {"breaker": None}),
        providers={"a": {"timeouts": quick}},
    )
    for mode in (Mode.SERVER_ERROR, Mode.BAD_REQUEST, Mode.SILENT, Mode.RESETS_AT_START, Mode.MALFORMED_JSON):
        stage["a"].behave(mode)
        assert (await stage.ask()).status >= 400
    for mode in (Mode.RESETS_MIDWAY, Mode.STALLS_MIDWAY):
        stage["a"].behave(mode)
        await stage.ask(stream=True)
    stage["a"].behave(Mode.PLAIN)
    assert (await stage.ask(stream="no")).status == 400
    assert (await stage.ask()).status == 200


async def test_who_waits_does_not_notice_a_snapshot(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        (holder,) = await busy(stage, stack)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        queue = stage.queue()
        await stage.serve(m=stage.model("a", queueing=ONE | {"weights": {"test": 2}}))
        assert stage.queue() is queue
        assert (queue.running, waiting(stage)) == (1, [0, 1, 0])
        holder.close()
        assert (await task).status == 200


async def test_more_places_by_a_snapshot_are_there_at_once(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        await stage.serve(m=stage.model("a", queueing={"places": 2}))
        assert (await task).status == 200


async def test_a_queue_that_is_taken_away_serves_those_who_wait(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        (holder,) = await busy(stage, stack)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        await stage.serve(m="a")
        assert (await stage.ask()).status == 200
        assert stage.gateway.fleet._queues == {}
        holder.close()
        assert (await task).status == 200


async def test_a_new_version_waits_in_the_same_queue(stage):
    await stage.serve(m=stage.model("a", queueing=ONE))
    async with AsyncExitStack() as stack:
        (holder,) = await busy(stage, stack)
        snapshot = stage.gateway.follower.current.snapshot
        version = msgspec.structs.replace(snapshot.versions["m-1"], parameters={"temperature": 0})
        models = {"m": msgspec.structs.replace(snapshot.models["m"], version="m-2")}
        stage.gateway.follower.install(
            msgspec.structs.replace(snapshot, revision=9, versions={"m-2": version}, models=models)
        )
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        holder.close()
        answer = await task
    assert answer.header("x-podium-version").startswith("m-2@")


async def test_nobody_waits_for_a_pool_that_is_out(stage):
    await stage.serve(
        m=stage.model(
            "a",
            queueing=ONE,
            failure={"retries": {"attempts": 1}, "breaker": {"consecutive_failures": 1, "open_s": 5.0}},
        )
    )
    async with AsyncExitStack() as stack:
        await busy(stage, stack)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        stage.state("a").breaker._step("consecutive", stage.clock.monotonic_ns())
        stage.gateway.fleet.noticed()
        async with asyncio.timeout(1):
            answer = await task
        assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
        assert (await stage.ask()).status == 503
    stage.clock.advance(6)
    assert (await stage.ask()).status == 200


# Limits that find themselves.

FOUND = {"concurrency": {"algorithm": "aimd", "initial": 2, "minimum": 1, "maximum": 4}}


async def test_places_are_the_sum_of_what_the_backends_bear(stage):
    await stage.serve(m=stage.model("a", "b", queueing=FOUND))
    async with AsyncExitStack() as stack:
        stage["b"].behave(Mode.STALLS_MIDWAY)
        await busy(stage, stack, count=2)
        assert stage.queue().limit == 4
        stage["a"].behave(Mode.STALLS_MIDWAY)
        stage["b"].behave(Mode.STALLS_MIDWAY)
        clients = [await stack.enter_async_context(stage.asking(stream=True)) for _ in range(4)]
        await eventually(lambda: waiting(stage) == [0, 2, 0])
        assert [stage.state(name).load.in_flight for name in "ab"] == [2, 2]
        pool = stage.gateway.follower.current.pool("m")
        now_ns = stage.clock.monotonic_ns()
        assert all(backend.state.out(now_ns) is None for backend in pool.backends)
        assert {pool.explain(backend, now_ns) for backend in pool.backends} == {
            pool.backends[0].state.explain(Out.FULL, now_ns)
        }
        for client in clients:
            client.close()
        await eventually(lambda: waiting(stage) == [0, 0, 0])


async def test_fixed_places_bound_what_was_found(stage):
    await stage.serve(m=stage.model("a", "b", queueing=FOUND | {"places": 3}))
    assert (await stage.ask()).status == 200
    assert stage.queue().limit == 3


async def test_a_backend_that_refuses_by_load_bears_less(stage):
    await stage.serve(m=stage.model("a", "b", queueing=FOUND, failure={"breaker": None}))
    stage["a"].behave(Mode.UNAVAILABLE)
    assert (await stage.ask()).status == 200
    assert [stage.state(name).concurrency.limit for name in "ab"] == [1, 2]
    assert (await stage.ask()).status == 200
    assert stage.queue().limit == 3


async def test_first_contents_let_the_limit_rise_and_wake_who_waits(stage):
    await stage.serve(m=stage.model("a", queueing=FOUND, failure={"breaker": None}))
    state = stage.state("a")
    async with AsyncExitStack() as stack:
        await busy(stage, stack, count=2)
        task = asyncio.create_task(stage.ask())
        await eventually(lambda: waiting(stage) == [0, 1, 0])
        stage.clock.advance(1.0)
        for _ in range(60):
            state.first_content(1.0, stage.clock.monotonic_ns())
        assert state.concurrency.limit == 3
        assert (await task).status == 200


async def test_a_changed_algorithm_goes_on_with_the_calls_that_run(stage):
    await stage.serve(m=stage.model("a", queueing=FOUND))
    async with AsyncExitStack() as stack:
        await busy(stage, stack, count=2)
        await stage.serve(m=stage.model("a", queueing={"concurrency": {"initial": 3}}))
        assert stage.state("a").concurrency.in_flight == 2
        assert (await stage.ask()).status == 200
        await stage.serve(m=stage.model("a", queueing=ONE))
        assert stage.state("a").concurrency is None
        await stage.serve(m=stage.model("a", queueing=FOUND))
        assert stage.state("a").concurrency.in_flight == 2


async def test_a_backend_that_is_probed_adds_no_places(stage):
    failure = NO_RETRIES | {"breaker": {"consecutive_failures": 1, "open_s": 5.0, "probe_successes": 2}}
    await stage.serve(m=stage.model("a", "b", queueing=FOUND, failure=failure))
    stage["a"].behave(Mode.SERVER_ERROR, calls=1)
    assert sorted([(await stage.ask()).status for _ in range(2)]) == [200, 502]
    assert (await stage.ask()).status == 200
    assert stage.queue().limit == 2
    stage.clock.advance(6)
    while stage.state("a").breaker.state != "closed":
        assert stage.queue().limit == 2
        assert (await stage.ask()).status == 200
    assert (await stage.ask()).status == 200
    assert stage.queue().limit == 4


async def test_a_backend_whose_account_is_tried_after_a_rest_adds_no_places(stage):
    await stage.serve(m=stage.model("a", "b", queueing=FOUND))
    now_ns = stage.clock.monotonic_ns()
    notice = RateLimitNotice(refused=True, wait_s=5.0, source=NoticeSource.RETRY_AFTER)
    stage.state("a").account.backoff.record(notice, now_ns, probe=False)
    stage.gateway.fleet.noticed()
    assert stage.queue().places(now_ns) == 2
    stage.clock.advance(6)
    assert stage.state("a").out(stage.clock.monotonic_ns()) is None
    assert stage.queue().places(stage.clock.monotonic_ns()) == 2
    assert [(await stage.ask()).status for _ in range(2)] == [200, 200]
    assert stage.queue().places(stage.clock.monotonic_ns()) == 4


@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_learns_from_the_time_to_the_first_content(stage, stream):
    await stage.serve(m=stage.model("a", queueing=FOUND))
    stage["a"].behave("before-head=100ms")
    task = asyncio.create_task(stage.ask(stream=stream))
    await eventually(lambda: stage.calls("a") == [1])
    stage.clock.advance(0.25)
    assert (await task).status == 200
    assert stage.state("a").concurrency._samples == [pytest.approx(250.0)]


async def test_only_successes_say_how_long_an_exchange_takes_and_only_calls_are_work(stage, monkeypatch):
    told = []
    leave = PoolQueue.leave

    def leaving(queue, now_ns, **facts):
        told.append(tuple(facts.values()))
        leave(queue, now_ns, **facts)

    monkeypatch.setattr(PoolQueue, "leave", leaving)
    model = stage.model("a", queueing={"places": 2}, failure=NO_RETRIES)
    await stage.serve(m=model, providers={"a": {"max_calls": 1}})
    for mode in ("before-head=100ms", "server-error,before-head=100ms"):
        stage["a"].behave(mode)
        seen = stage["a"].requests_seen
        task = asyncio.create_task(stage.ask())
        await eventually(lambda seen=seen: stage["a"].requests_seen > seen)
        assert (await stage.ask()).status == 503  # the account is full
        stage.clock.advance(0.25)
        await task
    assert told == [(False, 0), (True, 250_000_000), (False, 0), (True, 0)]


async def test_a_caller_s_own_deadline_says_nothing_about_the_backend(stage):
    quick = Timeouts(connect_s=1.0, first_byte_s=0.2, between_bytes_s=0.2, total_s=5.0)
    model = stage.model("a", queueing=FOUND, failure=NO_RETRIES)
    await stage.serve(m=model, providers={"a": {"timeouts": quick}})
    stage["a"].behave(Mode.SILENT)
    assert (await stage.ask(headers={"x-podium-timeout-ms": "50"})).status == 504
    assert stage.state("a").concurrency.limit == 2
    assert (await stage.ask()).status == 504
    assert stage.state("a").concurrency.limit == 1


async def test_when_second_calls_have_taken_the_room_it_is_told_as_overload(stage):
    await stage.serve(m=stage.model("a", queueing=FOUND))
    state = stage.state("a")
    now_ns = stage.clock.monotonic_ns()
    taken = [state.enter(now_ns) for _ in range(2)]
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "overloaded")
    assert answer.header("retry-after") == "1"
    for probes in taken:
        state.leave(probes, None, now_ns, first_content_ms=0.0)
