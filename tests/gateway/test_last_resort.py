"""A fixed answer when nothing else is left: marked as one, in every dialect, and no success in the books."""

import json

import pytest

from podium.testing.openai_requests import openai_error
from podium.testing.upstream import Mode

TEXT = 'We are sorry: "nobody" is here.\nTry again…'
RESORT = {"retries": {"attempts": 1}, "last_resort": {"text": TEXT}}


def said(dialect, answer):
    """The text of a whole answer."""
    value = answer.json()
    if dialect == "messages":
        return value["content"][0]["text"]
    (choice,) = value["choices"]
    return choice["message"]["content"] if dialect == "chat" else choice["text"]


def said_in_stream(dialect, events):
    """The text of a stream's events."""
    if dialect == "messages":
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["delta"].get("content", "") if dialect == "chat" else choice["text"] for choice in choices)


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.SERVER_ERROR, "upstream_error"),
        (Mode.RATE_LIMITED, "upstream_rate_limited"),
        (Mode.HTML, "upstream_invalid"),
    ],
)
async def test_a_fixed_answer_comes_when_all_has_failed(stage, dialect, mode, reason):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(mode)
    answer = await stage.ask(to=dialect)
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert said(dialect, answer) == TEXT
    assert answer.json()["podium"] == {"degraded": True, "reason": reason}
    assert answer.json()["model"] == "m"
    assert answer.header("x-podium-degraded") == reason
    assert answer.header("x-podium-attempts") == "1"
    assert answer.header("x-request-id")
    event = await stage.event()
    assert (event.status, event.reason, event.fault) == (200, reason, "upstream")
    assert (event.cost_nanousd, event.input_tokens, event.output_tokens) == (0, 0, 0)
    assert event.bytes_out == len(answer.body)


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_a_stream_may_be_fixed_too(stage, dialect):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask(to=dialect, stream=True)
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/event-stream")
    assert answer.header("x-podium-degraded") == "upstream_error"
    *events, last = answer.events()
    if dialect != "messages":
        assert last == "[DONE]"
    else:
        assert json.loads(last) == {"type": "message_stop"}
    decoded = [json.loads(event) for event in events]
    assert said_in_stream(dialect, decoded) == TEXT
    first = decoded[0]["message"] if dialect == "messages" else decoded[0]
    assert first["podium"] == {"degraded": True, "reason": "upstream_error"}
    event = await stage.event()
    assert (event.status, event.reason, event.stream) == (200, "upstream_error", True)


async def test_it_is_there_when_no_backend_is_left(stage):
    await stage.serve(m=stage.model("a*0", failure=RESORT))
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-degraded")) == (200, "no_backend")
    event = await stage.event()
    assert (event.reason, event.fault, event.attempts) == ("no_backend", "podium", 0)


async def test_it_comes_after_all_other_models(stage, trail):
    await stage.serve(m=stage.model("a", failure=RESORT | {"fallbacks": [{"model": "n"}]}), n="b")
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask()
    assert (answer.header("x-podium-degraded"), answer.header("x-podium-model")) == (None, "n")
    stage["b"].behave(Mode.BAD_GATEWAY)
    answer = await stage.ask()
    assert said("chat", answer) == TEXT
    assert answer.header("x-podium-fallbacks") == "1"
    event = await stage.event(1)
    assert trail(event) == ["first a upstream_error", "fallback b upstream_error", "retry b upstream_error"]
    assert (event.served_model, event.fallbacks) == ("", 1)


async def test_another_models_last_resort_is_not_this_ones(stage):
    await stage.serve(m=stage.model("a", failure={"fallbacks": [{"model": "n"}]}), n=stage.model("b", failure=RESORT))
    stage["a"].behave(Mode.SERVER_ERROR)
    stage["b"].behave(Mode.SERVER_ERROR)
    assert (await stage.ask()).status == 502


@pytest.mark.parametrize("mode", [Mode.BAD_REQUEST, Mode.CONTEXT_TOO_LONG, Mode.CONTENT_REFUSED])
async def test_a_callers_own_fault_is_told_to_the_caller(stage, mode):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(mode)
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-degraded")) == (400, None)


async def test_a_rejection_by_another_model_is_no_reason_to_go_without(stage):
    """The caller asked for a model that is down; that the other one does not like the request is not its fault."""
    await stage.serve(m=stage.model("a", failure=RESORT | {"fallbacks": [{"model": "n"}]}), n="b")
    stage["a"].behave(Mode.SERVER_ERROR)
    stage["b"].behave(Mode.BAD_REQUEST)
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-degraded")) == (200, "upstream_error")


async def test_it_comes_when_the_callers_time_is_over(stage):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(Mode.SILENT)
    answer = await stage.ask(headers={"x-podium-timeout-ms": "100"})
    assert (answer.status, answer.header("x-podium-degraded")) == (200, "upstream_timeout")


async def test_a_stream_that_has_begun_gets_none(stage):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(Mode.RESETS_MIDWAY)
    answer = await stage.ask(stream=True)
    assert json.loads(answer.events()[-1])["error"]["code"] == "upstream_broken"
    assert TEXT not in answer.body.decode()


async def test_embeddings_cannot_be_made_up(stage):
    await stage.serve(m=stage.model("a", failure=RESORT, endpoints=("embeddings",)))
    stage["a"].behave(Mode.SERVER_ERROR)
    answer = await stage.ask(to="embeddings")
    assert (answer.status, openai_error(answer)["code"]) == (502, "upstream_error")


async def test_a_fixed_answer_that_cannot_be_recorded_is_withheld(stage):
    await stage.serve(m=stage.model("a", failure=RESORT))
    stage["a"].behave(Mode.SERVER_ERROR)
    stage.gateway.journal.failure = OSError("disk full")
    answer = await stage.ask(stream=True)
    assert (answer.status, openai_error(answer)["code"]) == (503, "journal_unavailable")
