"""Function calling for models that only write text: the request's side.

The functions go into the system message, earlier calls and their results become plain messages, and a grammar
makes the worker write a call that is valid, or, when the model may choose, either a call or text. `tool_calls`
reads what comes back.
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.openai import encode_json
from podium.wire.tool_calls import call_head, call_text
from podium.wire.tool_history import instruct, invalid_shape, plain_messages
from podium.wire.tool_schema import grammar_schema

__all__ = ["Offer", "ToolRequest", "may_use_tools", "translate_request"]

_NULL = msgspec.Raw(b"null")
_MAX_TOOLS = 128  # OpenAI's
_MAX_CALLS = 8  # in one answer
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# One pass that stops at quotes only; four times as fast as looking for each word.
_TOOL_WORDS = re.compile(rb'"(?:tool|function|developer")')
# Neither a call nor the result of one: small models like to invent both.
_TEXT = r"TEXT: /(.|\n)*/ & ~/\s*<tool_(call|response)>(.|\n)*/"


@dataclass(frozen=True, slots=True)
class Offer:
    """The functions that an answer may call."""

    names: tuple[str, ...]
    must_call: bool


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A request as a worker gets it. `offer` None: its answer is text."""

    body: bytes
    offer: Offer | None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Named(msgspec.Struct):
    name: str


class _AllowedTool(msgspec.Struct):
    function: _Named


class _Allowed(msgspec.Struct):
    mode: str
    tools: list[_AllowedTool]


class _ToolChoice(msgspec.Struct):
    type: str
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class _JsonSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _Chat(msgspec.Struct):
    messages: list[msgspec.Raw]
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL
    response_format: _ResponseFormat | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def may_use_tools(body: bytes) -> bool:
    """False for a chat that is certainly none of ours: no tools, no results of them, no developer message."""
    return _TOOL_WORDS.search(body) is not None


def translate_request(body: bytes) -> ToolRequest:
    """A chat as a worker understands it; InvalidRequest says what is wrong with it, or cannot be done."""
    try:
        chat = _decode_chat(body)
    except msgspec.ValidationError as error:
        raise invalid_shape(error) from None
    for name, value in (("functions", chat.functions), ("function_call", chat.function_call)):
        if value != _NULL:
            raise InvalidRequest(f"`{name}` is not supported by this model: use `tools`.", parameter=name)
    functions = _functions(chat.tools or [])
    offered, must_call = _choice(chat.tool_choice, functions)
    fields = _decode_fields(body)
    for name in ("tools", "tool_choice", "parallel_tool_calls"):
        fields.pop(name, None)
    messages = plain_messages(chat.messages)
    if not offered:
        return ToolRequest(encode_json(fields | {"messages": messages}), None)
    schemas = [
        grammar_schema(functions[name].parameters, f"tools[{index}].function.parameters")
        for index, name in enumerate(functions)
        if name in offered
    ]
    text = None if must_call else _text_rule(chat.response_format)
    grammar = _grammar(offered, schemas, text=text, several=chat.parallel_tool_calls is True)
    instructions = _instructions([functions[name] for name in offered], must_call=must_call)
    for name in ("response_format", "json_schema", *(("stop",) if must_call else ())):
        fields.pop(name, None)  # the grammar says it all
    body = encode_json(fields | {"messages": instruct(messages, instructions), "grammar": grammar})
    return ToolRequest(body, Offer(offered, must_call))


def _functions(tools: list[_Tool]) -> dict[str, _Function]:
    """The declared functions, in their order."""
    if len(tools) > _MAX_TOOLS:
        raise InvalidRequest(f"At most {_MAX_TOOLS} tools may be declared.", parameter="tools")
    functions: dict[str, _Function] = {}
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if tool.type != "function" or tool.function is None:
            raise InvalidRequest("This model supports tools of type `function` only.", parameter=f"{where}.type")
        name = tool.function.name
        if _NAME.fullmatch(name) is None:
            message = "A function's name has 1 to 64 letters, digits, underscores and dashes."
            raise InvalidRequest(message, parameter=f"{where}.function.name")
        if name in functions:
            raise InvalidRequest(f"The function {name!r} is declared twice.", parameter=f"{where}.function.name")
        functions[name] = tool.function
    return functions


def _choice(choice: str | _ToolChoice | None, functions: dict[str, _Function]) -> tuple[tuple[str, ...], bool]:
    """The functions to offer, and whether one has to be called."""
    mode, names = _mode_and_names(choice, tuple(functions))
    if mode not in ("none", "auto", "required"):
        message = "`tool_choice` must be none, auto, required, or name a function or the allowed tools."
        raise InvalidRequest(message, parameter="tool_choice")
    for name in names:
        if name not in functions:
            raise InvalidRequest(f"The function {name[:64]!r} is not among the tools.", parameter="tool_choice")
    if mode == "required" and not names:
        raise InvalidRequest("`tool_choice` needs `tools` to choose from.", parameter="tool_choice")
    return (() if mode == "none" else tuple(name for name in functions if name in names)), mode == "required"


def _mode_and_names(choice: str | _ToolChoice | None, declared: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if choice is None:
        return "auto", declared
    if isinstance(choice, str):
        return choice, declared
    if choice.type == "function" and choice.function is not None:
        return "required", (choice.function.name,)
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        return choice.allowed_tools.mode, tuple(tool.function.name for tool in choice.allowed_tools.tools)
    return "", ()


def _text_rule(wanted: _ResponseFormat | None) -> str:
    """The grammar of an answer that is no call; it cannot be mistaken for one."""
    if wanted is None or wanted.type == "text":
        return f"text: TEXT\n{_TEXT}"
    if wanted.type not in ("json_object", "json_schema"):
        raise InvalidRequest("`response_format` has an unknown type.", parameter="response_format.type")
    schema = wanted.json_schema.schema if wanted.json_schema is not None else None
    if wanted.type == "json_object" or schema is None:
        return 'text: %json {"type":"object"}'
    prepared = grammar_schema(schema, "response_format.json_schema.schema")
    return f"text: %json {encode_json(prepared).decode()}"


def _grammar(names: tuple[str, ...], schemas: list[dict[str, Any]], *, text: str | None, several: bool) -> str:
    """Calls, or text where it is allowed, in LLGuidance's dialect of Lark."""
    calls = f'call ("\\n" call){{0,{_MAX_CALLS - 1}}}' if several else "call"
    lines = ["%llguidance {}", f"start: {calls}" + (" | text" if text is not None else "")]
    lines.append("call: " + " | ".join(f"call_{index}" for index in range(len(names))))
    for index, (name, schema) in enumerate(zip(names, schemas, strict=True)):
        head = encode_json(call_head(name)).decode()
        lines.append(f'call_{index}: {head} arguments_{index} "}}"')
        lines.append(f"arguments_{index}: %json {encode_json(schema).decode()}")
    return "\n".join([*lines, text or "", ""])


def _instructions(functions: list[_Function], *, must_call: bool) -> str:
    form = call_text("NAME", "{...}")
    how = (
        f"Answer with a function call and nothing else: {form}"
        if must_call
        else f"When a function helps, answer with a call of it and nothing else: {form}"
    )
    # The functions first: what the worker computed for them serves every choice.
    return "\n".join(["Functions, each with the JSON schema of its arguments:", *map(_described, functions), how])


def _described(function: _Function) -> str:
    schema = encode_json(function.parameters or {}).decode()
    description = f" {function.description}" if function.description else ""
    return f"- {function.name}:{description} {schema}"
