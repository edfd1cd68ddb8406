"""Other models that answer instead: for which causes, in which order, with which request, and what is told of it."""

import json
import time

import pytest

from podium.core.resources import Timeouts
from podium.testing.behaviour import Behaviour
from podium.testing.openai_requests import openai_error
from podium.testing.upstream import Mode

ONCE = {"attempts": 1}
CAUSES = ("down", "rate_limited", "context_too_long", "content_refused", "timeout")
QUICK = Timeouts(connect_s=1.0, first_byte_s=0.15, between_bytes_s=0.15, total_s=5.0)

# What a provider does, and which cause that is.
SHOWN = [
    (Mode.SERVER_ERROR, "down"),
    (Mode.UNAVAILABLE, "down"),
    (Mode.UNAUTHORIZED, "down"),
    (Mode.NOT_FOUND, "down"),
    (Mode.RESETS_AT_START, "down"),
    (Mode.HTML, "down"),
    (Mode.RATE_LIMITED, "rate_limited"),
    (Mode.QUOTA_EXHAUSTED, "rate_limited"),
    (Mode.CONTEXT_TOO_LONG, "context_too_long"),
    (Mode.TOO_LARGE, "context_too_long"),
    (Mode.CONTENT_REFUSED, "content_refused"),
    (Mode.SILENT, "timeout"),
]


def to(*models, **rule):
    """How a model's failures are handled: one call, then these models."""
    rules = [{"model": model, "on": list(CAUSES)} | rule for model in models]
    return {"retries": ONCE, "fallbacks": rules}


