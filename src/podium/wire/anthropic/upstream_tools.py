"""The tools of a chat request as the Messages API takes them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.anthropic.upstream_models import Abilities
from podium.wire.anthropic.upstream_schema import fit_schema
from podium.wire.anthropic.upstream_shapes import ToolChoice, ToolParam, ToolUseBlock, Turn
from podium.wire.chat.requests import ChatRequest, Function, NamedToolChoice

__all__ = ["STRICT", "is_forced", "read_schema", "tool_choice", "tools_of"]

STRICT = "tools[].function.strict"  # how the loss of strict mode is named


def tools_of(
    request: ChatRequest, turns: Sequence[Turn], abilities: Abilities, lost: dict[str, str]
) -> tuple[list[ToolParam], ToolChoice | None]:
    """The tools and how to choose among them; what cannot be said is put into `lost` with the reason."""
    tools = [
        _tool(tool.function, f"tools[{index}].function", abilities, lost)
        for index, tool in enumerate(request.tools or ())
    ]
    if tools:
        return tools, tool_choice(request, abilities, lost)
    if is_forced(request):
        raise InvalidRequest("`tool_choice` needs `tools`.", parameter="tool_choice")
    # A conversation with tool calls must define tools (anthropic-sdk-python issue 494), also when none may be called.
    names = dict.fromkeys(block.name for turn in turns for block in turn.content if isinstance(block, ToolUseBlock))
    used = [ToolParam(name=name, input_schema={"type": "object"}) for name in names]
    return used, ToolChoice(type="none") if used else None


def is_forced(request: ChatRequest) -> bool:
    """True when the model has to call a tool."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, NamedToolChoice)


def tool_choice(request: ChatRequest, abilities: Abilities, lost: dict[str, str]) -> ToolChoice | None:
    """None: the model chooses, and as many tools as it likes."""
    serial = request.parallel_tool_calls is False
    chosen = request.tool_choice
    if is_forced(request) and not abilities.forced_tools:
        lost["tool_choice"] = "This model cannot be made to call a tool."
        chosen = "auto"
    if isinstance(chosen, NamedToolChoice):
        return ToolChoice(type="tool", name=chosen.function.name, disable_parallel_tool_use=serial)
    if chosen == "required":
        return ToolChoice(type="any", disable_parallel_tool_use=serial)
    if chosen == "none":
        return ToolChoice(type="none")
    return ToolChoice(type="auto", disable_parallel_tool_use=serial) if serial or chosen == "auto" else None


def _tool(function: Function, path: str, abilities: Abilities, lost: dict[str, str]) -> ToolParam:
    schema = read_schema(function.parameters, f"{path}.parameters")
    schema.setdefault("type", "object")
    strict = False
    if function.strict:
        fitted, closed = fit_schema(schema)
        if strict := abilities.strict_tools and closed:
            schema = fitted
        else:
            lost[STRICT] = f"`{path}.strict` cannot be kept by this model, or with open-ended objects."
    return ToolParam(name=function.name, description=function.description, input_schema=schema, strict=strict)


def read_schema(raw: msgspec.Raw, path: str) -> dict[str, Any]:
    """A JSON schema; {} when none was given. InvalidRequest: it is no object."""
    data = bytes(raw)
    try:
        schema = msgspec.json.decode(data) if data and data != b"null" else {}
    except (msgspec.DecodeError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise InvalidRequest("The schema must be a JSON object.", parameter=path)
    return schema
