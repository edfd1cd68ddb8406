"""A call's way past failing backends: retries, breakers, accounts that rest, places, deadlines."""

import asyncio
import json
import socket
import time

import msgspec
import pytest

from podium.core.resources import BackendSpec, Timeouts
from podium.core.serving import CircuitBreaker
from podium.testing.openai_requests import openai_error
from podium.testing.upstream import MODES, Mode
from podium.testing.waiting import eventually

NO_RETRIES = {"retries": {"attempts": 1}}
TOUCHY = {"retries": {"attempts": 1}, "breaker": {"consecutive_failures": 2, "open_s": 5.0, "probe_successes": 1}}


# Retries.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "mode",
    [Mode.UNAVAILABLE, Mode.BAD_GATEWAY, Mode.RESETS_AT_START, Mode.CLOSES_BEFORE_CONTENT, Mode.RATE_LIMITED],
)
async def test_a_failed_call_is_made_again_on_another_backend(stage, trail, mode, stream):
    await stage.serve(m="a b")
    stage["a"].behave(mode)
    answer = await stage.ask(stream=stream)
    assert answer.status == 200
    assert answer.header("x-podium-backend") == "b/b-model"
    assert answer.header("x-podium-attempts") == "2"
    reason = str(MODES[mode].expected.streamed if stream else MODES[mode].expected.whole)
    why = "only_one" if mode is Mode.RATE_LIMITED else "turn"  # its account is out by then
    assert answer.header("x-podium-trail") == f"first a/a-model turn {reason}, retry b/b-model {why} ok"
    event = await stage.event()
    assert (event.reason, event.attempts, event.provider) == ("ok", 2, "b")
    assert trail(event) == [f"first a {reason}", "retry b ok"]
    assert [call.cost_nanousd for call in event.trail] == [0, event.cost_nanousd]
    assert event.cost_nanousd == 2 * (event.input_tokens * 1000 + event.output_tokens * 10_000)
    assert event.served_model == "" and event.fallbacks == event.hedges == 0


async def test_one_call_leaves_no_trail(stage):
    await stage.serve(m="a")
    answer = await stage.ask()
    assert (answer.header("x-podium-attempts"), answer.header("x-podium-trail")) == ("1", None)
    assert answer.header("x-podium-choice") == "only_one"
    event = await stage.event()
    assert (event.attempts, event.trail, event.why) == (1, (), "only_one")


async def test_a_server_that_is_not_there_is_left_for_another(stage, trail):
    await stage.serve(m="a b", providers={"a": {"base_url": "http://127.0.0.1:9/v1"}})
    assert (await stage.ask()).status == 200
    assert trail(await stage.event()) == ["first a upstream_unreachable", "retry b ok"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_backend_without_others_is_asked_again_after_a_moment(stage, trail, stream):
    await stage.serve(m="a")
    stage["a"].behave(Mode.UNAVAILABLE, calls=1)
    assert (await stage.ask(stream=stream)).status == 200
    assert trail(await stage.event()) == ["first a upstream_error", "retry a ok"]


async def test_who_is_alone_and_rate_limited_is_not_asked_again(stage):
    await stage.serve(m="a")
    stage["a"].behave(Mode.RATE_LIMITED, calls=1)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (429, "upstream_rate_limited")
    assert stage.calls("a") == [1]


async def test_there_are_as_many_calls_as_are_allowed(stage, trail):
    await stage.serve(m=stage.model("a", "b", "c", failure={"retries": {"attempts": 3}}))
    for name in "abc":
        stage[name].behave(Mode.UNAVAILABLE)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "upstream_error")
    assert answer.header("x-podium-attempts") == "3"
    assert sorted(stage.calls("a", "b", "c")) == [1, 1, 1]
    event = await stage.event()
    assert [call.kind for call in event.trail] == ["first", "retry", "retry"]
    assert (event.cost_nanousd, event.input_tokens) == (0, 0)


async def test_with_all_backends_tried_one_of_them_is_asked_again(stage):
    await stage.serve(m=stage.model("a", "b", failure={"retries": {"attempts": 4, "backoff_s": 0.001}}))
    stage["a"].behave(Mode.UNAVAILABLE)
    stage["b"].behave(Mode.UNAVAILABLE)
    assert (await stage.ask()).status == 503
    assert sum(stage.calls("a", "b")) == 4


