"""How the model is to answer: sampling, thinking and form, as far as the model at hand takes it.

Each function puts what cannot be said into `lost`, by field, with a sentence that says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podium.core.errors import InvalidRequest
from podium.wire.anthropic.upstream_models import Abilities
from podium.wire.anthropic.upstream_schema import fit_schema
from podium.wire.anthropic.upstream_shapes import JsonFormat, Thinking, ToolResultBlock, Turn
from podium.wire.anthropic.upstream_tools import is_forced, read_schema
from podium.wire.chat.requests import ChatRequest

__all__ = ["JSON_PLEASE", "Reasoning", "Sampling", "form_of", "reasoning_of", "sampling_of", "stops_of"]

JSON_PLEASE = "Answer with one JSON object and nothing else."

# OpenAI's words for thinking in tokens; 1,024 is the least that the API takes.
_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768}
_SMALLEST_BUDGET = 1_024
_EFFORTS: dict[str, Literal["low", "medium", "high", "xhigh"]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """None: the API's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """None: the model's default."""

    thinking: Thinking | None = None
    effort: Literal["low", "medium", "high", "xhigh"] | None = None

    @property
    def budgeted(self) -> bool:
        """True in the manual mode, which allows neither sampling parameters nor forced tools."""
        return self.thinking is not None and self.thinking.type == "enabled"


def sampling_of(request: ChatRequest, abilities: Abilities, reasoning: Reasoning, lost: dict[str, str]) -> Sampling:
    """OpenAI's temperature reaches 2, Anthropic's 1: above that it is lost, or cut to 1."""
    temperature = None if request.temperature == 1 else request.temperature
    top_p = None if request.top_p == 1 else request.top_p
    top_k = request.top_k if request.top_k is not None and request.top_k > 0 else None  # 0 and -1: vLLM's "all"
    if not abilities.samples or reasoning.budgeted:
        why = "while it thinks" if abilities.samples else "at all"
        given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        lost.update(
            {name: f"This model takes no `{name}` {why}." for name, value in given.items() if value is not None}
        )
        return Sampling()
    if temperature is not None and temperature > 1:
        lost["temperature"] = "The model's provider (Anthropic) takes a `temperature` between 0 and 1."
        temperature = 1.0
    if temperature is not None and top_p is not None and not abilities.samples_by_both:
        lost["top_p"] = "This model takes `temperature` or `top_p`, not both."
        top_p = None
    return Sampling(temperature, top_p, top_k)


def reasoning_of(
    request: ChatRequest, turns: Sequence[Turn], abilities: Abilities, max_tokens: int, lost: dict[str, str]
) -> Reasoning:
    """Models since Claude 4.6 get an effort, older ones a budget of tokens (at most 3/4 of `max_tokens`)."""
    wanted = request.reasoning_effort
    if wanted is None:
        return Reasoning()
    if wanted == "none":
        return _without_thinking(abilities, lost)
    if abilities.thinking == "adaptive":
        effort = _EFFORTS[wanted]
        return Reasoning(
            Thinking(type="adaptive", display="summarized"),  # newer models show nothing unless asked
            "high" if effort == "xhigh" and not abilities.xhigh_effort else effort,
        )
    budget = min(_BUDGETS[wanted], max_tokens - max_tokens // 4)
    if not abilities.thinking:
        lost["reasoning_effort"] = "This model does not think before it answers."
    elif is_forced(request):
        lost["reasoning_effort"] = "This model cannot think when it is made to call a tool."
    elif budget < _SMALLEST_BUDGET:
        lost["reasoning_effort"] = "`max_tokens` leaves this model no room to think."
    elif not _in_tool_use(turns):
        return Reasoning(Thinking(type="enabled", budget_tokens=budget))
    return Reasoning()


def _without_thinking(abilities: Abilities, lost: dict[str, str]) -> Reasoning:
    if not abilities.thinking:
        return Reasoning()
    if abilities.without_thinking:
        return Reasoning(Thinking(type=abilities.without_thinking))
    lost["reasoning_effort"] = "This model always thinks before it answers."
    return Reasoning(effort="low")


def _in_tool_use(turns: Sequence[Turn]) -> bool:
    """True when the model has yet to answer to tool results.

    In manual mode it could then only go on thinking from its own signed thoughts, which OpenAI's dialect has no place
    for; the API would refuse the request, so the turn is finished without thoughts.
    """
    return any(isinstance(block, ToolResultBlock) for block in turns[-1].content)


def form_of(request: ChatRequest, lost: dict[str, str]) -> JsonFormat | None:
    """Structured outputs take a schema of closed objects; "some JSON object" is not one (see `JSON_PLEASE`)."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        lost["response_format"] = "The model's provider (Anthropic) needs a schema: use `json_schema`."
        return None
    path = "response_format.json_schema"
    if wanted.json_schema is None or not (schema := read_schema(wanted.json_schema.schema, f"{path}.schema")):
        raise InvalidRequest(f"`{path}.schema` is missing.", parameter=path)
    fitted, closed = fit_schema(schema)
    if not closed:
        lost["response_format"] = "The model's provider (Anthropic) takes objects of named properties only."
    return JsonFormat(schema=fitted)


def stops_of(request: ChatRequest, lost: dict[str, str]) -> list[str]:
    """The API refuses blank ones."""
    stops = [stop for stop in request.stops if stop]
    kept = [stop for stop in stops if not stop.isspace()]
    if len(kept) < len(stops):
        lost["stop"] = "The model's provider (Anthropic) takes no `stop` of white space alone."
    return kept
