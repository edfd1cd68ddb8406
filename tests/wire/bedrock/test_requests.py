"""A chat request -> Converse: golden pairs, each checked against Amazon's own description and its own client."""

import base64
import json

import pytest
from botocore.serialize import create_serializer

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.bedrock.requests import path_of, translate_request

PNG = "data:image/png;base64,iVBORw0KGgo="
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
TOOL = {"type": "function", "function": {"name": "f"}}


def _translate(request, *, model=CLAUDE, unsupported="reject"):
    body = json.dumps({"model": "m"} | request).encode()
    return translate_request(
        body, unsupported=unsupported, model=model, created_unix_s=1_700_000_000, fallback_id="chatcmpl-x"
    )


def _user(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def _file(**file):
    return _user({"type": "file", "file": file})


def _image(url):
    return _user({"type": "image_url", "image_url": {"url": url}})


def _calls(*arguments):
    calls = [{"id": f"c{i}", "function": {"name": "f", "arguments": text}} for i, text in enumerate(arguments)]
    return {
        "tools": [TOOL],
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": calls}],
    }


def test_a_request_is_translated_as_written_down(request_pair, check_shape):
    pair = request_pair
    translated = _translate(pair["request"], model=pair["model"], unsupported=pair["unsupported"])
    assert json.loads(translated.body) == pair["converse"]
    assert list(translated.dropped) == pair["dropped"]
    check_shape({"modelId": pair["model"]} | pair["converse"], "ConverseRequest")


def test_amazons_own_client_sends_the_same(request_pair, bedrock, with_bytes):
    pair = request_pair
    parameters = {"modelId": pair["model"]} | with_bytes(pair["converse"])
    serializer = create_serializer("rest-json", include_validation=True)
    for stream in (False, True):
        operation = bedrock.operation_model("ConverseStream" if stream else "Converse")
        sent = serializer.serialize_to_request(parameters, operation)
        assert json.loads(sent["body"]) == pair["converse"]
        assert sent["url_path"].encode() == path_of(pair["model"], stream=stream)


@pytest.mark.parametrize(
    "model",
    [
        "amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
        "a~b_c-d.e",
        "never?a=b#c%2Fé",
    ],
)
def test_a_path_is_encoded_as_amazons_client_does_it(model, bedrock):
    parameters = {"modelId": model, "messages": []}
    sent = create_serializer("rest-json").serialize_to_request(parameters, bedrock.operation_model("Converse"))
    assert path_of(model, stream=False) == sent["url_path"].encode()


@pytest.mark.parametrize("unsupported", ["reject", "drop"])
@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (_image("https://example.org/cat.png"), "data URL"),
        (_image("s3://bucket/cat.png"), "data URL"),
        (_image("data:image/png,abc"), "base64"),
        (_image("data:image/png;base64,@@@@"), "valid base64"),
        (_image("data:image/png;base64,AAAAé"), "valid base64"),
        (_image("data:image/png;base64,"), "empty"),
        (_image("data:image/tiff;base64,AAAA"), "image/tiff"),
        (_image("data:;base64,AAAA"), "without a type"),
        (_file(file_id="file-1"), "by id"),
        (_file(file_data="data:application/zip;base64,AAAA", filename="a.zip"), "pdf"),
        (_file(file_data="AAAA"), "pdf"),
        (_file(file_data="!", filename="a.pdf"), "valid base64"),
        (_user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}}), "wav"),
        (_user({"type": "refusal", "refusal": "no"}), "refusal"),
        (_calls("not json"), "not a JSON object"),
        (_calls("{}", "[1]"), "not a JSON object"),
        (_calls('{"a": 1'), "not a JSON object"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "function"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}, "calls"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}, "text"),
    ],
)
def test_content_that_would_be_lost_is_refused_whatever_the_policy(request_, told, unsupported):
    with pytest.raises(InvalidRequest, match=told) as caught:
        _translate(request_, unsupported=unsupported)
    assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER
    assert caught.value.parameter == "messages"


