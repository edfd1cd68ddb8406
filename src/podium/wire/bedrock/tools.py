"""The tools of a chat request -> the tools of a Converse request."""

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.anthropic.upstream_schema import fit_schema
from podium.wire.anthropic.upstream_tools import STRICT, read_schema
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
from podium.wire.chat.requests import ChatRequest, Function, NamedToolChoice

__all__ = ["has_tools", "is_forced", "tools_of"]

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_encode = msgspec.json.Encoder().encode


def has_tools(request: ChatRequest) -> bool:
    """True when the model may call tools."""
    return bool(request.tools) and request.tool_choice != "none"


def is_forced(request: ChatRequest) -> bool:
    """True when the model has to call a tool."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, NamedToolChoice)


def tools_of(
    request: ChatRequest, family: Family, lost: dict[str, str]
) -> tuple[ToolConfig | None, SerialToolChoice | None]:
    """The tools with the choice among them, or the choice apart, in Anthropic's words, which can ask for one call.

    Both choices together are refused by Bedrock. No tools: there are none, or none may be called, for which Bedrock
    has no word. What cannot be said is put into `lost` with the reason.
    """
    if is_forced(request) and not request.tools:
        raise InvalidRequest("`tool_choice` needs `tools`.", parameter="tool_choice")
    if not has_tools(request):
        return None, None
    entries = [
        _entry(tool.function, f"tools[{index}].function", family, lost)
        for index, tool in enumerate(request.tools or ())
    ]
    chosen = request.tool_choice
    if is_forced(request) and family.claude is not None and not family.claude.forced_tools:
        lost["tool_choice"] = "This model cannot be made to call a tool."
        chosen = "auto"
    if request.parallel_tool_calls is not False:
        return ToolConfig(entries, _choice(chosen)), None
    if family.serial_calls:
        return ToolConfig(entries), _serial_choice(chosen)
    lost["parallel_tool_calls"] = "AWS Bedrock cannot ask this model for one tool call at a time."
    return ToolConfig(entries, _choice(chosen)), None


def _entry(function: Function, path: str, family: Family, lost: dict[str, str]) -> ToolEntry:
    schema = read_schema(function.parameters, f"{path}.parameters")
    parameters, strict = (function.parameters if schema else _NO_PARAMETERS), False
    if function.strict:
        fitted, closed = fit_schema(schema or {"type": "object", "properties": {}})
        if strict := family.structured and closed:
            parameters = msgspec.Raw(_encode(fitted))
        else:
            lost[STRICT] = f"`{path}.strict` cannot be kept by this model, or with open-ended objects."
    return ToolEntry(
        ToolSpec(
            name=function.name,
            input_schema=JsonText(parameters),
            description=function.description or None,
            strict=strict or None,
        )
    )


def _choice(chosen: str | NamedToolChoice | None) -> ToolChoice | None:
    if isinstance(chosen, NamedToolChoice):
        return ToolChoice(tool=ToolName(chosen.function.name))
    if chosen is None:
        return None
    return ToolChoice(any={}) if chosen == "required" else ToolChoice(auto={})


def _serial_choice(chosen: str | NamedToolChoice | None) -> SerialToolChoice:
    if isinstance(chosen, NamedToolChoice):
        return SerialToolChoice("tool", disable_parallel_tool_use=True, name=chosen.function.name)
    return SerialToolChoice("any" if chosen == "required" else "auto", disable_parallel_tool_use=True)
