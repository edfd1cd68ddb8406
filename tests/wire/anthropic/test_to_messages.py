"""An OpenAI chat request in Anthropic's form."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import MessageCreateParams
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.to_messages import translate_request
from podium.wire.anthropic.upstream_models import abilities_of
from podium.wire.anthropic.upstream_schema import fit_schema
from podium.wire.translation import Translated, Unsupported

GOLDEN = sorted((Path(__file__).parent / "golden_upstream" / "requests").glob("*.json"))
# The official client of today writes for an API version that has no sampling parameters.
OLD_FIELDS = {"temperature", "top_p", "top_k"}
OFFICIAL = TypeAdapter(MessageCreateParams)
USER = {"role": "user", "content": "hi"}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}


def _translate(chat: dict[str, Any], unsupported: Unsupported = "reject", default_max_tokens: int = 4096) -> Translated:
    return translate_request(
        json.dumps(chat).encode(),
        unsupported=unsupported,
        default_max_tokens=default_max_tokens,
        created_unix_s=1_700_000_000,
        fallback_id="chatcmpl-1",
    )


def _chat(model: str = "claude-haiku-4-5", **fields: object) -> dict[str, Any]:
    return {"model": model, "messages": [USER]} | fields


def _body(unsupported: Unsupported = "reject", /, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(_translate(_chat(**fields), unsupported).body)
    return body


def _refusal(chat: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        _translate(chat)
    return caught.value


def _plain(value: Any) -> Any:
    """What the official types made of a value: pydantic reads iterables only when somebody does."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return value


def _is_official(body: dict[str, Any]) -> None:
    """The official client's types know every field of the body, and nothing in it is of a wrong type."""
    known = {name: value for name, value in body.items() if name not in OLD_FIELDS}
    assert _plain(OFFICIAL.validate_python(known)) == known


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_request_is_translated_as_recorded(path: Path) -> None:
    pair = json.loads(path.read_text("utf-8"))
    dropped = pair.get("dropped", [])
    translated = _translate(pair["chat"], "drop" if dropped else "reject")
    assert json.loads(translated.body) == pair["messages"]
    assert list(translated.dropped) == dropped
    _is_official(json.loads(translated.body))


@pytest.mark.parametrize(
    ("messages", "parameter", "reason"),
    [
        ([], "messages", Reason.INVALID_REQUEST),
        ([{"role": "system", "content": "x"}], "messages", Reason.INVALID_REQUEST),
        ([{"role": "user", "content": " \n"}], "messages", Reason.INVALID_REQUEST),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id", Reason.INVALID_REQUEST),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role", Reason.UNSUPPORTED_PARAMETER),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}, USER],
            "messages[0].content[0]",
            Reason.UNSUPPORTED_PARAMETER,
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}],
            "messages[1].tool_calls[0].function.arguments",
            Reason.INVALID_REQUEST,
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]}],
            "messages[1].tool_calls[0].function.arguments",
            Reason.INVALID_REQUEST,
        ),
    ],
)
def test_a_wrong_message_is_named(messages: list[object], parameter: str, reason: Reason) -> None:
    error = _refusal({"model": "m", "messages": messages})
    assert (error.parameter, error.reason) == (parameter, reason)


@pytest.mark.parametrize(
    ("part", "parameter", "reason"),
    [
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "", Reason.UNSUPPORTED_PARAMETER),
        ({"type": "image_url", "image_url": {"url": "http://a/b"}}, ".image_url.url", Reason.INVALID_REQUEST),
        ({"type": "image_url", "image_url": {"url": "data:image/png,x"}}, ".image_url.url", Reason.INVALID_REQUEST),
        (
            {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,x"}},
            ".image_url.url",
            Reason.UNSUPPORTED_PARAMETER,
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "", Reason.UNSUPPORTED_PARAMETER),
        ({"type": "file", "file": {"file_data": "JVBERi0="}}, ".file.file_data", Reason.INVALID_REQUEST),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}},
            ".file.file_data",
            Reason.INVALID_REQUEST,
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,*"}},
            ".file.file_data",
            Reason.INVALID_REQUEST,
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}},
            ".file.file_data",
            Reason.UNSUPPORTED_PARAMETER,
        ),
    ],
)
def test_a_wrong_part_is_named(part: object, parameter: str, reason: Reason) -> None:
    error = _refusal({"model": "m", "messages": [{"role": "user", "content": [part]}]})
    assert (error.parameter, error.reason) == (f"messages[0].content[0]{parameter}", reason)


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": 1}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], parameter: str) -> None:
    assert _refusal(_chat(**fields)).parameter == parameter