def body_at(simulator, number=0):
    return json.loads(simulator.requests[number].body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@pytest.mark.parametrize(("mode", "cause"), SHOWN)
async def test_another_model_answers_for_the_causes_that_are_named(stage, mode, cause, protocol, stream):
    others = [other for other in CAUSES if other != cause]
    await stage.serve(
        m=stage.model("a", failure=to("n", on=[cause])),
        other=stage.model("a", failure=to("n", on=others)),
        n="b",
        providers={"a": {"protocol": protocol, "timeouts": QUICK}},
    )
    stage["a"].behave(mode)
    assert (await stage.ask("other", stream=stream)).status >= 400
    assert stage.calls("b") == [0]
    stage.clock.advance(120)  # a rested account is asked again
    answer = await stage.ask(stream=stream)
    assert answer.status == 200
    assert stage.calls("b") == [1]
    event = await stage.event(1)
    assert (event.model, event.served_model, event.fallbacks, event.reason) == ("m", "n", 1, "ok")


async def test_answer_and_event_tell_which_model_answered(stage, trail):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert answer.header("x-podium-model") == "n"
    assert answer.header("x-podium-fallbacks") == "1"
    assert answer.header("x-podium-backend") == "b/b-model"
    assert answer.header("x-podium-version").startswith("n-1@")
    assert answer.header("x-podium-trail") == "first a/a-model only_one upstream_error, fallback b/b-model only_one ok"
    event = await stage.event()
    assert trail(event) == ["first a upstream_error", "fallback b ok"]
    assert [call.model for call in event.trail] == ["m", "n"]
    assert event.version == answer.header("x-podium-version")
    assert event.cost_nanousd == sum(call.cost_nanousd for call in event.trail)
    assert event.cost_nanousd == 2 * (event.input_tokens * 1000 + event.output_tokens * 10_000)


async def test_a_model_without_a_backend_left_is_down(stage):
    await stage.serve(m=stage.model("a*0", failure=to("n", on=["down"])), n="b")
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-model")) == (200, "n")
    assert (await stage.event()).attempts == 1


async def test_a_model_whose_accounts_all_rest_is_rate_limited(stage):
    await stage.serve(m=stage.model("a", failure=to("n", on=["rate_limited"])), n="b")
    stage["a"].behave("rate-limited,retry-after=30")
    assert [(await stage.ask()).header("x-podium-model") for _ in range(3)] == ["n"] * 3
    assert stage.calls("a", "b") == [1, 3]


@pytest.mark.parametrize("preset", [None, "xai"])
@pytest.mark.parametrize("stream", [False, True])
async def test_content_may_be_refused_with_the_status_of_wrong_credentials(stage, upstream, preset, stream):
    said = "Content violates usage guidelines. Failed check: SAFETY_CHECK"
    error = {"code": "The caller does not have permission", "error": said} if preset else {"error": {"message": said}}
    upstream.behaviour = Behaviour(status=403, body=json.dumps(error).encode())
    await stage.serve(
        m=stage.model("a", failure=to("n", on=["content_refused"])),
        alone="a",
        n="b",
        providers={"a": {"base_url": upstream.url, "preset": preset}},
    )
    assert (await stage.ask(stream=stream)).header("x-podium-model") == "n"
    for _ in range(6):  # no fault of the backend's: its breaker stays closed
        answer = await stage.ask("alone")
    assert answer.status == 403
    assert openai_error(answer)["message"] == said if preset else said in answer.body.decode()
    event = await stage.event(6)
    assert (event.reason, event.fault) == ("upstream_rejected", "caller")


async def test_wrong_credentials_are_still_ours_to_mend(stage, upstream):
    upstream.behaviour = Behaviour(status=403)
    await stage.serve(m="a", providers={"a": {"base_url": upstream.url}})
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (502, "upstream_error")
    assert "scripted" not in answer.body.decode()


async def test_words_of_a_server_error_may_say_what_it_is(stage, upstream):
    error = {"error": {"message": "the request exceeds the available context size"}}
    upstream.behaviour = Behaviour(status=500, body=json.dumps(error).encode())
    await stage.serve(
        m=stage.model("a", failure=to("n", on=["context_too_long"])), n="b", providers={"a": {"base_url": upstream.url}}
    )
    assert (await stage.ask()).header("x-podium-model") == "n"


# The request.


async def test_parameters_are_set_and_removed_for_the_other_model(stage):
    rule = {"parameters": {"temperature": 0.5, "seed": None, "top_p": 1}}
    await stage.serve(m=stage.model("a", failure=to("n", **rule)), n="b")
    stage["a"].behave(Mode.SERVER_ERROR)
    await stage.ask(temperature=1, seed=7, max_tokens=5)
    first, second = body_at(stage["a"]), body_at(stage["b"])
    assert (first["model"], first["temperature"], first["seed"]) == ("a-model", 1, 7)
    assert (second["model"], second["temperature"], second["top_p"], second["max_tokens"]) == ("b-model", 0.5, 1, 5)
    assert "seed" not in second and "top_p" not in first


async def test_parameters_of_the_rule_that_led_there_count(stage):
    rules = [
        {"model": "n", "on": ["down"], "parameters": {"temperature": 0.1}},
        {"model": "n", "on": ["context_too_long"], "parameters": {"temperature": 0.9}},
    ]
    await stage.serve(m=stage.model("a", failure={"retries": ONCE, "fallbacks": rules}), n="b")
    stage["a"].behave(Mode.CONTEXT_TOO_LONG)
    await stage.ask()
    assert body_at(stage["b"])["temperature"] == 0.9


async def test_each_model_of_a_chain_gets_the_callers_request(stage):
    await stage.serve(
        m=stage.model("a", failure=to("n", parameters={"seed": None, "top_p": 1})),
        n=stage.model("b", failure=to("o", parameters={"user": "x"})),
        o="c",
    )
    stage["a"].behave(Mode.SERVER_ERROR)
    stage["b"].behave(Mode.SERVER_ERROR)
    await stage.ask(seed=7)
    third = body_at(stage["c"])
    assert (third["seed"], third["user"]) == (7, "x")
    assert "top_p" not in third


async def test_the_other_models_own_version_holds(stage):
    own = {"parameters": {"temperature": 0.3}, "system_prompt": "Be brief."}
    theirs = {"parameters": {"top_p": 0.2}, "system_prompt": "Be long."}
    await stage.serve(m=stage.model("a", version=theirs, failure=to("n")), n=stage.model("b", version=own))
    stage["a"].behave(Mode.SERVER_ERROR)
    await stage.ask()
    body = body_at(stage["b"])
    assert (body["temperature"], body["messages"][0]["content"]) == (0.3, "Be brief.")
    assert "top_p" not in body and len(body["messages"]) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_goes_on_to_another_protocol(stage, stream):
    rule = {"parameters": {"stop": "END", "top_k": None}}
    await stage.serve(m=stage.model("a", failure=to("n", **rule)), n="b", providers={"a": {"protocol": "anthropic"}})
    stage["a"].behave(Mode.OVERLOADED)
    answer = await stage.ask(to="messages", stream=stream, top_k=4)
    assert (answer.status, answer.header("x-podium-model")) == (200, "n")
    assert body_at(stage["a"])["top_k"] == 4
    assert body_at(stage["b"])["stop"] == ["END"]
    kind = json.loads(answer.events()[0])["type"] if stream else answer.json()["type"]
    assert kind == ("message_start" if stream else "message")


# The way.


async def test_models_follow_one_another(stage, trail):
    await stage.serve(m=stage.model("a", failure=to("n", "o")), n=stage.model("b", failure=to("p")), o="c", p="d")
    for name in "abd":
        stage[name].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.header("x-podium-model"), answer.header("x-podium-fallbacks")) == ("o", "3")
    event = await stage.event()
    assert trail(event) == [
        "first a upstream_error",
        "fallback b upstream_error",
        "fallback d upstream_error",
        "fallback c ok",
    ]
    assert event.fallbacks == 3