@pytest.mark.parametrize("mode", [Mode.SERVER_ERROR, Mode.BAD_REQUEST, Mode.MALFORMED_JSON, Mode.CONTEXT_TOO_LONG])
async def test_what_another_call_would_not_mend_is_final(stage, mode):
    await stage.serve(m="a b")
    stage["a"].behave(mode)
    assert (await stage.ask()).status >= 400
    assert stage.calls("a", "b") == [1, 0]


async def test_after_the_first_content_nothing_is_tried_again(stage):
    await stage.serve(
        m=stage.model("a", "b", failure={"fallbacks": [{"model": "n"}], "last_resort": {"text": "x"}}), n="b"
    )
    stage["a"].behave(Mode.RESETS_MIDWAY)
    answer = await stage.ask(stream=True)
    assert answer.status == 200
    assert json.loads(answer.events()[-1])["error"]["code"] == "upstream_broken"
    assert stage.calls("a", "b") == [1, 0]
    event = await stage.event()
    assert (event.reason, event.attempts, event.status) == ("upstream_broken", 1, 502)


async def test_retries_are_a_share_of_the_traffic(stage):
    """0.1 a second and nothing else: one in ten seconds."""
    await stage.serve(m=stage.model("a", "b", failure={"retries": {"budget_share": 0, "budget_per_s": 0.1}}))
    stage["a"].behave(Mode.UNAVAILABLE)
    stage["b"].behave(Mode.UNAVAILABLE)
    assert [(await stage.ask()).header("x-podium-attempts") for _ in range(3)] == ["2", "1", "1"]
    stage.clock.advance(20)
    assert (await stage.ask()).header("x-podium-attempts") == "2"


async def test_what_was_not_retried_costs_nothing_of_the_budget(stage):
    """The other backend has the same account, so nobody is left after a 429: the one retry is still there."""
    failure = {"retries": {"budget_share": 0, "budget_per_s": 0.1}}
    backends = BackendSpec(provider="a", model="one"), BackendSpec(provider="a", model="two")
    await stage.serve(m=stage.model(*backends, failure=failure))
    stage["a"].behave("rate-limited,retry-after=1", calls=1)
    assert (await stage.ask()).status == 429
    assert stage.calls("a") == [1]
    stage.clock.advance(2)
    stage["a"].behave(Mode.UNAVAILABLE, calls=1)
    assert (await stage.ask()).status == 200


async def test_wrong_credentials_of_one_provider_leave_the_call_to_another(stage, trail):
    await stage.serve(m="a b")
    stage["a"].behave(Mode.UNAUTHORIZED)
    assert (await stage.ask()).status == 200
    assert trail(await stage.event()) == ["first a upstream_error", "retry b ok"]


# Breakers.


async def test_a_breaker_opens_others_take_over_and_a_probe_closes_it(stage):
    await stage.serve(m=stage.model("a", "b", failure=TOUCHY))
    stage["a"].behave(Mode.SERVER_ERROR)
    assert sorted([(await stage.ask()).status for _ in range(4)]) == [200, 200, 502, 502]
    assert stage.calls("a", "b") == [2, 2]
    assert [(await stage.ask()).status for _ in range(6)] == [200] * 6
    assert stage.calls("a", "b") == [2, 8]
    assert "breaker" in stage.gateway.follower.current.pool("m").explain(
        stage.gateway.follower.current.pool("m").backends[0], stage.clock.monotonic_ns()
    )
    stage["a"].behave(Mode.PLAIN)
    stage.clock.advance(5.1)
    assert [(await stage.ask()).status for _ in range(4)] == [200] * 4
    assert stage.calls("a", "b") == [4, 10]


async def test_a_probe_that_fails_opens_the_breaker_for_longer(stage):
    await stage.serve(m=stage.model("a", "b", failure=TOUCHY))
    stage["a"].behave(Mode.SERVER_ERROR)
    for _ in range(4):
        await stage.ask()
    stage.clock.advance(5.1)
    for _ in range(4):
        await stage.ask()
    assert stage.calls("a") == [3]
    stage.clock.advance(5.1)
    await stage.ask()
    assert stage.calls("a") == [3]
    stage.clock.advance(5.0)
    for _ in range(2):
        await stage.ask()
    assert stage.calls("a") == [4]


