"""How hard a model should think: OpenAI's `reasoning_effort` -> the words of the family behind AWS Bedrock."""

from dataclasses import dataclass, field

from podium.wire.bedrock.families import Family
from podium.wire.bedrock.shapes import NovaReasoning, Thinking
from podium.wire.bedrock.tools import forces_call
from podium.wire.chat.requests import ChatRequest

__all__ = ["Reasoning", "reasoning_of"]

_LEAST_BUDGET = 1024  # Anthropic's own limit
_BUDGETS = {"low": 1024, "medium": 4096, "high": 16_384}  # our choice; Anthropic has no words for budgets
_LEAST_TOP_P = 0.95  # with thinking; Anthropic's own limit
_EFFORT = "reasoning_effort"


@dataclass(slots=True)
class Reasoning:
    """What to send, and which fields are lost with it, each with a sentence."""

    thinking: Thinking | None = None  # Anthropic's
    effort: str | None = None  # Bedrock's, for those of Anthropic's models that decide for themselves
    plain_effort: str | None = None  # of OpenAI's open models
    nova: NovaReasoning | None = None
    losses: dict[str, str] = field(default_factory=dict)


def reasoning_of(request: ChatRequest, family: Family, *, continues: bool) -> Reasoning:
    """What a request's `reasoning_effort` becomes.

    `continues`: the last turn holds results of tools. "none" is what a model does that is told nothing.
    """
    wanted = request.reasoning_effort
    if wanted is None or wanted == "none":
        return Reasoning()
    effort = family.effort(wanted)
    if effort is None:
        return _lost(f"AWS Bedrock has nothing like `{_EFFORT}: {wanted}` for this model.")
    if family.reasoning == "effort":
        return Reasoning(plain_effort=effort)
    if family.reasoning == "nova":
        return _nova(request, effort)
    return _claude(request, family, effort, continues=continues)


def _lost(sentence: str) -> Reasoning:
    return Reasoning(losses={_EFFORT: sentence})


def _nova(request: ChatRequest, effort: str) -> Reasoning:
    """High effort is refused together with these fields, says Nova's guide."""
    limits = (request.output_token_limit, request.temperature, request.top_p, request.top_k)
    if effort == "high" and any(limit is not None for limit in limits):
        return _lost(f"Amazon Nova takes `{_EFFORT}: high` only without a token limit and sampling parameters.")
    return Reasoning(nova=NovaReasoning("enabled", effort))


def _claude(request: ChatRequest, family: Family, effort: str, *, continues: bool) -> Reasoning:
    if forces_call(request):
        return _lost(f"Claude cannot think (`{_EFFORT}`) where `tool_choice` demands a call.")
    losses = _sampling_losses(request)
    if family.reasoning == "adaptive":
        return Reasoning(thinking=Thinking("adaptive"), effort=effort, losses=losses)
    # A budget needs the signed thoughts of the turn that called the tools, and OpenAI's messages do not hold them.
    if continues:
        return _lost(f"This Claude cannot go on thinking (`{_EFFORT}`) after results of tools.")
    limit = request.output_token_limit
    budget = _BUDGETS[effort] if limit is None else min(_BUDGETS[effort], limit - 1)
    if budget < _LEAST_BUDGET:
        return _lost(f"Claude thinks (`{_EFFORT}`) with at least {_LEAST_BUDGET + 1} tokens of output only.")
    return Reasoning(thinking=Thinking("enabled", budget), losses=losses)


def _sampling_losses(request: ChatRequest) -> dict[str, str]:
    """Sampling parameters that Anthropic refuses together with thinking."""
    losses = {}
    if request.temperature not in (None, 1):
        losses["temperature"] = f"Claude takes no `temperature` while it thinks (`{_EFFORT}`)."
    if request.top_p is not None and request.top_p < _LEAST_TOP_P:
        losses["top_p"] = f"Claude takes no `top_p` below {_LEAST_TOP_P} while it thinks (`{_EFFORT}`)."
    if request.top_k is not None:
        losses["top_k"] = f"Claude takes no `top_k` while it thinks (`{_EFFORT}`)."
    return losses
