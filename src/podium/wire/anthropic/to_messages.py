"""An OpenAI chat request as a request to Anthropic's Messages API.

How what differs is said:

- system and developer messages: `system`, also those in the middle of a conversation;
- `reasoning_effort`: adaptive thinking and an effort for models since Claude 4.6, a token budget for older ones;
- `response_format` with a schema: structured outputs (`output_config.format`), bounds moved into descriptions;
  `json_object`: cannot be promised; with `unsupported: drop` the model is asked for it in words;
- `strict` tools: strict where the model can; `parallel_tool_calls: false`: `disable_parallel_tool_use`;
- `user`, `safety_identifier`: `metadata.user_id`, unless it looks like a mail address or a telephone number.

Whatever cannot be said is refused or left out by policy.
"""

import functools
import re

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.from_messages import MessagesStream, translate_answer
from podium.wire.anthropic.upstream_content import converse
from podium.wire.anthropic.upstream_models import abilities_of
from podium.wire.anthropic.upstream_settings import (
    JSON_PLEASE,
    Reasoning,
    form_of,
    reasoning_of,
    sampling_of,
    stops_of,
)
from podium.wire.anthropic.upstream_shapes import JsonFormat, MessagesRequest, Metadata, OutputConfig, TextBlock
from podium.wire.anthropic.upstream_tools import tools_of
from podium.wire.chat.requests import ChatRequest, leave_out, read_chat
from podium.wire.chat.writer import CompletionHead
from podium.wire.translation import Translated, Unsupported

__all__ = ["API_VERSION", "translate_request"]

# The `anthropic-version` that bodies are written for. The next one, 2026-10-21, refuses all sampling parameters; else
# they hold under both.
API_VERSION = "2023-06-01"

_PROTOCOL = "Anthropic"
_EXPRESSED = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
    )
)
_MOST_OF_A_USER_ID = 256
# The API refuses ids that tell who somebody is: what looks like a mail address or a telephone number.
_TELLING = re.compile(r"[^@\s]+@[^@\s]+|\+?[\d\s()-]{7,}")
_encode = msgspec.json.Encoder().encode


def translate_request(
    body: bytes, *, unsupported: Unsupported, default_max_tokens: int, created_unix_s: int, fallback_id: str
) -> Translated:
    """The request in Anthropic's form; `fallback_id` names an answer that has no id of its own.

    `default_max_tokens` is the limit of who set none: the API needs one, and thinking counts towards it.
    InvalidRequest: the request is wrong, or says what cannot be said and `unsupported` is "reject".
    """
    request, present = read_chat(body)
    dropped = set(leave_out(present, _EXPRESSED, unsupported, protocol=_PROTOCOL))
    try:
        translated, lost = _translate(request, default_max_tokens)
        translated_body = _encode(translated)
    except RecursionError:  # in a schema
        raise InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON) from None
    if lost and unsupported == "reject":
        name, sentence = next(iter(lost.items()))
        raise InvalidRequest(
            sentence,
            reason=Reason.UNSUPPORTED_PARAMETER,
            parameter=name,
            hint="The provider's `unsupported: drop` does without.",
        )
    if request.reasoning_effort not in {None, "none"} and not translated.thinking:
        dropped.add("reasoning_effort")  # in the middle of tool use, see `reasoning_of`
    head = CompletionHead(id=fallback_id, model=request.model, created_unix_s=created_unix_s)
    return Translated(
        body=translated_body,
        dropped=tuple(sorted(dropped | lost.keys())),
        answer=functools.partial(translate_answer, head=head),
        stream=functools.partial(MessagesStream, head),
    )


def _translate(request: ChatRequest, default_max_tokens: int) -> tuple[MessagesRequest, dict[str, str]]:
    """The request, and what it does not say, by field, each with the reason."""
    lost: dict[str, str] = {}
    abilities = abilities_of(request.model)
    max_tokens = _max_tokens(request, default_max_tokens)
    system, turns = converse(request.messages)
    tools, tool_choice = tools_of(request, turns, abilities, lost)
    reasoning = reasoning_of(request, turns, abilities, max_tokens, lost)
    sampling = sampling_of(request, abilities, reasoning, lost)
    form = form_of(request, lost)
    if request.response_format is not None and request.response_format.type == "json_object":
        system.append(TextBlock(text=JSON_PLEASE))
    return MessagesRequest(
        model=request.model,
        max_tokens=max_tokens,
        messages=turns,
        system=system,
        stream=request.stream is True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop_sequences=stops_of(request, lost),
        tools=tools,
        tool_choice=tool_choice,
        thinking=reasoning.thinking,
        output_config=_output_config(reasoning, form),
        metadata=_metadata(request),
    ), lost


def _max_tokens(request: ChatRequest, default: int) -> int:
    limit = request.output_token_limit
    if limit is not None and limit < 1:
        name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        raise InvalidRequest(f"`{name}` must be at least 1.", parameter=name)
    return default if limit is None else limit


def _output_config(reasoning: Reasoning, form: JsonFormat | None) -> OutputConfig | None:
    return OutputConfig(effort=reasoning.effort, format=form) if reasoning.effort or form else None


def _metadata(request: ChatRequest) -> Metadata | None:
    user = request.safety_identifier or request.user
    if not user or len(user) > _MOST_OF_A_USER_ID or _TELLING.fullmatch(user):
        return None
    return Metadata(user_id=user)