async def test_a_breaker_without_others_refuses_and_says_when_to_come_back(stage):
    await stage.serve(m=stage.model("a", failure=TOUCHY))
    stage["a"].behave(Mode.SERVER_ERROR)
    for _ in range(2):
        await stage.ask()
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"], answer.header("retry-after")) == (503, "no_backend", "5")
    assert stage.calls("a") == [2]
    event = await stage.event(2)
    assert (event.attempts, event.fault, event.trail) == (0, "podium", ())


async def test_while_a_probe_runs_others_are_told_to_come_back_soon(stage):
    await stage.serve(m=stage.model("a", failure=TOUCHY))
    stage["a"].behave(Mode.SERVER_ERROR)
    for _ in range(2):
        await stage.ask()
    stage.clock.advance(6)
    stage["a"].behave("paced=10ms,chunks=1000")
    async with stage.asking(stream=True) as probe:
        await probe.read_head()
        answer = await stage.ask()
        assert (answer.status, answer.header("retry-after")) == (503, "5")
    await eventually(lambda: not stage.gateway.in_flight)
    stage["a"].behave(Mode.PLAIN)
    assert (await stage.ask()).status == 200  # the probe's caller has gone, which says nothing: this is the next one


async def test_a_snapshot_that_comes_while_all_backends_are_out_refuses_too(stage):
    for _ in range(2):
        await stage.serve(m=stage.model("a", failure=TOUCHY))
        stage["a"].behave(Mode.SERVER_ERROR)
        for _ in range(2):
            await stage.ask()
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
    assert stage.calls("a") == [2]


async def test_callers_faults_do_not_open_a_breaker(stage):
    await stage.serve(m=stage.model("a", failure=TOUCHY))
    stage["a"].behave(Mode.BAD_REQUEST)
    assert [(await stage.ask()).status for _ in range(4)] == [400] * 4


async def test_an_accounts_breaker_covers_all_of_its_models(stage):
    breaker = {"consecutive_failures": 2, "open_s": 5.0}
    await stage.serve(
        m=stage.model("a", failure={"breaker": None} | NO_RETRIES),
        n=stage.model("a", failure={"breaker": None} | NO_RETRIES),
        providers={"a": {"breaker": msgspec.convert(breaker, CircuitBreaker)}},
    )
    stage["a"].behave(Mode.SERVER_ERROR)
    assert [(await stage.ask("m")).status, (await stage.ask("n")).status] == [502, 502]
    assert [(await stage.ask("m")).status, (await stage.ask("n")).status] == [503, 503]
    assert stage.calls("a") == [2]


# Accounts that rest.


async def test_a_rate_limited_account_is_left_alone_for_as_long_as_it_asked(stage):
    await stage.serve(m="a b")
    stage["a"].behave("rate-limited,retry-after=30")
    assert [(await stage.ask()).status for _ in range(6)] == [200] * 6
    assert stage.calls("a", "b") == [1, 6]
    stage.clock.advance(29)
    assert (await stage.ask()).status == 200
    assert stage.calls("a") == [1]
    stage.clock.advance(1.5)
    stage["a"].behave(Mode.PLAIN)
    assert [(await stage.ask()).status for _ in range(4)] == [200] * 4
    assert stage.calls("a") == [3]


async def test_after_its_rest_an_account_gets_one_probe(stage):
    await stage.serve(m=stage.model("a", failure=NO_RETRIES))
    stage["a"].behave("rate-limited,retry-after=30")
    await stage.ask()
    stage.clock.advance(31)
    stage["a"].behave("slow-head=100ms")
    answers = await asyncio.gather(*(stage.ask() for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 429, 429, 429, 429]
    assert stage.calls("a") == [2]
    assert (await stage.ask()).status == 200


async def test_when_all_accounts_rest_callers_hear_it_at_once(stage):
    await stage.serve(m=stage.model("a", "b", "c*0"))
    stage["a"].behave("rate-limited,retry-after=30")
    stage["b"].behave("rate-limited,retry-after=20")
    assert (await stage.ask()).status == 429
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"], answer.header("retry-after")) == (
        429,
        "upstream_rate_limited",
        "20",
    )
    assert stage.calls("a", "b", "c") == [1, 1, 0]
    event = await stage.event(1)
    assert (event.fault, event.attempts) == ("upstream", 0)


