"""The Messages API as a face: requests, answers, events and errors."""

import json

import msgspec
import pytest
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from podium.core.errors import (
    BudgetExhausted,
    Conflict,
    Forbidden,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from podium.core.usage import Usage
from podium.wire.anthropic.messages import (
    DONE,
    EventReader,
    answer_text,
    error_body,
    error_event,
    needs_reading,
    read_answer_usage,
    read_request,
    request_text,
    rewrite_request,
)
from podium.wire.openai import Change

MESSAGES = b'"messages":[{"role":"user","content":"hello"}]'


def said(*fields):
    """A compact request with these fields, as spelled."""
    return b"{" + b",".join([b'"model":"m"', b'"max_tokens":7', *fields, MESSAGES]) + b"}"


def refusal(body):
    with pytest.raises(InvalidRequest) as raised:
        read_request(body)
    return raised.value


def event(name, **fields):
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name} | fields).encode())


def test_what_decisions_need_is_read():
    request = read_request(said(b'"stream":true,"metadata":{"user_id":"u"},"system":"s","new":{"a":[1]}'))
    assert (request.model, request.stream, request.user, request.safety_identifier) == ("m", True, "u", None)
    assert request.answer_token_limit == 7
    assert request.wants_stream_usage


def test_what_is_not_given_is_none_and_no_limit_is_negative():
    request = read_request(b'{"model":"m","max_tokens":-3,"metadata":null,' + MESSAGES + b"}")
    assert (request.stream, request.user, request.answer_token_limit) == (None, None, 0)


def test_a_versions_tools_are_offered_as_messages_spells_them_where_the_caller_offers_none():
    schema = {"type": "object"}
    tools = [
        {"type": "function", "function": {"name": "look", "description": "Now.", "parameters": schema}},
        {"type": "function", "function": {"name": "stop"}},
    ]
    change = Change(tools=msgspec.Raw(json.dumps(tools).encode()))
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    sent = json.loads(rewrite_request(json.dumps(body).encode(), change))
    assert sent["tools"] == [
        {"name": "look", "description": "Now.", "input_schema": schema},
        {"name": "stop", "input_schema": {"type": "object"}},
    ]
    own = body | {"tools": [{"name": "mine", "input_schema": schema}]}
    assert json.loads(rewrite_request(json.dumps(own).encode(), change)) == own


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b'{"model":"m",' + MESSAGES + b"}", None),
        (b'{"max_tokens":7,' + MESSAGES + b"}", None),
        (b'{"model":"m","max_tokens":7}', None),
        (b'{"model":"m","max_tokens":7,"messages":[]}', "messages"),
        (b'{"model":"m","max_tokens":7,"messages":"hello"}', "messages"),
        (b'{"model":"","max_tokens":7,' + MESSAGES + b"}", "model"),
        (b'{"model":null,"max_tokens":7,' + MESSAGES + b"}", "model"),
        (b'{"model":"m","max_tokens":null,' + MESSAGES + b"}", "max_tokens"),
        (b'{"model":"m","max_tokens":"7",' + MESSAGES + b"}", "max_tokens"),
        (b'{"model":"m","max_tokens":1e400,' + MESSAGES + b"}", "max_tokens"),
        (said(b'"stream":"true"'), "stream"),
        (said(b'"system":7'), "system"),
        (said(b'"metadata":[]'), "metadata"),
        (said(b'"metadata":{"user_id":7}'), "metadata.user_id"),
        (b"[]", None),
        (b"null", None),
    ],
)
def test_a_mistyped_request_is_refused_and_the_field_is_named(body, parameter):
    error = refusal(body)
    assert error.reason == "invalid_request"
    assert error.parameter == parameter
    assert error.message.endswith(".")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        said() + b"{}",
        said(b'"x":NaN'),
        said(b'"x":"\xff"'),
        said(b'"x":' + b"[" * 50_000 + b"]" * 50_000),
        said(b'"model":"other"'),
        said(b'"max\\u005ftokens":9'),
        said(b'"metadata":{}', b'"metadata":{"user_id":"b"}'),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(body):
    assert refusal(body).reason == "invalid_json"


def test_another_spelling_of_a_deciding_name_is_refused():
    assert refusal(said(b'"Max_Tokens":9')).parameter == "Max_Tokens"


def test_nothing_to_change_changes_nothing_but_blanks():
    body = said(b'"x":[1.0,2e5]')
    assert rewrite_request(body, Change()) == body


