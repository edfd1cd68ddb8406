"""How a chat wants to be answered, as Gemini's settings."""

from typing import Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.chat.requests import ChatRequest, Tool
from podium.wire.gemini.body import (
    FunctionCallingConfig,
    FunctionDeclaration,
    GenerationConfig,
    ThinkingConfig,
    ToolConfig,
    Tools,
)

__all__ = ["generation_config", "tool_config", "tool_declarations"]

_MOST_STOPS = 5  # GenerationConfig.stopSequences
_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

# As Google's OpenAI-compatible endpoint maps the effort (https://ai.google.dev/gemini-api/docs/openai#thinking).
# No model can be asked to think harder than at its highest level; Pro models think at least a little.
_LEVELS: dict[_Effort, Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"]] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
}
_BUDGETS: dict[_Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
}
_LEAST_PRO_BUDGET = 128  # https://ai.google.dev/gemini-api/docs/thinking#set-budget
_BUDGETED = ("gemini-1", "gemini-2")  # what came later takes levels


def generation_config(request: ChatRequest) -> GenerationConfig | None:
    """The settings that the request makes; None when it makes none.

    InvalidRequest: more than five stop sequences, or `top_logprobs` without `logprobs`.
    """
    stops = [stop for stop in request.stops if stop]
    if len(stops) > _MOST_STOPS:
        raise InvalidRequest(f"Gemini takes at most {_MOST_STOPS} stop sequences.", parameter="stop")
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs`.", parameter="top_logprobs")
    config = GenerationConfig(
        candidate_count=request.n if request.n != 1 else None,
        max_output_tokens=request.output_token_limit,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop_sequences=stops or None,
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        response_logprobs=True if request.logprobs else None,
        logprobs=request.top_logprobs or None,
        thinking_config=_thinking(request),
    )
    _set_format(config, request)
    return config if config != GenerationConfig() else None


def _set_format(config: GenerationConfig, request: ChatRequest) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    config.response_mime_type = "application/json"
    if wanted.type == "json_schema" and wanted.json_schema is not None and _is_given(wanted.json_schema.schema):
        config.response_json_schema = wanted.json_schema.schema


def _is_given(schema: msgspec.Raw) -> bool:
    return bytes(schema) not in {b"", b"null"}


def _thinking(request: ChatRequest) -> ThinkingConfig | None:
    """Who asks for effort is shown the thoughts; they are billed either way."""
    effort = request.reasoning_effort
    if effort is None:
        return None
    shown = effort != "none"
    name = request.model.rpartition("/")[2]
    pro = "-pro" in name
    if name.startswith(_BUDGETED):
        budget = max(_BUDGETS[effort], _LEAST_PRO_BUDGET if pro else 0)
        return ThinkingConfig(include_thoughts=shown, thinking_budget=budget)
    level = _LEVELS[effort]
    return ThinkingConfig(include_thoughts=shown, thinking_level="LOW" if pro and level == "MINIMAL" else level)


def tool_declarations(tools: list[Tool] | None) -> list[Tools] | None:
    """The functions that the model may call; None: there are none."""
    if not tools:
        return None
    return [Tools([_declaration(tool) for tool in tools])]


def _declaration(tool: Tool) -> FunctionDeclaration:
    function = tool.function
    declaration = FunctionDeclaration(name=function.name, description=function.description or None)
    if _is_given(function.parameters):
        declaration.parameters_json_schema = function.parameters
    return declaration


def tool_config(request: ChatRequest) -> ToolConfig | None:
    """Whether a function may or must be called; None leaves it to the API, which decides as OpenAI's does.

    InvalidRequest: a call is asked for that no declared function can answer.
    """
    choice = request.tool_choice
    names = [tool.function.name for tool in request.tools or ()]
    if choice is None or (not names and choice in ("none", "auto")):
        return None
    if not names:
        raise InvalidRequest("A tool must be called, but there are none.", parameter="tool_choice")
    match choice:
        case "none":
            config = FunctionCallingConfig("NONE")
        case "auto":
            config = FunctionCallingConfig("AUTO")
        case "required":
            config = FunctionCallingConfig("ANY")
        case _:
            if choice.function.name not in names:
                raise InvalidRequest("The tool to call is not among `tools`.", parameter="tool_choice.function.name")
            config = FunctionCallingConfig("ANY", [choice.function.name])
    return ToolConfig(config)