TOOL = {"type": "function", "function": {"name": "f", "parameters": PERSON, "strict": True}}


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": 0.2, "top_p": 0.5}, "top_p"),
        ({"model": "claude-opus-4-7", "temperature": 0.2}, "temperature"),
        ({"model": "claude-opus-4-7", "top_k": 5}, "top_k"),
        ({"reasoning_effort": "low", "top_p": 0.5}, "top_p"),
        ({"stop": ["\n", "END"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"model": "claude-3-5-haiku-20241022", "reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning_effort": "low", "max_tokens": 1000}, "reasoning_effort"),
        ({"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"}, "reasoning_effort"),
        ({"model": "claude-opus-5-5", "reasoning_effort": "none"}, "reasoning_effort"),
        ({"model": "claude-opus-5-5", "tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"model": "claude-sonnet-4-20250514", "tools": [TOOL]}, "tools[].function.strict"),
    ],
)
def test_what_cannot_be_said_is_refused_or_left_out_by_policy(fields: dict[str, Any], lost: str) -> None:
    error = _refusal(_chat(**fields))
    assert (error.reason, error.parameter) == (Reason.UNSUPPORTED_PARAMETER, lost)
    translated = _translate(_chat(**fields), "drop")
    assert translated.dropped == (lost,)
    _is_official(json.loads(translated.body))


def test_an_object_of_any_names_is_refused_as_a_form_of_the_answer() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert _refusal(_chat(response_format=form)).parameter == "response_format"


def test_sampling_goes_through_where_it_can() -> None:
    assert _body(temperature=0)["temperature"] == 0
    assert _body("drop", temperature=2)["temperature"] == 1
    assert _body(top_p=0.5, temperature=1) == _body(top_p=0.5)
    assert OLD_FIELDS.isdisjoint(_body(model="claude-opus-5", temperature=1, top_p=1, top_k=-1))
    both = _body(model="deepseek-chat", temperature=0.5, top_p=0.5)
    assert (both["temperature"], both["top_p"]) == (0.5, 0.5)


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh"])
@pytest.mark.parametrize("max_tokens", [1366, 4096, 100_000])
def test_the_thinking_budget_leaves_room_for_the_answer(effort: str, max_tokens: int) -> None:
    body = _body(reasoning_effort=effort, max_tokens=max_tokens)
    assert 1024 <= body["thinking"]["budget_tokens"] <= max_tokens * 3 / 4 + 1
    _is_official(body)


def test_newer_models_get_an_effort() -> None:
    body = _body(model="claude-sonnet-4-6", reasoning_effort="xhigh")
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}
    assert _body(model="claude-opus-5", reasoning_effort="minimal")["output_config"] == {"effort": "low"}
    assert _body(model="claude-opus-5", reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert _body("drop", model="claude-fable-5", reasoning_effort="none")["output_config"] == {"effort": "low"}


def test_in_the_middle_of_tool_use_an_older_model_goes_on_without_thoughts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    translated = _translate(_chat(messages=messages, tools=[TOOL], reasoning_effort="low"))
    assert "thinking" not in json.loads(translated.body)
    assert translated.dropped == ("reasoning_effort",)
    assert "thinking" in _body(model="claude-opus-5", messages=messages, tools=[TOOL], reasoning_effort="low")


def test_tools_may_be_chosen_in_every_way() -> None:
    def choice(**fields: Any) -> Any:
        return _body(tools=[TOOL], **fields).get("tool_choice")

    assert choice() is None
    assert choice(tool_choice="auto") == {"type": "auto"}
    assert choice(tool_choice="none", parallel_tool_calls=False) == {"type": "none"}
    assert choice(parallel_tool_calls=False) == {"type": "auto", "disable_parallel_tool_use": True}
    named = {"type": "function", "function": {"name": "f"}}
    assert choice(tool_choice=named) == {"type": "tool", "name": "f"}


@pytest.mark.parametrize("user", ["ann@example.com", "+47 (22) 12-34-56", "x" * 257])
def test_who_is_served_is_told_only_by_a_word_that_says_nothing(user: str) -> None:
    assert "metadata" not in _body(user=user)
    assert _body(user="u_1")["metadata"] == {"user_id": "u_1"}


@pytest.mark.parametrize(
    ("model", "samples", "thinking", "off", "forced"),
    [
        ("claude-3-haiku-20240307", True, "", "disabled", True),
        ("claude-3-7-sonnet-latest", True, "budget", "disabled", True),
        ("claude-opus-4-20250514", True, "budget", "disabled", True),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", True, "budget", "disabled", True),
        ("anthropic/claude-opus-4.6", True, "adaptive", "disabled", True),
        ("claude-opus-4-7@20260416", False, "adaptive", "disabled", True),
        ("claude-sonnet-5", False, "adaptive", "disabled", True),
        ("claude-haiku-5-5", False, "adaptive", "disabled", True),
        ("claude-sonnet-5-5", False, "adaptive", "between_tools", False),
        ("claude-opus-5-5", False, "adaptive", "", False),
        ("claude-fable-5", False, "adaptive", "", True),
        ("claude-mythos-5-1", False, "adaptive", "", False),
        ("claude-opus-10", False, "adaptive", "", False),
        ("claude-something-new", False, "adaptive", "disabled", True),
        ("kimi-k2", True, "budget", "disabled", True),
    ],
)
def test_a_model_is_known_by_its_name(model: str, samples: bool, thinking: str, off: str, forced: bool) -> None:
    able = abilities_of(model)
    assert (able.samples, able.thinking, able.without_thinking, able.forced_tools) == (samples, thinking, off, forced)


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string", "maxLength": 3}, {"type": "integer"}, {}, True, {"enum": [1, "a"]}]),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(lambda items: {"anyOf": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda fields: {"type": "object", "properties": fields},
            st.dictionaries(st.sampled_from(["a", "pattern", "items"]), inner, max_size=3),
        ),
    ),
    max_leaves=10,
)