@pytest.mark.parametrize(
    ("request_", "parameter"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "only"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "first"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        (_user({"type": "hologram"}), "messages[0].content[0].type"),
        (_user({"type": "text", "text": "a"}) | {"max_tokens": 0}, "max_tokens"),
        (_user({"type": "text", "text": "a"}) | {"tool_choice": "required"}, "tool_choice"),
        (
            _user({"type": "text", "text": "a"})
            | {"tools": [{"type": "function", "function": {"name": "f", "parameters": [1]}}]},
            "tools[0].function.parameters",
        ),
        (_user({"type": "text", "text": "a"}) | {"max_completion_tokens": -1}, "max_completion_tokens"),
        (
            _user({"type": "text", "text": "a"})
            | {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_the_name_of_the_field(request_, parameter):
    with pytest.raises(InvalidRequest) as caught:
        _translate(request_, unsupported="drop")
    assert caught.value.parameter == parameter


def test_a_body_that_is_no_json_is_refused():
    with pytest.raises(InvalidRequest) as caught:
        translate_request(b"{", unsupported="drop", model="m", created_unix_s=0, fallback_id="x")
    assert caught.value.reason is Reason.INVALID_JSON


RESULT = [*_calls("{}")["messages"], {"role": "tool", "tool_call_id": "c0", "content": "x"}]
OPUS = "anthropic.claude-opus-4-7"
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("model", "fields", "lost"),
    [
        (CLAUDE, {"seed": 1}, "seed"),
        (CLAUDE, {"n": 2}, "n"),
        (CLAUDE, {"response_format": {"type": "json_object"}}, "response_format"),
        ("amazon.nova-pro-v1:0", {"response_format": FORM}, "response_format"),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"response_format": FORM}, "response_format"),
        ("cohere.command-r-v1:0", {"top_k": 3}, "top_k"),
        ("cohere.command-r-v1:0", {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ("cohere.command-r-v1:0", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a", {"top_k": 3}, "top_k"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", {"reasoning_effort": "low"}, "reasoning_effort"),
        (CLAUDE, {"reasoning_effort": "low", "max_tokens": 1024}, "reasoning_effort"),
        (CLAUDE, {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"}, "reasoning_effort"),
        (CLAUDE, {"reasoning_effort": "low", "temperature": 0.2}, "temperature"),
        (CLAUDE, {"reasoning_effort": "low", "top_p": 0.5}, "top_p"),
        (CLAUDE, {"reasoning_effort": "low", "top_k": 5}, "top_k"),
        (CLAUDE, {"temperature": 0.2, "top_p": 0.5}, "top_p"),
        (OPUS, {"temperature": 0.2}, "temperature"),
        ("amazon.nova-2-lite-v1:0", {"reasoning_effort": "high", "max_tokens": 9}, "reasoning_effort"),
        ("openai.gpt-oss-20b-1:0", {"reasoning_effort": "xhigh"}, "reasoning_effort"),
    ],
)
def test_a_field_that_cannot_be_expressed_is_refused_or_left_out_by_policy(model, fields, lost, check_shape):
    request = _user({"type": "text", "text": "a"}) | fields
    with pytest.raises(InvalidRequest) as caught:
        _translate(request, model=model)
    assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER
    assert caught.value.parameter == lost
    translated = _translate(request, model=model, unsupported="drop")
    kept = _translate({name: value for name, value in request.items() if name != lost}, model=model)
    assert translated.dropped == (lost,)
    assert translated.body == kept.body
    check_shape({"modelId": model} | json.loads(translated.body), "ConverseRequest")


@pytest.mark.parametrize(
    ("model", "fields", "lost", "config", "sent"),
    [
        ("amazon.nova-lite-v1:0", {"temperature": 1.5}, "temperature", "inferenceConfig", {"temperature": 1.0}),
        ("amazon.nova-lite-v1:0", {"top_p": -0.5}, "top_p", "inferenceConfig", {"topP": 0.0}),
        (
            "anthropic.claude-opus-5-5",
            {"reasoning_effort": "none"},
            "reasoning_effort",
            "outputConfig",
            {"effort": "low"},
        ),
    ],
)
def test_what_can_be_said_nearly_is_refused_or_said_nearly_by_policy(model, fields, lost, config, sent):
    request = _user({"type": "text", "text": "a"}) | fields
    with pytest.raises(InvalidRequest):
        _translate(request, model=model)
    translated = _translate(request, model=model, unsupported="drop")
    assert translated.dropped == (lost,)
    assert json.loads(translated.body)[config] == sent


def test_a_model_that_cannot_be_made_to_call_chooses_by_itself():
    request = _user({"type": "text", "text": "a"}) | {"tools": [TOOL], "tool_choice": "required"}
    translated = _translate(request, model="anthropic.claude-opus-5-5", unsupported="drop")
    assert translated.dropped == ("tool_choice",)
    assert json.loads(translated.body)["toolConfig"]["toolChoice"] == {"auto": {}}


def test_a_schema_with_open_objects_is_closed_where_the_policy_allows_it():
    form = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object", "additionalProperties": {}}},
    }
    request = _user({"type": "text", "text": "a"}) | {"response_format": form}
    with pytest.raises(InvalidRequest):
        _translate(request)
    translated = _translate(request, unsupported="drop")
    assert translated.dropped == ("response_format",)
    sent = json.loads(translated.body)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
    assert json.loads(sent) == {"type": "object", "additionalProperties": False}


def test_a_turn_that_began_without_thoughts_ends_without_them():
    request = {"reasoning_effort": "low", "tools": [TOOL], "messages": RESULT}
    assert "additionalModelRequestFields" not in json.loads(_translate(request).body)
    fields = json.loads(_translate(request, model=OPUS).body)["additionalModelRequestFields"]
    assert fields["thinking"]["type"] == "adaptive"


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "sent"),
    [
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "medium", "enabled", None),
        ("anthropic.claude-opus-4-20250514-v1:0", "xhigh", "enabled", None),
        ("anthropic.claude-opus-4-1-20250805-v1:0", "minimal", "enabled", None),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-5-20251101-v1:0", "low", "enabled", None),
        ("anthropic.claude-opus-4-6-v1", "xhigh", "adaptive", "high"),
        ("anthropic.claude-sonnet-4-6", "minimal", "adaptive", "low"),
        ("global.anthropic.claude-opus-5", "xhigh", "adaptive", "xhigh"),
        ("anthropic.claude-mythos-preview", "medium", "adaptive", "medium"),
        ("anthropic.claude-opus-5", "none", "disabled", None),
        ("anthropic.claude-opus-4-7", "none", None, None),
        ("anthropic.claude-opus-4-5-20251101-v1:0", "none", None, None),
    ],
)
def test_each_generation_of_claude_is_told_to_think_in_its_own_way(model, effort, thinking, sent, check_shape):
    request = _user({"type": "text", "text": "a"}) | {"reasoning_effort": effort}
    body = json.loads(_translate(request, model=model).body)
    fields = body.get("additionalModelRequestFields", {"thinking": {"type": None}})
    assert fields["thinking"]["type"] == thinking
    assert body.get("outputConfig", {}).get("effort") == sent
    check_shape({"modelId": model} | body, "ConverseRequest")


def test_documents_of_one_name_and_very_long_ones_get_names_that_bedrock_takes(check_shape):
    data = "data:application/pdf;base64," + base64.b64encode(b"%PDF").decode()
    files = [{"type": "file", "file": {"file_data": data, "filename": "x" * 400 + ".pdf"}} for _ in range(12)]
    body = json.loads(_translate(_user(*files)).body)
    names = [block["document"]["name"] for block in body["messages"][0]["content"]]
    assert len(set(names)) == 12
    check_shape({"modelId": CLAUDE} | body, "ConverseRequest")


def test_results_find_their_calls_whatever_the_ids_look_like(check_shape):
    ids = ["short", "ü" * 9, "x" * 65, ""]
    calls = [{"id": call_id, "function": {"name": "f"}} for call_id in ids]
    results = [{"role": "tool", "tool_call_id": call_id, "content": ""} for call_id in ids]
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": calls}, *results]
    body = json.loads(_translate({"messages": messages, "tools": [TOOL]}).body)
    used = [block["toolUse"]["toolUseId"] for block in body["messages"][1]["content"]]
    assert len(set(used)) == 4
    assert used == [block["toolResult"]["toolUseId"] for block in body["messages"][2]["content"]]
    check_shape({"modelId": CLAUDE} | body, "ConverseRequest")
