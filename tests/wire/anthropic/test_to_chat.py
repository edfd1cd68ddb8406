"""Messages requests as chats."""

import json
from pathlib import Path

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from podium.core.errors import InvalidRequest
from podium.wire.anthropic.messages import rewrite_request
from podium.wire.anthropic.to_chat import translate_request
from podium.wire.chat.requests import read_chat
from podium.wire.openai import Change, read_request

GOLDEN = Path(__file__).parent / "golden_face" / "requests"
PAIRS = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
ASKED = [{"role": "user", "content": "hi"}]


def eager(schema):
    """A schema of pydantic's that checks the items of an Iterable at once, and takes no text for one."""
    if isinstance(schema, dict):
        schema = {name: eager(item) for name, item in schema.items()}
        return schema | {"type": "list"} if schema.get("type") == "generator" else schema
    return [eager(item) for item in schema] if isinstance(schema, list) else schema


SAID, CHAT = (
    SchemaValidator(eager(TypeAdapter(kind).core_schema)) for kind in (MessageCreateParams, CompletionCreateParams)
)


def translate(said, **options):
    options = {"unsupported": "reject", "fallback_id": "msg_f"} | options
    return translate_request(json.dumps(said).encode(), **options)


def chat(**fields):
    """The chat that a request with these fields becomes."""
    return json.loads(translate({"model": "m", "max_tokens": 7, "messages": ASKED} | fields).body)


def refusal(**fields):
    with pytest.raises(InvalidRequest) as raised:
        chat(**fields)
    return raised.value


@pytest.mark.parametrize("name", PAIRS)
def test_golden_requests(name):
    pair = PAIRS[name]
    SAID.validate_python(pair["said"])
    translated = translate(pair["said"], unsupported="drop" if "dropped" in pair else "reject")
    assert json.loads(translated.body) == pair["chat"]
    assert list(translated.dropped) == pair.get("dropped", [])
    CHAT.validate_json(translated.body)
    read_chat(translated.body)
    read_request("chat.completions", translated.body)


LOSSES = [
    ({"top_k": 5}, "top_k"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"speed": "fast"}, "speed"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
    ({"brand_new": 1}, "brand_new"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
    ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "messages[0].content[0]",
    ),
    (
        {
            "messages": [
                *ASKED,
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "tool_reference", "tool_name": "f"}],
                        }
                    ],
                },
            ]
        },
        "messages[1].content[0].content[0]",
    ),
    ({"messages": [{"role": "assistant", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
    ({"system": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}, "system[0]"),
]


@pytest.mark.parametrize(("fields", "path"), LOSSES, ids=[path for _, path in LOSSES])
def test_what_a_chat_cannot_say_is_refused_by_its_path_or_left_out_by_its_name(fields, path):
    error = refusal(**fields)
    assert (error.reason, error.parameter) == ("unsupported_parameter", path)
    said = {"model": "m", "max_tokens": 7, "messages": ASKED} | fields
    assert len(translate(said, unsupported="drop").dropped) == 1


def test_names_of_what_is_left_out_can_stand_in_a_header():
    odd = {"a\r\nx: y": 1, "é": 2, "n" * 65: 3, "": 4} | {f"f{i}": i for i in range(99)}
    said = {"model": "m", "max_tokens": 7, "messages": ASKED} | odd
    dropped = translate(said, unsupported="drop").dropped
    assert len(dropped) == 32
    assert "other" in dropped
    assert all(name.isascii() and name.isidentifier() and len(name) <= 64 for name in dropped)


def turn(*blocks):
    return {"messages": [{"role": "user", "content": list(blocks)}]}


BAD = [
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    (turn("x"), "messages[0].content[0]"),
    (turn({"text": "x"}), "messages[0].content[0]"),
    (turn({"type": "text"}), "messages[0].content[0]"),
    (turn({"type": "text", "text": 7}), "messages[0].content[0].text"),
    (turn({"type": "image", "source": {"type": "url"}}), "messages[0].content[0].source"),
    (turn({"type": "image", "source": {"type": "magic"}}), "messages[0].content[0].source.type"),
    (turn({"type": "tool_result", "content": "x"}), "messages[0].content[0]"),
    (
        turn({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
        "messages[0].content[0].content[0]",
    ),
    (turn({"type": "tool_use", "id": "t", "name": "f", "input": "x"}), "messages[0].content[0].input"),
    ({"max_tokens": "7"}, "max_tokens"),
    ({"system": 7}, "system"),
    ({"system": [{"type": "text"}]}, "system[0]"),
    ({"stop_sequences": "END"}, "stop_sequences"),
    ({"temperature": "hot"}, "temperature"),
    ({"thinking": {"type": "deep"}}, "thinking.type"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    (
        {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "g"}},
        "tool_choice.name",
    ),
    ({"tool_choice": "auto"}, "tool_choice"),
]


@pytest.mark.parametrize(("fields", "path"), BAD)
def test_a_wrong_request_is_refused_by_its_path(fields, path):
    error = refusal(**fields)
    assert (error.reason, error.parameter) == ("invalid_request", path)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"model":"\xff"}'])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(InvalidRequest) as raised:
        translate_request(body, unsupported="drop", fallback_id="f")
    assert raised.value.reason == "invalid_json"


def test_no_depth_of_nesting_is_a_bug_of_ours():
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    block = f'{{"type":"tool_use","id":"t","name":"f","input":{deep}}}'
    body = f'{{"model":"m","max_tokens":1,"messages":[{{"role":"assistant","content":[{block}]}}]}}'
    with pytest.raises(InvalidRequest) as raised:
        translate_request(body.encode(), unsupported="drop", fallback_id="f")
    assert raised.value.reason == "invalid_json"


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "between_tools"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4095}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 16384}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30000}, "output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "xhigh"}}, "xhigh"),
        ({"reasoning_effort": "minimal"}, "minimal"),
        ({"reasoning_effort": "minimal", "output_config": {"effort": "high"}}, "high"),
    ],
)
def test_how_hard_the_model_thinks(fields, effort):
    assert chat(**fields).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
    ],
)
def test_which_tool_must_be_called(choice, expected):
    said = chat(tools=[{"name": "f", "input_schema": {"type": "object"}}], tool_choice=choice)
    assert {name: said[name] for name in ("tool_choice", "parallel_tool_calls") if name in said} == expected


