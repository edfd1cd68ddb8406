"""Reading answers: usage as real providers report it, events of streams, and errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import (
    BudgetExhausted,
    Forbidden,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from podium.core.usage import Usage
from podium.wire.openai import (
    answer_text,
    error_body,
    error_event,
    model_list,
    model_object,
    read_answer_usage,
    read_stream_event,
)

OPENAI = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The image shows…", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1117,
        "completion_tokens": 346,
        "total_tokens": 1463,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 192,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_fc9f1d7035",
}
LLAMA_CPP = {
    "choices": [{"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "Hello!"}}],
    "created": 1757141666,
    "model": "gpt-3.5-turbo",
    "system_fingerprint": "b6360-3de00823",
    "object": "chat.completion",
    "usage": {"completion_tokens": 10, "prompt_tokens": 31, "total_tokens": 41},
    "id": "chatcmpl-xyz",
    "timings": {"prompt_n": 1, "prompt_ms": 21.6, "predicted_n": 10, "predicted_per_second": 75.3},
}
VLLM = {
    "id": "chat-6b1e2f",
    "object": "chat.completion",
    "created": 1727000000,
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "stop_reason": None}],
    "usage": {"prompt_tokens": 12, "total_tokens": 20, "completion_tokens": 8, "prompt_tokens_details": None},
    "prompt_logprobs": None,
}
EMBEDDINGS = {"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
GOLDEN = {
    "openai": (OPENAI, Usage(input_tokens=1117, cached_input_tokens=1024, output_tokens=346, reasoning_tokens=192)),
    "llama.cpp": (LLAMA_CPP, Usage(input_tokens=31, output_tokens=10)),
    "vllm": (VLLM, Usage(input_tokens=12, output_tokens=8)),
    "embeddings": (EMBEDDINGS, Usage(input_tokens=8)),
}


@pytest.mark.parametrize("provider", GOLDEN)
def test_usage_is_read_as_the_provider_reports_it(provider):
    answer, usage = GOLDEN[provider]
    for indent in (None, 2):
        assert read_answer_usage(json.dumps(answer, indent=indent).encode()) == usage


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": -1},
        {"prompt_tokens": "5"},
        {"prompt_tokens": 5.5},
        {"prompt_tokens": True},
        {"prompt_tokens": 10**30},
        {"prompt_tokens": 5, "completion_tokens": 2**63},
        {"prompt_tokens": 5, "prompt_tokens_details": [1]},
    ],
)
def test_nonsense_counts_as_no_report(usage):
    answer = {"choices": [], "usage": usage}
    assert read_answer_usage(json.dumps(answer).encode()) is None
    assert read_stream_event(f"data: {json.dumps(answer)}\n\n".encode()).usage is None


def test_parts_are_never_larger_than_the_whole():
    details = {"prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens_details": {"reasoning_tokens": 99}}
    usage = read_answer_usage(json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": 3} | details}).encode())
    assert usage == Usage(input_tokens=5, cached_input_tokens=5, output_tokens=3, reasoning_tokens=3)
    details = {"prompt_tokens_details": {"cached_tokens": -9}, "completion_tokens_details": {"reasoning_tokens": -9}}
    usage = read_answer_usage(json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": 3} | details}).encode())
    assert usage == Usage(input_tokens=5, output_tokens=3)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"null", b'"x"', b"{", b"<html>", b'{"a":1', b'{"a":' + b"[" * 50_000, b"\xff{}", b"{\xff}"],
)
def test_an_answer_that_is_no_json_object_is_no_answer(body):
    with pytest.raises(ValueError, match="not a JSON object"):
        read_answer_usage(body)


def test_the_text_of_an_answer_is_what_the_model_wrote():
    assert "The image shows…" in answer_text(json.dumps(OPENAI).encode())
    assert answer_text(b'{"choices":[{"text":"a"},{"text":"b"}]}') == "a\nb"
    call = {"function": {"name": "f", "arguments": '{"city":"Paris"}'}}
    assert "Paris" in answer_text(json.dumps({"choices": [{"message": {"tool_calls": [call]}}]}).encode())


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"1", b'{"choices":null}', b'{"choices":7}', b'{"choices":{}}', b'{"choices":[1,null,[2]]}']
)
def test_an_answer_of_an_unknown_shape_has_no_text(body):
    assert answer_text(body) == ""


# Streams.


def event(value):
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def delta(**fields):
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (delta(content="Hi"), "Hi"),
        (delta(reasoning_content="Hm"), "Hm"),
        (delta(refusal="No"), "No"),
        ({"choices": [{"text": "Hi", "index": 0}]}, "Hi"),
        (delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), "arguments"),
        ({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}, "ab"),
    ],
)
def test_content_is_seen_in_all_its_forms(value, text):
    found = read_stream_event(event(value))
    assert found.has_content
    assert text in found.text
    assert not found.finished and not found.done and found.error is None


@pytest.mark.parametrize(
    "value",
    [
        delta(role="assistant", content=""),
        delta(role="assistant", content=None),
        delta(),
        delta(tool_calls=[]),
        {"choices": []},
        {"choices": [], "prompt_filter_results": []},
        {"choices": [{"text": ""}]},
        {},
        delta(role="assistant") | {"error": None, "usage": None},
        "",
        "  ",
    ],
)
def test_what_is_not_content_is_not_taken_for_it(value):
    found = read_stream_event(event(value))
    assert not (found.has_content or found.finished or found.done or found.usage_only)
    assert found.error is None


def test_the_reason_of_the_end_and_usage_are_seen():
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    assert read_stream_event(event({"choices": [{"delta": {}, "finish_reason": "stop"}]})).finished
    only = read_stream_event(event({"choices": [], "usage": usage}))
    assert only.usage_only and only.usage == Usage(input_tokens=3, output_tokens=2)
    beside = read_stream_event(event(delta(content="x") | {"usage": usage}))
    assert not beside.usage_only and beside.usage == only.usage and beside.has_content


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b": x\ndata: [DONE] \n\n"])
def test_done_is_the_end(data):
    assert read_stream_event(data).done


def test_words_in_the_content_are_only_words():
    found = read_stream_event(event(delta(content='data: [DONE]\n\n"usage":{"prompt_tokens":1},"error":{}')))
    assert found.has_content and not found.done and found.usage is None and found.error is None


def test_an_error_object_is_seen():
    error = {"message": "overloaded", "code": 529}
    assert json.loads(read_stream_event(event({"error": error})).error) == error
    assert read_stream_event(event({"error": "boom"})).error == b'"boom"'


def test_a_shape_that_we_do_not_know_is_passed_on_without_delay():
    found = read_stream_event(event(delta(content=[{"type": "text", "text": "Hi"}])))  # Mistral's reasoning models
    assert found.has_content and found.error is None


@pytest.mark.parametrize("data", ["{", "hello", '{"a":1}}', '{"a":' + "[" * 50_000])
def test_an_event_that_is_no_json_is_an_error(data):
    with pytest.raises(ValueError, match="not JSON"):
        read_stream_event(event(data))


@given(st.binary(max_size=80))
def test_any_event_is_read_or_refused(data):
    try:
        read_stream_event(b"data: " + data + b"\n\n")
    except ValueError as error:
        assert str(error) == "an event is not JSON"  # noqa: PT017 - either is fine, nothing else is


# What callers see.


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unauthenticated("x"), "authentication_error"),
        (Forbidden("x"), "permission_error"),
        (NotFound("x"), "not_found_error"),
        (RateLimited("x"), "rate_limit_error"),
        (InvalidRequest("x", parameter="model"), "invalid_request_error"),
        (InternalError("x", hint="secret hint"), "server_error"),
        (Overloaded("x"), "server_error"),
    ],
)
def test_errors_have_openais_shape(error, kind):
    value = json.loads(error_body(error))
    assert value == {"error": {"message": "x", "type": kind, "param": error.parameter, "code": str(error.reason)}}
    assert json.loads(error_event(error).removeprefix(b"data: ")) == value
    assert error_event(error).endswith(b"\n\n")


def test_an_exhausted_budget_is_said_in_openais_word():
    value = json.loads(error_body(BudgetExhausted("x")))["error"]
    assert (value["type"], value["code"]) == ("insufficient_quota", "insufficient_quota")


def test_models_have_openais_shape():
    model = model_object("a/b", owned_by="me", created_unix_s=7)
    assert json.loads(model_list([model])) == {
        "object": "list",
        "data": [{"id": "a/b", "object": "model", "created": 7, "owned_by": "me"}],
    }