async def test_a_probe_that_fails_in_another_way_says_nothing_about_limits(stage):
    await stage.serve(m=stage.model("a", failure={"breaker": None} | NO_RETRIES))
    stage["a"].behave("rate-limited,retry-after=5")
    await stage.ask()
    stage.clock.advance(6)
    stage["a"].behave(Mode.SERVER_ERROR)
    assert (await stage.ask()).status == 502
    assert stage.state("a").account.backoff.resting
    stage["a"].behave(Mode.PLAIN)
    assert (await stage.ask()).status == 200
    assert not stage.state("a").account.backoff.resting


async def test_overload_with_a_time_lets_the_account_rest_too(stage):
    await stage.serve(m="a b")
    stage["a"].behave("unavailable,retry-after=30")
    assert [(await stage.ask()).status for _ in range(4)] == [200] * 4
    assert stage.calls("a") == [1]


# Places.


async def test_a_full_account_leaves_calls_to_others_or_refuses(stage):
    await stage.serve(m="a b", providers={name: {"max_calls": 1} for name in "ab"})
    for name in "ab":
        stage[name].behave("stalls-midway")
    async with stage.asking(stream=True) as one, stage.asking(stream=True) as two:
        await one.read_head()
        await two.read_head()
        assert stage.calls("a", "b") == [1, 1]
        answer = await stage.ask()
        assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
        assert answer.header("retry-after")
        pool = stage.gateway.follower.current.pool("m")
        assert "all of its 1 calls" in pool.explain(pool.backends[0], stage.clock.monotonic_ns())
    await eventually(lambda: not stage.gateway.in_flight)
    stage["a"].behave(Mode.PLAIN)
    stage["b"].behave(Mode.PLAIN)
    assert (await stage.ask()).status == 200


async def test_a_backend_of_weight_0_takes_nothing_new(stage):
    await stage.serve(m=stage.model("a", "b*0"))
    assert [(await stage.ask()).status for _ in range(4)] == [200] * 4
    assert stage.calls("a", "b") == [4, 0]
    await stage.serve(m=stage.model("a*0", "b*0"))
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")


# What a protocol cannot say.


async def test_a_protocol_that_cannot_say_what_is_asked_leaves_it_to_another(stage, trail):
    await stage.serve(m="a b", providers={"a": {"protocol": "anthropic"}})
    answer = await stage.ask(seed=7)
    assert (answer.status, answer.header("x-podium-backend")) == (200, "b/b-model")
    assert trail(await stage.event()) == ["first a unsupported_parameter", "first b ok"]
    assert stage.calls("a", "b") == [0, 1]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_no_backend_can_say_is_the_callers_to_change(stage, stream):
    await stage.serve(m="a", providers={"a": {"protocol": "anthropic"}})
    answer = await stage.ask(seed=7, stream=stream)
    assert (answer.status, openai_error(answer)["code"]) == (400, "unsupported_parameter")
    event = await stage.event()
    assert (event.fault, event.cost_nanousd, event.input_tokens) == ("caller", 0, 0)
    assert stage.calls("a") == [0]


# Time.


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "999999999", "²"])
async def test_a_time_that_is_none_is_the_callers_fault(stage, value):
    await stage.serve(m="a")
    answer = await stage.ask(headers={"x-podium-timeout-ms": value})
    assert (answer.status, openai_error(answer)["code"]) == (400, "invalid_request")
    assert stage.calls("a") == [0]


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.STALLS_BEFORE_CONTENT])
async def test_a_callers_time_ends_the_call(stage, mode):
    await stage.serve(m="a b")
    stage["a"].behave(mode)
    began = time.monotonic()
    answer = await stage.ask(stream=True, headers={"x-podium-timeout-ms": "150"})
    assert (answer.status, openai_error(answer)["code"]) == (504, "upstream_timeout")
    assert 0.14 < time.monotonic() - began < 2.0  # the provider's own limits are no shorter
    assert stage.calls("a", "b") == [1, 0]
    assert (await stage.event()).fault == "upstream"


async def test_a_callers_time_travels_upstream_and_shrinks(stage):
    await stage.serve(m="a b")
    stage["a"].behave("unavailable,before-head=100ms")
    answer = await stage.ask(headers={"x-podium-timeout-ms": "2000"})
    assert answer.status == 200
    (first,), (second,) = stage["a"].requests, stage["b"].requests
    sent = [int(dict(request.headers)["x-podium-timeout-ms"]) for request in (first, second)]
    assert 1900 <= sent[0] <= 2000
    assert 0 < sent[1] <= 1900


