"""Which model answers instead, by the reason why the first one could not.

Rules
1. An operator states rules by model: "instead of this one, that one, when ...". The model that failed last is asked
   first, then those that were tried before it, the latest first. So a chain is one model's list, and a graph works.
2. No model is tried twice in one exchange, so that no ring of rules can turn; and no more than `max_depth` others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from podium.core.reasons import Reason

__all__ = [
    "DEFAULT_MAX_DEPTH",
    "FallbackCause",
    "FallbackReason",
    "FallbackRule",
    "FallbackStep",
    "cause_of",
    "next_model",
]

DEFAULT_MAX_DEPTH = 5  # as LiteLLM's ROUTER_MAX_FALLBACKS
_MAX_READ = 2_000  # characters of an upstream's message


class FallbackCause(StrEnum):
    """What another model may do better."""

    DOWN = "down"
    RATE_LIMITED = "rate_limited"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_REFUSED = "content_refused"
    TIMEOUT = "timeout"


class FallbackReason(StrEnum):
    """Why there is a next model, or none."""

    RULE = "rule"
    NO_RULE = "no_rule"
    ALL_TRIED = "all_tried"
    DEPTH_REACHED = "depth_reached"


@dataclass(frozen=True, slots=True)
class FallbackRule:
    """Try this model after one of these causes."""

    model: str
    on: frozenset[FallbackCause] = frozenset(FallbackCause)


@dataclass(frozen=True, slots=True)
class FallbackStep:
    """What to do next; `model` None: give up with the error that there is."""

    model: str | None
    why: FallbackReason


def next_model(
    rules: Mapping[str, Sequence[FallbackRule]],
    cause: FallbackCause,
    visited: Sequence[str],
    *,
    max_depth: int = DEFAULT_MAX_DEPTH,
) -> FallbackStep:
    """The model to try next.

    `rules`: by the model that they replace. `visited`: the models tried so far in order, the first is the one that
    was asked for and the last the one that failed with `cause`; not empty.
    """
    fitting = [rule.model for model in reversed(visited) for rule in rules.get(model, ()) if cause in rule.on]
    if not fitting:
        return FallbackStep(None, FallbackReason.NO_RULE)
    if len(visited) > max_depth:
        return FallbackStep(None, FallbackReason.DEPTH_REACHED)
    for model in fitting:
        if model not in visited:
            return FallbackStep(model, FallbackReason.RULE)
    return FallbackStep(None, FallbackReason.ALL_TRIED)


# By reason, or by reason and upstream status where the reason covers several. What is missing is nobody's but the
# caller's to mend, or ours: another model would do no better.
_CAUSES: dict[Reason | tuple[Reason, int], FallbackCause] = {
    Reason.NO_BACKEND: FallbackCause.DOWN,
    Reason.UPSTREAM_UNREACHABLE: FallbackCause.DOWN,
    Reason.UPSTREAM_BUSY: FallbackCause.RATE_LIMITED,  # our own bound on it
    Reason.OVERLOADED: FallbackCause.RATE_LIMITED,  # our queue before it
    Reason.CANNOT_START_IN_TIME: FallbackCause.RATE_LIMITED,
    Reason.UPSTREAM_BROKEN: FallbackCause.DOWN,
    Reason.UPSTREAM_INVALID: FallbackCause.DOWN,
    Reason.UPSTREAM_ERROR: FallbackCause.DOWN,
    Reason.UPSTREAM_TIMEOUT: FallbackCause.TIMEOUT,
    Reason.UPSTREAM_RATE_LIMITED: FallbackCause.RATE_LIMITED,
    (Reason.UPSTREAM_ERROR, 429): FallbackCause.RATE_LIMITED,
    (Reason.UPSTREAM_ERROR, 504): FallbackCause.TIMEOUT,
    (Reason.UPSTREAM_REJECTED, 402): FallbackCause.RATE_LIMITED,  # the account's money is used up
    (Reason.UPSTREAM_REJECTED, 404): FallbackCause.DOWN,  # our path and our model name: it is not there (any more)
    (Reason.UPSTREAM_REJECTED, 408): FallbackCause.TIMEOUT,  # Bedrock's ModelTimeoutException
    (Reason.UPSTREAM_REJECTED, 413): FallbackCause.CONTEXT_TOO_LONG,
    (Reason.UPSTREAM_REJECTED, 424): FallbackCause.DOWN,  # Bedrock's ModelErrorException
}

# `error.code` or `error.type` of those that have a word of their own for it, in lower case.
_CODES: dict[str, FallbackCause] = {
    "context_length_exceeded": FallbackCause.CONTEXT_TOO_LONG,  # OpenAI, Azure, Groq, Mistral
    "exceed_context_size_error": FallbackCause.CONTEXT_TOO_LONG,  # llama.cpp
    "request_too_large": FallbackCause.CONTEXT_TOO_LONG,  # Anthropic
    "tokens_limit_reached": FallbackCause.CONTEXT_TOO_LONG,  # GitHub Models
    "content_filter": FallbackCause.CONTENT_REFUSED,  # Azure
    "responsibleaipolicyviolation": FallbackCause.CONTENT_REFUSED,  # Azure
    "content_policy_violation": FallbackCause.CONTENT_REFUSED,  # OpenAI
    "invalid_prompt": FallbackCause.CONTENT_REFUSED,  # OpenAI's reasoning models
    "data_inspection_failed": FallbackCause.CONTENT_REFUSED,  # Alibaba
    "rate_limit_exceeded": FallbackCause.RATE_LIMITED,  # Groq sends it with 413 too
    "insufficient_quota": FallbackCause.RATE_LIMITED,  # OpenAI
    "model_not_found": FallbackCause.DOWN,  # OpenAI
    "deploymentnotfound": FallbackCause.DOWN,  # Azure
}

# Parts of the sentences of those that have none.
_WORDINGS: tuple[tuple[str, FallbackCause], ...] = (
    ("maximum context length", FallbackCause.CONTEXT_TOO_LONG),  # OpenAI, vLLM, Mistral, DeepSeek
    ("longer than the maximum model length", FallbackCause.CONTEXT_TOO_LONG),  # vLLM
    ("model's context length is only", FallbackCause.CONTEXT_TOO_LONG),  # vLLM
    ("too long to fit into the model", FallbackCause.CONTEXT_TOO_LONG),  # vLLM
    ("longer than the model's context length", FallbackCause.CONTEXT_TOO_LONG),  # SGLang, Together
    ("tokens + `max_new_tokens` must be", FallbackCause.CONTEXT_TOO_LONG),  # TGI
    ("exceeds the available context size", FallbackCause.CONTEXT_TOO_LONG),  # llama.cpp
    ("prompt is too long", FallbackCause.CONTEXT_TOO_LONG),  # Anthropic
    ("exceed context limit", FallbackCause.CONTEXT_TOO_LONG),  # Anthropic
    ("exceeds the maximum number of tokens", FallbackCause.CONTEXT_TOO_LONG),  # Gemini
    ("input is too long for requested model", FallbackCause.CONTEXT_TOO_LONG),  # Bedrock
    ("too many input tokens", FallbackCause.CONTEXT_TOO_LONG),  # Bedrock
    ("maximum prompt length", FallbackCause.CONTEXT_TOO_LONG),  # xAI
    ("exceeds the context window", FallbackCause.CONTEXT_TOO_LONG),  # OpenAI
    ("reduce the length of the messages", FallbackCause.CONTEXT_TOO_LONG),  # Groq
    ("content management policy", FallbackCause.CONTENT_REFUSED),  # Azure
    ("result of our safety system", FallbackCause.CONTENT_REFUSED),  # OpenAI
    ("violating our usage policy", FallbackCause.CONTENT_REFUSED),  # OpenAI
    ("blocked by content filtering policy", FallbackCause.CONTENT_REFUSED),  # Anthropic
    ("content violates usage guidelines", FallbackCause.CONTENT_REFUSED),  # xAI
    ("content exists risk", FallbackCause.CONTENT_REFUSED),  # DeepSeek
    ("may contain inappropriate content", FallbackCause.CONTENT_REFUSED),  # Alibaba
)

# Where the upstream's own words say more than the reason.
_HAS_WORDS = (Reason.UPSTREAM_REJECTED, Reason.UPSTREAM_ERROR)


def cause_of(reason: Reason, status: int | None = None, *, code: str = "", message: str = "") -> FallbackCause | None:
    """What stands in the way and another model may not mind; None: no other model would help.

    `status`, `code` and `message`: the upstream's, as far as there were any; `code` is its `error.code` or
    `error.type`.
    """
    if reason in _HAS_WORDS:
        cause = _CODES.get(code.lower()) or _cause_in(message[:_MAX_READ].lower())
        if cause is not None:
            return cause
    return _CAUSES.get((reason, status or 0)) or _CAUSES.get(reason)


def _cause_in(message: str) -> FallbackCause | None:
    return next((cause for wording, cause in _WORDINGS if wording in message), None)
