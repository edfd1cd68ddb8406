"""Converse's answers and errors -> OpenAI's."""

import json

import pytest
from botocore.parsers import create_parser
from openai.types.chat import ChatCompletion

from podium.core.usage import Usage
from podium.wire.bedrock.answers import TokenUsage, translate_answer
from podium.wire.bedrock.errors import caller_status, translate_error
from podium.wire.openai import read_answer_usage


def _translate(answer):
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return translate_answer(body, model="bedrock-model", created_unix_s=1_700_000_000, fallback_id="chatcmpl-x")


def _answer(**fields):
    return {"output": {"message": {"role": "assistant", "content": [{"text": "a"}]}}, "stopReason": "end_turn"} | fields


def test_an_answer_is_translated_as_written_down(answer_pair, bedrock, check_shape):
    answer, completion = answer_pair["answer"], answer_pair["completion"]
    body = _translate(answer)
    assert json.loads(body) == completion
    ChatCompletion.model_validate(completion, strict=True)
    usage = read_answer_usage(body)
    assert usage is not None
    assert usage.input_tokens == completion["usage"]["prompt_tokens"]
    response = {"status_code": 200, "headers": {}, "body": json.dumps(answer).encode()}
    parsed = create_parser("rest-json").parse(response, bedrock.operation_model("Converse").output_shape)
    del parsed["ResponseMetadata"]
    check_shape(parsed, "ConverseResponse")


def test_input_counts_what_was_cached_too():
    used = TokenUsage(input_tokens=3, output_tokens=4, cache_read_input_tokens=100, cache_write_input_tokens=20)
    expected = Usage(input_tokens=123, cached_input_tokens=100, cache_write_tokens=20, output_tokens=4)
    assert used.to_usage() == expected
    assert TokenUsage(input_tokens=-1, cache_read_input_tokens=-5).to_usage() == Usage()


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("a_reason_of_next_year", "stop"),
    ],
)
def test_the_reason_of_the_end_is_openais(stop_reason, finish):
    assert json.loads(_translate(_answer(stopReason=stop_reason)))["choices"][0]["finish_reason"] == finish


def test_every_stop_reason_of_the_service_is_known(bedrock):
    for reason in bedrock.shape_for("StopReason").enum:
        if reason.startswith("malformed"):
            with pytest.raises(ValueError, match="malformed"):
                _translate(_answer(stopReason=reason))
        else:
            _translate(_answer(stopReason=reason))


def test_an_answer_without_usage_has_none():
    assert "usage" not in json.loads(_translate(_answer()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"output": {}}',
        b'{"output": {"message": {"content": "text"}}}',
        b'{"output": {"message": {"content": [{"toolUse": {"name": "f"}}]}}}',
        b'{"output": {"message": {"content": [{"text": "\xff"}]}}}',
        b"[" * 100_000,
        json.dumps(_answer(usage={"inputTokens": "many"})).encode(),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error(body):
    with pytest.raises(ValueError):
        _translate(body)


@pytest.mark.parametrize(
    ("status", "body", "header", "kind", "code", "message"),
    [
        (
            429,
            {"message": "Slow."},
            "ThrottlingException:http://x/",
            "rate_limit_error",
            "rate_limit_exceeded",
            "Slow.",
        ),
        (403, {"Message": "No."}, "AccessDeniedException", "permission_error", "permission_denied", "No."),
        (404, {"message": "?"}, "ResourceNotFoundException", "not_found_error", "model_not_found", "?"),
        (500, {"message": "!"}, "InternalServerException", "server_error", "InternalServerException", "!"),
        (424, {"message": "!"}, "ModelErrorException", "invalid_request_error", "ModelErrorException", "!"),
        (400, {"message": "Bad."}, "", "invalid_request_error", None, "Bad."),
        (400, {"__type": "com.amazon#ValidationException"}, "", "invalid_request_error", "ValidationException", None),
        (503, b"<html>busy</html>", "", "server_error", None, "AWS Bedrock answered 503."),
        (401, b"", "X", "authentication_error", "X", "AWS Bedrock answered 401 (X)."),
    ],
)
def test_an_error_is_told_in_openais_words(status, body, header, kind, code, message):
    said = translate_error(status, body if isinstance(body, bytes) else json.dumps(body).encode(), header)
    error = json.loads(said)["error"]
    assert (error["type"], error["code"], error["param"]) == (kind, code, None)
    assert error["message"] == (message or "AWS Bedrock answered 400 (ValidationException).")


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 197000 + 8192 > 200000",
    ],
)
def test_a_context_that_is_too_long_has_openais_code(message):
    said = translate_error(400, json.dumps({"message": message}).encode(), "ValidationException")
    assert json.loads(said)["error"]["code"] == "context_length_exceeded"


def test_a_failed_model_is_not_the_callers_fault():
    assert [caller_status(status) for status in (424, 408, 400, 429)] == [502, 504, 400, 429]
