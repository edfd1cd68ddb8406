"""Tools, thinking and the answer's form in a Messages request -> the fields of a chat."""

import hashlib
from typing import Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.anthropic.face_losses import Losses
from podium.wire.anthropic.face_parts import Json

__all__ = [
    "AnswerFormat",
    "OutputConfig",
    "SaidTool",
    "ThinkingConfig",
    "ToolChoice",
    "chat_user",
    "reasoning_effort",
    "response_format",
    "tool_fields",
]


class SaidTool(msgspec.Struct):
    """A tool. Those with a type of their own run at Anthropic, or are known to its models only."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    input_examples: list[msgspec.Raw] | None = None


class ToolChoice(msgspec.Struct):
    """Which tool the model has to call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def tool_fields(tools: list[SaidTool], choice: ToolChoice | None, losses: Losses) -> Json:
    """`tools`, `tool_choice` and `parallel_tool_calls`, as far as they are needed."""
    functions = {tool.name: _function(tool, f"tools[{i}]", losses) for i, tool in _own(tools, losses)}
    if not functions:
        return {}
    fields: Json = {"tools": list(functions.values())}
    if choice is None:
        return fields
    if choice.type != "tool":
        fields["tool_choice"] = _CHOICES[choice.type]
    elif choice.name in functions:
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif all(tool.name != choice.name for tool in tools):
        raise InvalidRequest("`tool_choice` names a tool that is not in `tools`.", parameter="tool_choice.name")
    if choice.disable_parallel_tool_use:
        fields["parallel_tool_calls"] = False
    return fields


def _own(tools: list[SaidTool], losses: Losses) -> list[tuple[int, SaidTool]]:
    """The caller's own tools, with their places."""
    own = []
    for number, tool in enumerate(tools):
        if tool.type is None or tool.type == "custom":
            own.append((number, tool))
        else:
            losses.add(f"tools.{tool.type}", f"tools[{number}]")
    return own


def _function(tool: SaidTool, path: str, losses: Losses) -> Json:
    if not tool.name:
        raise InvalidRequest("A tool needs a `name`.", parameter=f"{path}.name")
    if not bytes(tool.input_schema).startswith(b"{"):
        raise InvalidRequest("`input_schema` must be a JSON schema.", parameter=f"{path}.input_schema")
    if tool.input_examples:
        losses.add("tools.input_examples", f"{path}.input_examples")
    function: Json = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


class ThinkingConfig(msgspec.Struct):
    """Whether the model thinks before it answers, how much, and whether the caller sees it."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None

    @property
    def is_shown(self) -> bool:
        """True when the caller expects `thinking` blocks in the answer."""
        return self.type != "disabled" and self.display != "omitted"


class AnswerFormat(msgspec.Struct):
    """The form that an answer must have."""

    schema: msgspec.Raw
    type: Literal["json_schema"]


class OutputConfig(msgspec.Struct):
    """How hard the model tries, and the form of its answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: AnswerFormat | None = None


# Budgets of thinking below which the effort is said to be this; above the last, it is high. The steps are ours:
# neither API gives any. 1024 is the least budget that Anthropic takes, 16384 and more is what its guides use for
# hard problems.
_EFFORTS = ((4096, "low"), (16384, "medium"))


def reasoning_effort(thinking: ThinkingConfig | None, effort: str | None) -> str | None:
    """OpenAI's `reasoning_effort`; None: the model does as it does by itself.

    A said effort counts before a budget; `max` is `xhigh`. Adaptive thinking without an effort says nothing about
    how much, and disabled thinking is left out too: models that cannot switch it off refuse the word `none`.
    """
    if effort is not None:
        return "xhigh" if effort == "max" else effort
    if thinking is None or thinking.type != "enabled" or thinking.budget_tokens is None:
        return None
    return next((word for below, word in _EFFORTS if thinking.budget_tokens < below), "high")


def response_format(wanted: AnswerFormat) -> Json:
    """OpenAI's `response_format`. Strict, because Anthropic keeps its word too; the name is for OpenAI's sake."""
    schema = {"name": "answer", "schema": wanted.schema, "strict": True}
    return {"type": "json_schema", "json_schema": schema}


_MOST_USER_CHARACTERS = 64  # OpenAI's limit; Claude Code sends more than twice as many


def chat_user(user: str) -> str:
    """The caller's word for who asks; of a long one, a digest that stands for it."""
    return user if len(user) <= _MOST_USER_CHARACTERS else hashlib.sha256(user.encode()).hexdigest()