def test_model_and_defaults_are_set_where_the_caller_left_them_open():
    defaults = {
        "temperature": msgspec.Raw(b"0.5"),
        "top_p": msgspec.Raw(b"0.1"),
        "stop": msgspec.Raw(b'"END"'),
        "seed": msgspec.Raw(b"3"),
        "max_completion_tokens": msgspec.Raw(b"9"),
    }
    body = rewrite_request(said(b'"top_p":0.25'), Change(model="other", defaults=defaults))
    assert json.loads(body) == json.loads(said()) | {
        "model": "other",
        "top_p": 0.25,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "seed": 3,
    }


def test_overrides_count_more_than_what_the_caller_set():
    overrides = {
        "max_completion_tokens": msgspec.Raw(b"9"),
        "stop": msgspec.Raw(b"null"),
        "temperature": msgspec.Raw(b"0"),
        "n": msgspec.Raw(b"3"),
    }
    body = said(b'"temperature":0.25', b'"stop_sequences":["a"]')
    changed = json.loads(rewrite_request(body, Change(overrides=overrides)))
    assert changed == json.loads(said()) | {"max_tokens": 9, "temperature": 0}


@pytest.mark.parametrize(
    ("given", "system"),
    [
        ((), "Ours."),
        ((b'"system":null',), "Ours."),
        ((b'"system":""',), "Ours."),
        ((b'"system":"Theirs."',), [{"type": "text", "text": "Ours."}, {"type": "text", "text": "Theirs."}]),
        (
            (b'"system":[{"type":"text","text":"Theirs.","cache_control":{"type":"ephemeral"}}]',),
            [
                {"type": "text", "text": "Ours."},
                {"type": "text", "text": "Theirs.", "cache_control": {"type": "ephemeral"}},
            ],
        ),
    ],
)
def test_a_versions_system_prompt_stands_before_the_callers(given, system):
    message = msgspec.Raw(b'{"role":"system","content":"Ours."}')
    assert json.loads(rewrite_request(said(*given), Change(system_message=message)))["system"] == system


def test_no_depth_of_nesting_is_a_bug_of_ours():
    for depth in range(700, 1100, 7):
        body = said(b'"x":' + b"[" * depth + b"]" * depth, b'"y":[{"model":1}]')
        try:
            read_request(body)
            rewrite_request(body, Change(model="other"))
        except InvalidRequest as error:
            assert error.reason == "invalid_json"  # noqa: PT017 - how deep is too deep depends on our own stack


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 3}, Usage(input_tokens=10, output_tokens=3)),
        (
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 300,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": None,
                "service_tier": "standard",
            },
            Usage(
                input_tokens=321,
                cached_input_tokens=20,
                cache_write_tokens=300,
                output_tokens=5,
                reasoning_tokens=4,
            ),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({"input_tokens": -1, "output_tokens": 5}, None),
        ({"input_tokens": 10**13, "output_tokens": 5}, None),
        ({"input_tokens": "10", "output_tokens": 5}, None),
        (None, None),
    ],
)
def test_usage_of_a_whole_answer(usage, expected):
    assert read_answer_usage(json.dumps({"type": "message", "usage": usage}).encode()) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usage":', b"\xff"])
def test_what_is_no_answer_is_a_value_error(body):
    with pytest.raises(ValueError, match="not a JSON object"):
        read_answer_usage(body)


def test_a_stream_is_understood_event_by_event():
    start = {"usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 1}}
    reader = EventReader()
    events = [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": ""}),
        event("content_block_delta", index=1, delta={"type": "signature_delta", "signature": "c2ln"}),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}),
        DONE,
    ]
    read = [reader.read(raw) for raw in events]
    assert [one.has_content for one in read] == [False, False, False, True, False, True, False, True, False, False]
    assert [one.text for one in read if one.text] == ["Hi", "f"]
    assert [one.finished for one in read].index(True) == 8
    assert [one.done for one in read].index(True) == 9
    assert [one.usage for one in read if one.usage] == [Usage(input_tokens=13, cached_input_tokens=4, output_tokens=12)]
    assert not any(one.usage_only for one in read)


def test_later_counts_of_a_stream_replace_earlier_ones():
    reader = EventReader()
    reader.read(event("message_start", message={"usage": {"input_tokens": 0, "output_tokens": 0}}))
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}
    read = reader.read(event("message_delta", delta={"stop_reason": "max_tokens"}, usage=usage))
    assert read.usage == Usage(input_tokens=7, cache_write_tokens=2, output_tokens=1)