@given(SCHEMAS)
def test_a_fitted_schema_has_closed_objects_and_no_bounds_and_fits_itself(schema: Any) -> None:
    fitted, closed = fit_schema(schema)
    assert closed
    assert fit_schema(fitted) == (fitted, True)
    text = json.dumps(fitted)
    assert '"maxLength":' not in text and '"maxItems":' not in text
    assert text.count('"object"') == text.count('"additionalProperties": false')


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_call_ids_stay_different_and_valid(one: str, other: str) -> None:
    def sent(call_id: str) -> str:
        call = {"id": call_id, "function": {"name": "f", "arguments": "{}"}}
        body = _body(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
        name: str = body["messages"][1]["content"][0]["id"]
        return name

    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in sent(one))
    assert (sent(one) == sent(other)) == (one == other)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "format", "anyOf", "additionalProperties", "minItems", "a"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON, JSON, st.sampled_from(["reject", "drop"]))
def test_no_schema_and_no_arguments_break_a_request_in_another_way(
    schema: Any, arguments: Any, policy: Unsupported
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    messages = [USER, {"role": "assistant", "tool_calls": [call]}]
    try:
        translated = _translate(_chat(messages=messages, tools=[tool]), policy)
    except InvalidRequest as error:
        assert error.parameter  # noqa: PT017 - either outcome is right
    else:
        assert json.loads(translated.body)["tools"][0]["name"] == "f"


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    depth = 600
    schema = '{"items":' * depth + "{}" + "}" * depth
    tool = '{"type":"function","function":{"name":"f","strict":true,"parameters":' + schema + "}}"
    body = '{"model":"claude-opus-5","messages":[{"role":"user","content":"x"}],"tools":[' + tool + "]}"
    with pytest.raises(InvalidRequest):
        translate_request(
            body.encode(), unsupported="drop", default_max_tokens=1, created_unix_s=1, fallback_id="chatcmpl-1"
        )