async def test_no_ring_of_rules_turns(stage):
    await stage.serve(
        m=stage.model("a", failure=to("n")),
        n=stage.model("b", failure=to("o")),
        o=stage.model("c", failure=to("m", "n")),
    )
    for name in "abc":
        stage[name].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (502, "upstream_error")
    assert stage.calls("a", "b", "c") == [1, 1, 1]
    assert (await stage.event()).served_model == ""


async def test_an_exchange_goes_on_to_so_many_models_only(stage):
    await stage.serve(m=stage.model("a", failure=to("n", "o", "p") | {"max_fallbacks": 2}), n="b", o="c", p="d")
    for name in "abc":
        stage[name].behave(Mode.BAD_GATEWAY)
    assert (await stage.ask()).status == 502
    assert stage.calls("d") == [0]


async def test_models_that_cannot_be_called_at_all_are_passed_over(stage):
    """One serves another endpoint, one has no provider that can be called; neither counts as a model gone on to."""
    rules = to("unfit", "unusable", "n") | {"max_fallbacks": 1}
    await stage.serve(
        m=stage.model("a", failure=rules),
        unfit=stage.model("b", endpoints=("embeddings",)),
        unusable="c",
        n="d",
        providers={"c": {"base_url": "http://bad host"}},
    )
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-model"), answer.header("x-podium-fallbacks")) == (200, "n", "1")
    assert stage.calls("b", "c") == [0, 0]


async def test_the_other_model_retries_by_its_own_rules(stage, trail):
    await stage.serve(
        m=stage.model("a", failure=to("n")), n=stage.model("b", "c", failure={"retries": {"attempts": 2}})
    )
    stage["a"].behave(Mode.UNAVAILABLE)
    stage["b"].behave(Mode.UNAVAILABLE)
    assert (await stage.ask()).status == 200
    assert trail(await stage.event()) == ["first a upstream_error", "fallback b upstream_error", "retry c ok"]


