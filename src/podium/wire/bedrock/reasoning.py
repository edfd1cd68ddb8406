"""How hard a model should think, and how freely it chooses: in the words of the family behind AWS Bedrock.

Each function puts what cannot be said into `lost`, by field, with a sentence that says why.
"""

from dataclasses import dataclass

from podium.wire.anthropic.upstream_models import Abilities
from podium.wire.bedrock.families import Family
from podium.wire.bedrock.shapes import NovaReasoning, Thinking
from podium.wire.bedrock.tools import is_forced
from podium.wire.chat.requests import ChatRequest

__all__ = ["Reasoning", "Sampling", "reasoning_of", "sampling_of"]

_EFFORT = "reasoning_effort"
_LEAST_BUDGET = 1_024  # Anthropic's own limit
_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768}  # as at Anthropic itself
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


@dataclass(slots=True)
class Reasoning:
    """What to send; None: the model does as it does by itself."""

    thinking: Thinking | None = None  # Anthropic's
    effort: str | None = None  # Bedrock's, for Claudes that decide for themselves
    plain_effort: str | None = None  # of OpenAI's open models
    nova: NovaReasoning | None = None

    @property
    def budgeted(self) -> bool:
        """True in Claude's manual mode, which allows neither sampling parameters nor forced tools."""
        return self.thinking is not None and self.thinking.type == "enabled"


@dataclass(slots=True)
class Sampling:
    """None: the model's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


def reasoning_of(request: ChatRequest, family: Family, lost: dict[str, str], *, in_tool_use: bool) -> Reasoning:
    """What `reasoning_effort` becomes. `in_tool_use`: the model has yet to answer to results of tools."""
    wanted = request.reasoning_effort
    if wanted is None:
        return Reasoning()
    if wanted == "none":
        return _without_thinking(family, lost)
    if family.claude is not None:
        if family.claude.thinking == "adaptive":
            effort = "high" if wanted == "xhigh" and not family.claude.xhigh_effort else _EFFORTS[wanted]
            return Reasoning(Thinking("adaptive", display="summarized"), effort)  # newer ones show nothing unless asked
        return _budget(request, family.claude, wanted, lost, in_tool_use=in_tool_use)
    return _others(request, family, wanted, lost)


def _others(request: ChatRequest, family: Family, wanted: str, lost: dict[str, str]) -> Reasoning:
    if family.reasoning == "none" or wanted == "xhigh":
        lost[_EFFORT] = f"AWS Bedrock has nothing like `{_EFFORT}: {wanted}` for this model."
        return Reasoning()
    if family.reasoning == "effort":
        return Reasoning(plain_effort=_EFFORTS[wanted])
    return _nova(request, _EFFORTS[wanted], lost)


def _nova(request: ChatRequest, effort: str, lost: dict[str, str]) -> Reasoning:
    """High effort is refused together with these fields, says Nova's guide."""
    limits = (request.output_token_limit, request.temperature, request.top_p, request.top_k)
    if effort == "high" and any(limit is not None for limit in limits):
        lost[_EFFORT] = f"Amazon Nova takes `{_EFFORT}: high` only without a token limit and sampling parameters."
        return Reasoning()
    return Reasoning(nova=NovaReasoning("enabled", effort))


def _budget(
    request: ChatRequest, claude: Abilities, wanted: str, lost: dict[str, str], *, in_tool_use: bool
) -> Reasoning:
    limit = request.output_token_limit
    budget = _BUDGETS[wanted] if limit is None else min(_BUDGETS[wanted], limit - limit // 4)
    if not claude.thinking:
        lost[_EFFORT] = "This model does not think before it answers."
    elif is_forced(request):
        lost[_EFFORT] = "This model cannot think when it is made to call a tool."
    elif budget < _LEAST_BUDGET:
        lost[_EFFORT] = "`max_tokens` leaves this model no room to think."
    elif not in_tool_use:  # else it could only go on from its signed thoughts, which OpenAI's messages do not hold
        return Reasoning(Thinking("enabled", budget))
    return Reasoning()


def _without_thinking(family: Family, lost: dict[str, str]) -> Reasoning:
    if family.claude is None or not family.thinks_unasked:
        return Reasoning()
    if family.claude.without_thinking:
        return Reasoning(Thinking(family.claude.without_thinking))
    lost[_EFFORT] = "This model always thinks before it answers."
    return Reasoning(effort="low")


def sampling_of(request: ChatRequest, family: Family, reasoning: Reasoning, lost: dict[str, str]) -> Sampling:
    """Bedrock's temperature and top_p end at 1: above that they are lost, or cut to 1."""
    temperature, top_p = (_within(name, getattr(request, name), lost) for name in ("temperature", "top_p"))
    top_k = request.top_k if request.top_k is not None and request.top_k > 0 else None  # 0 and -1: vLLM's "all"
    if top_k is not None and family.maker == "other":
        lost["top_k"] = "AWS Bedrock has nothing like `top_k` for this model."
        top_k = None
    claude = family.claude
    if claude is None:
        return Sampling(temperature, top_p, top_k)
    temperature, top_p = (None if value == 1 else value for value in (temperature, top_p))  # the defaults
    if not claude.samples or reasoning.budgeted:
        why = "while it thinks" if claude.samples else "at all"
        given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        lost.update(
            {name: f"This model takes no `{name}` {why}." for name, value in given.items() if value is not None}
        )
        return Sampling()
    if temperature is not None and top_p is not None and not claude.samples_by_both:
        lost["top_p"] = "This model takes `temperature` or `top_p`, not both."
        top_p = None
    return Sampling(temperature, top_p, top_k)


def _within(name: str, value: float | None, lost: dict[str, str]) -> float | None:
    if value is None or 0 <= value <= 1:
        return value
    lost[name] = f"AWS Bedrock takes a `{name}` from 0 to 1."
    return min(max(value, 0.0), 1.0)