def test_an_error_within_a_stream_is_seen():
    said = {"type": "overloaded_error", "message": "Overloaded"}
    read = EventReader().read(event("error", error=said))
    assert read.error is not None
    assert json.loads(read.error) == said
    assert read.error_status == 529
    assert EventReader().read(event("error")).error is not None


@pytest.mark.parametrize("raw", [b": comment\n\n", b"event: ping\n\n", b"data:\n\n"])
def test_what_has_no_data_says_nothing(raw):
    read = EventReader().read(raw)
    assert not read.has_content
    assert not read.done


@pytest.mark.parametrize("raw", [event("news"), b'data: {"type":7}\n\n', b"data: []\n\n", event("content_block_delta")])
def test_unknown_shapes_are_the_callers_to_read(raw):
    assert EventReader().read(raw).has_content


def test_an_event_that_is_not_json_is_a_value_error():
    with pytest.raises(ValueError, match="not JSON"):
        EventReader().read(b"data: {\n\n")


@given(st.text())
def test_no_text_of_a_model_looks_like_the_end(text):
    block = b"event: content_block_delta\ndata: %b\n\n" % msgspec.json.encode(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text + '"message_stop"'}}
    )
    assert not needs_reading(block)


@pytest.mark.parametrize(
    "raw",
    [
        event("message_start", message={}),
        event("message_delta", delta={}),
        event("error", error={}),
        DONE,
        DONE.replace(b'":"', b'": "'),
    ],
)
def test_all_but_content_needs_reading(raw):
    assert needs_reading(event("content_block_stop", index=0) + raw)


ERRORS = [
    (InvalidRequest("m"), "invalid_request_error"),
    (Unauthenticated("m"), "authentication_error"),
    (Forbidden("m"), "permission_error"),
    (NotFound("m"), "not_found_error"),
    (RateLimited("m"), "rate_limit_error"),
    (InternalError("m"), "api_error"),
    (Unavailable("m"), "overloaded_error"),
    (UpstreamFailed("m"), "api_error"),
    (UpstreamTimeout("m"), "timeout_error"),
    (RequestTimeout("m"), "invalid_request_error"),
    (BudgetExhausted("m"), "billing_error"),
    (Overloaded("m"), "overloaded_error"),
    (MethodNotAllowed("m", allowed=("POST",)), "invalid_request_error"),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=lambda value: getattr(value, "status", value))
def test_errors_are_said_as_the_official_client_reads_them(error, kind):
    parsed = TypeAdapter(ErrorResponse).validate_json(error_body(error, "req_1"))
    assert (parsed.type, parsed.error.type, parsed.error.message, parsed.request_id) == ("error", kind, "m", "req_1")
    assert json.loads(error_body(error, "req_1"))["error"]["code"] == error.reason


@pytest.mark.parametrize(
    ("error", "kind"), [(RequestTooLarge("m"), "request_too_large"), (Conflict("m"), "conflict_error")]
)
def test_types_that_only_the_documentation_knows(error, kind):
    assert json.loads(error_body(error, "req_1"))["error"]["type"] == kind


def test_the_event_of_a_broken_stream():
    raw = error_event(InvalidRequest("wrong", parameter="x"))
    head, data = raw.removesuffix(b"\n\n").split(b"\n")
    assert head == b"event: error"
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "wrong", "code": "invalid_request", "param": "x"},
    }
    assert EventReader().read(raw).error is not None


def test_the_text_of_a_request_is_what_a_model_reads():
    body = json.dumps(
        {
            "model": "no",
            "max_tokens": 7,
            "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "f", "description": "D", "input_schema": {"type": "object"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "no"}},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "T"}},
                        {"type": "redacted_thinking", "data": "no"},
                        {"type": "tool_result", "tool_use_id": "no", "content": [{"type": "text", "text": "R"}]},
                    ],
                }
            ],
        }
    ).encode()
    assert request_text(body).split("\n") == ["S", "user", "T", "R", "f", "D"]


def test_the_text_of_an_answer_is_what_a_model_wrote():
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "no"},
        {"type": "text", "text": "A"},
        {"type": "tool_use", "id": "no", "name": "f", "input": {"q": ["x", 1], "type": {"deep": "y"}}},
    ]
    assert answer_text(json.dumps({"content": content}).encode()).split("\n") == ["Hm", "A", "f", "x", "y"]
    assert answer_text(b"[]") == answer_text(b'{"content":"x"}') == ""
