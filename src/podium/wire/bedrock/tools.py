"""The tools of a chat request -> the tools of a Converse request."""

import msgspec

from podium.wire.bedrock.families import Family
from podium.wire.bedrock.shapes import (
    JsonText,
    SerialToolChoice,
    ToolChoice,
    ToolConfig,
    ToolEntry,
    ToolName,
    ToolSpec,
)
from podium.wire.chat.requests import ChatRequest, NamedToolChoice, Tool

__all__ = ["forces_call", "has_tools", "serial_choice", "tool_config"]

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


def has_tools(request: ChatRequest) -> bool:
    """True when the model may call tools."""
    return bool(request.tools) and request.tool_choice != "none"


def forces_call(request: ChatRequest) -> bool:
    """True when the model has to call a tool."""
    return has_tools(request) and request.tool_choice not in (None, "auto")


def tool_config(request: ChatRequest) -> ToolConfig | None:
    """The tools; None: there are none, or `tool_choice` is none, for which Bedrock has no word."""
    if not has_tools(request):
        return None
    return ToolConfig([_entry(tool) for tool in request.tools or ()], _choice(request))


def serial_choice(request: ChatRequest, family: Family) -> SerialToolChoice | None:
    """The tool choice in Anthropic's own words, which can ask for one call at a time; None: not asked for.

    It stands instead of Bedrock's choice: both together are refused.
    """
    if request.parallel_tool_calls is not False or not family.serial_calls or not has_tools(request):
        return None
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        return SerialToolChoice("tool", disable_parallel_tool_use=True, name=choice.function.name)
    return SerialToolChoice("any" if choice == "required" else "auto", disable_parallel_tool_use=True)


def _entry(tool: Tool) -> ToolEntry:
    function = tool.function
    schema = function.parameters if bytes(function.parameters) not in (b"", b"null") else _NO_PARAMETERS
    return ToolEntry(
        ToolSpec(
            name=function.name,
            input_schema=JsonText(schema),
            description=function.description or None,
            strict=True if function.strict else None,
        )
    )


def _choice(request: ChatRequest) -> ToolChoice | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if isinstance(choice, NamedToolChoice):
        return ToolChoice(tool=ToolName(choice.function.name))
    return ToolChoice(any={}) if choice == "required" else ToolChoice(auto={})