async def test_without_a_callers_time_nothing_is_said_upstream(stage):
    await stage.serve(m="a")
    await stage.ask()
    assert "x-podium-timeout-ms" not in dict(stage["a"].requests[0].headers)


async def test_a_callers_time_runs_from_its_request_on(stage):
    """The time that the gateway has taken already, says its clock, is gone."""
    await stage.serve(m="a")
    ordinary = stage.gateway.flight._identify

    def slow(*arguments):
        stage.clock.advance(10)
        return ordinary(*arguments)

    stage.gateway.flight._identify = slow
    stage["a"].behave(Mode.SILENT)
    began = time.monotonic()
    assert (await stage.ask(headers={"x-podium-timeout-ms": "10100"})).status == 504
    assert time.monotonic() - began < 1.9


async def test_the_providers_own_limit_holds_over_all_attempts(stage):
    times = Timeouts(connect_s=1.0, first_byte_s=5.0, between_bytes_s=5.0, total_s=0.3)
    await stage.serve(m="a b", providers={name: {"timeouts": times} for name in "ab"})
    stage["a"].behave("unavailable,before-head=100ms")
    stage["b"].behave(Mode.SILENT)
    began = time.monotonic()
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (504, "upstream_timeout")
    assert 0.25 < time.monotonic() - began < 4.0
    assert stage.calls("a", "b") == [1, 1]


async def test_nobody_waits_for_a_retry_longer_than_there_is_time(stage, monkeypatch):
    monkeypatch.setattr("podium.gateway.flight.random", lambda: 0.9)
    retries = {"attempts": 3, "backoff_s": 60, "max_backoff_s": 60}
    await stage.serve(m=stage.model("a", failure={"retries": retries}))
    stage["a"].behave(Mode.UNAVAILABLE)
    began = time.monotonic()
    answer = await stage.ask(headers={"x-podium-timeout-ms": "5000"})
    assert (answer.status, openai_error(answer)["code"]) == (503, "upstream_error")
    assert time.monotonic() - began < 4.5
    assert stage.calls("a") == [1]


# Callers that go away.


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.STALLS_BEFORE_CONTENT, Mode.STALLS_MIDWAY])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_takes_the_call_along(stage, mode, stream):
    await stage.serve(m="a", providers={"a": {"max_calls": 1}})
    stage["a"].behave(mode)
    async with stage.asking(stream=stream):
        await eventually(lambda: stage.calls("a") == [1])
    event = await stage.event()
    assert (event.reason, event.status) == ("client_gone", 499)
    await eventually(lambda: stage["a"].open_connections == 0)
    await stage.is_empty()
    stage["a"].behave(Mode.PLAIN)
    assert (await stage.ask()).status == 200


async def test_a_caller_that_goes_while_we_connect_leaves_nothing(stage):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [_connecting(deaf.getsockname()) for _ in range(4)]  # then nobody else gets in
        await stage.serve(m="a", providers={"a": {"base_url": f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"}})
        async with stage.asking():
            await eventually(lambda: stage.state("a").load.in_flight == 1)
        event = await stage.event()
        assert event.reason == "client_gone"
        await stage.is_empty()
        for one in fillers:
            one.close()


def _connecting(address):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(address)
    return one


async def test_a_caller_that_goes_while_a_retry_is_waited_for_leaves_nothing(stage, monkeypatch):
    monkeypatch.setattr("podium.gateway.flight.random", lambda: 0.9)
    await stage.serve(m=stage.model("a", failure={"retries": {"backoff_s": 4, "max_backoff_s": 4}}))
    stage["a"].behave(Mode.UNAVAILABLE)
    async with stage.asking():
        await eventually(lambda: stage.calls("a") == [1] and not stage.state("a").load.in_flight)
    event = await stage.event()
    assert (event.reason, event.attempts, event.cost_nanousd) == ("client_gone", 1, 0)
    assert stage.calls("a") == [1]


async def test_a_bug_of_ours_in_a_call_leaves_no_place_taken(stage, monkeypatch):
    await stage.serve(m="a b", providers={"a": {"max_calls": 1}})

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("podium.gateway.call.Call._body_for", broken)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (500, "internal_error")
    await stage.is_empty()
