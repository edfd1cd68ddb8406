"""Requests that Gemini cannot be asked, and those whose details decide."""

import json

import pytest

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.gemini.requests import translate_request

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}


def translated(unsupported="reject", **fields):
    body = {"model": "gemini-3-flash-preview", "messages": [USER]} | fields
    return translate_request(json.dumps(body).encode(), unsupported=unsupported, created_unix_s=1, fallback_id="x")


def sent(**fields):
    return json.loads(translated(**fields).body)


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def image(url):
    return user({"type": "image_url", "image_url": {"url": url}})


def called(arguments):
    call = CALL | {"function": {"name": "f", "arguments": arguments}}
    return [USER, {"role": "assistant", "tool_calls": [call]}]


BAD = {
    "no messages": ({"messages": []}, "messages"),
    "messages without content": ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    "six stops": ({"stop": list("abcdef")}, "stop"),
    "top_logprobs alone": ({"top_logprobs": 3}, "top_logprobs"),
    "a tool to call without tools": ({"tool_choice": "required"}, "tool_choice"),
    "a named tool without tools": ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    "a tool that is not there": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
    ),
    "arguments that are no JSON": (
        {"messages": called('{"a":')},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments that are no object": ({"messages": called("[1]")}, "messages[1].tool_calls[0].function.arguments"),
    "arguments nested too deeply": (
        {"messages": called("[" * 5000)},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "a result without a call": (
        {"messages": [USER, {"role": "tool", "tool_call_id": "z", "content": "1"}]},
        "messages[1].tool_call_id",
    ),
    "a result without an id": ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id"),
    "a function's message": ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].role"),
    "an image as system": (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0]",
    ),
    "an http image": ({"messages": image("http://x/y.png")}, "messages[0].content[0].image_url.url"),
    "a file of this machine": ({"messages": image("file:///etc/passwd")}, "messages[0].content[0].image_url.url"),
    "a broken URL": ({"messages": image("https://[x/y.png")}, "messages[0].content[0].image_url.url"),
    "a data URL without base64": ({"messages": image("data:image/png,abc")}, "messages[0].content[0].image_url.url"),
    "a data URL without a type": ({"messages": image("data:;base64,abc")}, "messages[0].content[0].image_url.url"),
    "a data URL without data": ({"messages": image("data:image/png;base64,")}, "messages[0].content[0].image_url.url"),
    "an unknown sound": (
        {"messages": user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "midi"}})},
        "messages[0].content[0].input_audio.format",
    ),
    "a sound without data": (
        {"messages": user({"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}})},
        "messages[0].content[0].input_audio.data",
    ),
    "an uploaded file": (
        {"messages": user({"type": "file", "file": {"file_id": "file-1"}})},
        "messages[0].content[0].file.file_id",
    ),
    "a signature that is no string": (
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [CALL | {"extra_content": {"google": {"thought_signature": 7}}}]},
            ]
        },
        "messages[1].tool_calls[0].extra_content.google.thought_signature",
    ),
    "a field that Gemini has not": ({"logit_bias": {"1": 2}}, "logit_bias"),
    "one call at a time": ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    "an unknown effort": ({"reasoning_effort": "huge"}, "reasoning_effort"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_gemini_cannot_be_asked_is_refused_with_its_place(name):
    fields, parameter = BAD[name]
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert caught.value.parameter == parameter
    assert caught.value.message.endswith(".")


def test_a_field_that_is_dropped_is_named():
    assert translated("drop", logit_bias={"1": 2}, verbosity="low").dropped == ("logit_bias", "verbosity")


def test_a_refused_field_says_that_it_is_not_supported():
    with pytest.raises(InvalidRequest) as caught:
        translated(verbosity="low")
    assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER


def test_a_plain_request_makes_no_settings():
    assert sent() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-3-flash-preview", "none", {"includeThoughts": False, "thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro-preview", "none", {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", "medium", {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", "xhigh", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-2.5-flash", "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-2.5-pro", "none", {"includeThoughts": False, "thinkingBudget": 128}),
        ("models/gemini-2.5-pro", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
    ],
)
def test_effort_is_a_level_or_a_budget_by_model(model, effort, thinking):
    assert sent(model=model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": thinking}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_the_choice_of_a_tool_is_a_mode(choice, config):
    assert sent(tools=[TOOL], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}


def test_a_choice_of_nothing_from_nothing_is_left_out():
    assert "toolConfig" not in sent(tools=[], tool_choice="none")


def test_a_signature_comes_back_where_it_was():
    signed = CALL | {"id": "d", "extra_content": {"google": {"thought_signature": "c2ln"}}}
    messages = [USER, {"role": "assistant", "tool_calls": [CALL, signed]}]
    parts = sent(model="gemini-2.5-flash", messages=messages)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, "c2ln"]


def test_an_id_that_is_used_again_means_the_later_call():
    other = CALL | {"function": {"name": "g", "arguments": ""}}
    result = {"role": "tool", "tool_call_id": "c", "content": "1"}
    turns = [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        result,
        {"role": "assistant", "tool_calls": [other]},
        result,
    ]
    contents = sent(messages=turns)["contents"]
    assert [contents[place]["parts"][0]["functionResponse"]["name"] for place in (2, 4)] == ["f", "g"]


def test_settings_of_zero_are_settings():
    config = sent(temperature=0, top_p=0, seed=0)["generationConfig"]
    assert config == {"temperature": 0, "topP": 0, "seed": 0}


def test_a_body_that_is_no_json_is_refused():
    with pytest.raises(InvalidRequest) as caught:
        translate_request(b"{", unsupported="drop", created_unix_s=1, fallback_id="x")
    assert caught.value.reason is Reason.INVALID_JSON
