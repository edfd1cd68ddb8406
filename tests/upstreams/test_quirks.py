"""What is put right in requests to services that differ from OpenAI, and in their errors."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest
from podium.upstreams.presets import SERVICES
from podium.upstreams.quirks import Adapter, Quirks, openai_error

HELLO = [{"role": "user", "content": "hello"}]


def adapted(preset, unsupported="reject", **fields):
    """The fields of a request as they reach a service, without those that every request has."""
    sent = {"model": "m", "messages": HELLO} | fields
    body, dropped = Adapter(SERVICES[preset].quirks, unsupported).request(json.dumps(sent).encode())
    got = json.loads(body)
    return {name: value for name, value in got.items() if sent.get(name) != value or name in fields}, dropped


def test_a_field_takes_the_name_that_the_service_knows():
    assert adapted("mistral", max_completion_tokens=5, seed=7) == ({"max_tokens": 5, "random_seed": 7}, ())
    assert adapted("ollama", max_completion_tokens=5, max_tokens=9) == ({"max_tokens": 5}, ())
    assert adapted("ollama", max_completion_tokens=None, max_tokens=9) == ({"max_tokens": 9}, ())


def test_a_field_that_no_model_sees_is_left_out_without_a_word():
    assert adapted("mistral", store=False, stream_options={"include_usage": True}, stream=True) == (
        {"stream": True},
        (),
    )


def test_a_field_that_a_model_would_heed_is_left_out_only_by_policy_and_named():
    asked = {"logprobs": True, "logit_bias": {"1": 2}, "temperature": 1}
    assert adapted("groq", **asked) == (asked, ())
    assert adapted("groq", "drop", **asked) == ({"temperature": 1}, ("logit_bias", "logprobs"))
    assert adapted("groq", "drop", logprobs=None) == ({"logprobs": None}, ())


def test_a_zero_that_says_nothing_is_left_out_where_it_is_refused():
    assert adapted("xai", presence_penalty=0, frequency_penalty=0.0) == ({}, ())
    assert adapted("xai", presence_penalty=0.5) == ({"presence_penalty": 0.5}, ())


def test_developers_become_the_system():
    messages = [{"role": "developer", "content": "a developer"}, {"role": "user", "content": '"developer"'}]
    for preset in ("deepseek", "vllm", "openrouter"):
        got, _ = adapted(preset, messages=messages)
        assert got["messages"] == [messages[0] | {"role": "system"}, messages[1]]
    assert SERVICES["openai"].quirks is None


def test_ids_of_calls_are_made_short_and_stay_together():
    call = {"id": "call_123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    own = call | {"id": "abcDEF123"}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call, own]},
        {"role": "tool", "tool_call_id": "call_123", "content": "x"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "y"},
        {"role": "assistant", "content": "z", "tool_calls": None},
    ]
    got, _ = adapted("mistral", messages=messages)
    _, said, first, second, last = got["messages"]
    ids = [made["id"] for made in said["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert re.fullmatch("[a-zA-Z0-9]{9}", ids[0]) and ids[1] == "abcDEF123"
    assert said["tool_calls"][0]["function"] == call["function"] and last == messages[-1]


@pytest.mark.parametrize(
    "messages", ["developer", ["developer"], [{"role": "tool", "tool_call_id": 5}], [{"tool_calls": 5}]]
)
def test_messages_that_are_none_are_the_services_to_refuse(messages):
    got, _ = adapted("mistral", messages=messages, max_completion_tokens=1)
    assert got == {"messages": messages, "max_tokens": 1}


def test_a_body_without_a_mark_is_not_touched():
    body = (
        b'{ "model" : "m", "messages":[ {"role":"user", "content":"the \\"developer\\" of max_completion_tokens"} ] }'
    )
    for service in SERVICES.values():
        if service.quirks is not None:
            assert Adapter(service.quirks, "drop").request(body)[0] is body


def test_a_body_that_is_nested_too_deeply_is_the_callers_mistake():
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(InvalidRequest):
        Adapter(Quirks(unknown=frozenset(("x",)))).request(b'{"x":1,"y":%b}' % deep)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["max_completion_tokens", "max_tokens", "store", "logit_bias", "seed", "tools", "x"])


@given(fields=st.dictionaries(_NAMES, _VALUES), messages=_VALUES)
def test_whatever_stands_in_a_request_the_rest_keeps_its_value(fields, messages):
    sent = {"messages": messages} | fields
    body, dropped = Adapter(SERVICES["mistral"].quirks, "drop").request(json.dumps(sent).encode())
    got = json.loads(body)
    expected = {name: value for name, value in sent.items() if name in {"messages", "tools", "x"}}
    assert expected.items() <= got.items() if messages != [] else True
    assert not {"max_completion_tokens", "store", "seed"} & got.keys()
    assert dropped == (("logit_bias",) if fields.get("logit_bias") is not None else ())
    limit = fields.get("max_completion_tokens")
    assert got.get("max_tokens") == (limit if limit is not None else fields.get("max_tokens"))


@pytest.mark.parametrize(
    ("status", "body", "message", "kind", "code"),
    [
        (
            400,
            {"code": "invalid argument", "error": "No grok."},
            "No grok.",
            "invalid_request_error",
            "invalid argument",
        ),
        (422, {"error": "Too long", "error_type": "validation"}, "Too long", "validation", None),
        (
            400,
            {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
            "m",
            "BadRequestError",
            None,
        ),
        (404, {"detail": "Not Found"}, "Not Found", "invalid_request_error", None),
        (422, {"detail": [{"loc": ["x"]}]}, '[{"loc":["x"]}]', "invalid_request_error", None),
        (503, {"message": "busy"}, "busy", "server_error", None),
    ],
)
def test_errors_of_another_shape_become_openais(status, body, message, kind, code):
    made = json.loads(openai_error(status, json.dumps(body, separators=(",", ":")).encode()))
    assert made == {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"m","code":5}}', b"<html>", b"", b"{}", b"[1]", b"\xff", b'{"error":5}']
)
def test_errors_that_are_openais_or_nobodys_stay_as_they_are(body):
    assert openai_error(400, body) is None