async def test_when_the_time_is_over_no_other_model_is_asked(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave(Mode.SILENT)
    began = time.monotonic()
    answer = await stage.ask(headers={"x-podium-timeout-ms": "150"})
    assert (answer.status, openai_error(answer)["code"]) == (504, "upstream_timeout")
    assert time.monotonic() - began < 1.9
    assert stage.calls("b") == [0]


async def test_the_callers_time_holds_over_all_models(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave("server-error,before-head=150ms")
    stage["b"].behave(Mode.SILENT)
    began = time.monotonic()
    assert (await stage.ask(headers={"x-podium-timeout-ms": "300"})).status == 502
    assert time.monotonic() - began < 1.9
    assert int(dict(stage["b"].requests[0].headers)["x-podium-timeout-ms"]) <= 150


# Which error is told.


async def test_the_first_models_error_is_told(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave("rate-limited,retry-after=30")
    stage["b"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (429, "upstream_rate_limited")
    assert answer.header("retry-after") == "30"
    assert answer.header("x-podium-trail").endswith("fallback b/b-model only_one upstream_error")
    event = await stage.event()
    assert (event.reason, event.provider, event.fallbacks, event.served_model) == ("upstream_rate_limited", "b", 1, "")


async def test_an_error_that_a_repeat_may_mend_goes_before_one_that_it_may_not(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave(Mode.CONTEXT_TOO_LONG)
    stage["b"].behave(Mode.UNAVAILABLE)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "upstream_error")
    stage["a"].behave(Mode.UNAVAILABLE)
    stage["b"].behave(Mode.CONTEXT_TOO_LONG)
    assert (await stage.ask()).status == 503


async def test_of_two_rejections_the_first_is_told(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n="b")
    stage["a"].behave(Mode.CONTEXT_TOO_LONG)
    stage["b"].behave(Mode.CONTENT_REFUSED)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (400, "context_length_exceeded")


async def test_the_other_models_name_is_not_given_away(stage):
    await stage.serve(m=stage.model("a", failure=to("secret")), secret="b*0")
    stage["a"].behave(Mode.CONTEXT_TOO_LONG)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "no_backend")
    assert b"'m'" in answer.body and b"secret" not in answer.body


# Residency.

IN_THE_EU = {"balancing": {"residency": ["eu"]}}
REGIONS = {"a": {"region": "eu"}, "b": {"region": "us"}, "c": {"region": "eu"}, "d": {}}


async def test_residency_of_the_model_asked_for_holds_for_those_that_answer_instead(stage):
    await stage.serve(m=stage.model("a", failure=to("n"), **IN_THE_EU), n="b c d", providers=REGIONS)
    stage["a"].behave(Mode.SERVER_ERROR)
    for _ in range(6):
        answer = await stage.ask()
        assert (answer.status, answer.header("x-podium-backend")) == (200, "c/c-model")
    assert (await stage.ask("n")).status == (await stage.ask("n")).status == 200  # by itself it may go anywhere
    assert sum(stage.calls("b", "d")) > 0


async def test_residency_holds_for_retries_and_second_calls_of_another_model(stage):
    failure = {"retries": {"attempts": 5, "backoff_s": 0.001}}
    await stage.serve(
        m=stage.model("a", failure=to("n"), **IN_THE_EU),
        n=stage.model("b", "c", "d", failure=failure),
        providers=REGIONS,
    )
    stage["a"].behave(Mode.SERVER_ERROR)
    stage["c"].behave(Mode.UNAVAILABLE)
    assert (await stage.ask()).status == 502
    assert stage.calls("a", "b", "c", "d") == [1, 0, 5, 0]


async def test_a_model_that_lies_elsewhere_is_passed_over(stage):
    await stage.serve(m=stage.model("a", failure=to("n", "o"), **IN_THE_EU), n="b d", o="c", providers=REGIONS)
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.header("x-podium-model"), answer.header("x-podium-fallbacks")) == ("o", "1")
    assert stage.calls("b", "d") == [0, 0]


async def test_another_models_own_residency_holds_too(stage):
    await stage.serve(m=stage.model("a", failure=to("n")), n=stage.model("b", "c", **IN_THE_EU), providers=REGIONS)
    stage["a"].behave(Mode.SERVER_ERROR)
    assert [(await stage.ask()).header("x-podium-backend") for _ in range(3)] == ["c/c-model"] * 3