def test_without_tools_nothing_is_said_of_a_choice():
    assert chat(tools=[], tool_choice={"type": "none"}).keys() == {"model", "messages", "max_tokens"}


def test_the_old_name_of_structured_output_is_understood():
    schema = {"type": "object", "properties": {}}
    said = chat(output_format={"type": "json_schema", "schema": schema})
    assert said["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}


def test_a_long_user_id_becomes_a_digest_of_what_openai_allows():
    long = {"user_id": "user_" + "a" * 140}
    user = chat(metadata=long)["user"]
    assert len(user) == 64
    assert user == chat(metadata=long)["user"]
    assert user != chat(metadata={"user_id": "user_" + "a" * 141})["user"]
    assert chat(metadata={"user_id": "u" * 64})["user"] == "u" * 64
    assert "user" not in chat(metadata={})


def test_the_servers_word_for_the_limit_can_be_chosen():
    said = {"model": "m", "max_tokens": 7, "messages": ASKED}
    body = json.loads(translate(said, limit_field="max_completion_tokens").body)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_cache_marks_stay_for_who_can_use_them():
    mark = {"type": "ephemeral", "ttl": "1h"}
    text = {"type": "text", "text": "x", "cache_control": mark}
    said = {
        "model": "m",
        "max_tokens": 7,
        "system": [text],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "y"}, text]}],
    }
    marked = json.loads(translate(said, cache_marks=True).body)["messages"]
    assert [message["content"] for message in marked] == [[text], [{"type": "text", "text": "y"}, text]]
    assert [message["content"] for message in json.loads(translate(said).body)["messages"]] == ["x", "y\nx"]


def test_a_field_that_is_not_openais_stays_for_who_knows_it():
    said = {"model": "m", "max_tokens": 7, "messages": ASKED, "top_k": 5}
    assert json.loads(translate(said, top_k=True).body)["top_k"] == 5
    with pytest.raises(InvalidRequest):
        translate(said)


def test_parameters_of_a_version_reach_the_chat():
    defaults = {"seed": msgspec.Raw(b"3"), "min_p": msgspec.Raw(b"0.1"), "stop": msgspec.Raw(b'"END"')}
    body = json.dumps({"model": "m", "max_tokens": 7, "messages": ASKED}).encode()
    changed = rewrite_request(body, Change(defaults=defaults))
    said = json.loads(translate_request(changed, unsupported="reject", fallback_id="f").body)
    assert (said["seed"], said["min_p"], said["stop"]) == (3, 0.1, ["END"])


def test_a_turn_of_nothing_but_thoughts_is_no_message():
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    said = chat(messages=[*ASKED, {"role": "assistant", "content": [thought]}, {"role": "user", "content": "and?"}])
    assert [message["content"] for message in said["messages"]] == ["hi", "and?"]
