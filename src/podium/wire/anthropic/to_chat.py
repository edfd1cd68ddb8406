"""A request to Anthropic's Messages API -> a chat request of OpenAI's API, for servers that speak only the latter.

What a chat has nothing like is refused or left out (`Unsupported`). Left out without a word are marks that
change nothing in what the model says: cache marks, service tiers, thoughts of earlier answers.
A last message of the assistant (a prefill) stays the last message: llama.cpp goes on from it, OpenAI's own
models answer it instead.
Reference: Anthropic's API description (`MessageCreateParams`) and OpenAI's (`CreateChatCompletionRequest`).
"""

from functools import partial
from typing import Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.face_blocks import Content
from podium.wire.anthropic.face_errors import mistyped
from podium.wire.anthropic.face_losses import Losses
from podium.wire.anthropic.face_options import (
    AnswerFormat,
    OutputConfig,
    SaidTool,
    ThinkingConfig,
    ToolChoice,
    chat_user,
    reasoning_effort,
    response_format,
    tool_fields,
)
from podium.wire.anthropic.face_parts import Json, Parts
from podium.wire.anthropic.face_turns import SaidMessage, chat_messages
from podium.wire.anthropic.from_chat import Expected, MessageStream, translate_answer
from podium.wire.openai import encode_json
from podium.wire.translation import Translated, Unsupported

__all__ = ["LimitField", "translate_request"]

# OpenAI's reasoning models refuse `max_tokens`, and many other servers do not know `max_completion_tokens` (llama.cpp
# before February 2026 then writes without end).
LimitField = Literal["max_tokens", "max_completion_tokens"]


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Request(msgspec.Struct):
    model: str
    max_tokens: int
    messages: list[SaidMessage]
    system: Content | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: _Metadata | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: AnswerFormat | None = None  # the name that `output_config.format` had in the beta
    tools: list[SaidTool] | None = None
    tool_choice: ToolChoice | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_TRANSLATED = frozenset(_Request.__struct_fields__)
_HARMLESS = frozenset(("service_tier", "cache_control", "anthropic_version", "anthropic_beta", "betas"))

# Fields of a chat that Messages does not have: a version's parameters, or a caller who knows what is behind Podium.
_OF_CHATS = frozenset(
    (
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "min_p",
        "reasoning_effort",
        "verbosity",
        "chat_template_kwargs",
    )
)
_TOP_K = frozenset(("top_k",))
# Values that say the same as leaving the field out.
_NEUTRAL = {"speed": frozenset((b'"standard"',)), "mcp_servers": frozenset((b"[]",))}


def translate_request(
    body: bytes,
    *,
    unsupported: Unsupported,
    fallback_id: str,
    limit_field: LimitField = "max_tokens",
    cache_marks: bool = False,
    top_k: bool = False,
) -> Translated:
    """The request as a chat, and how to read the answer.

    `fallback_id` is the answer's id where the server gives none. `limit_field` is the name under which the server
    wants `max_tokens`. `cache_marks` keeps `cache_control` on text, images and files, for a chat that is
    translated further (to Bedrock, say); OpenAI's own API refuses it. `top_k`: the server knows that field, which
    is not OpenAI's.
    InvalidRequest: a field is wrong, or cannot be said and `unsupported` is "reject".
    """
    losses = Losses(unsupported)
    known = _OF_CHATS | _TOP_K if top_k else _OF_CHATS
    try:
        request, fields = _decode(body), _decode_fields(body)
        parts = Parts(losses, cache_marks=cache_marks)
        chat = _chat(request, fields, parts, losses, limit_field=limit_field, known=known)
        encoded = encode_json(chat)
    except msgspec.ValidationError as error:
        raise mistyped(error) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidRequest("The body is not JSON, or nested too deeply.", reason=Reason.INVALID_JSON) from None
    shown = request.thinking is not None and request.thinking.is_shown
    expected = Expected(model=request.model, fallback_id=fallback_id, shows_thinking=shown)
    return Translated(
        body=encoded,
        dropped=losses.names,
        answer=partial(translate_answer, expected=expected),
        stream=partial(MessageStream, expected),
    )


def _chat(
    request: _Request,
    fields: dict[str, msgspec.Raw],
    parts: Parts,
    losses: Losses,
    *,
    limit_field: LimitField,
    known: frozenset[str],
) -> Json:
    chat: Json = {
        "model": request.model,
        "messages": chat_messages(request.messages, request.system, parts),
        limit_field: request.max_tokens,
        **_sampling(request),
        **tool_fields(request.tools or [], request.tool_choice, losses),
        **_output(request),
    }
    if request.metadata is not None and request.metadata.user_id:
        chat["user"] = chat_user(request.metadata.user_id)
    if request.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    for name, raw in fields.items():
        if name in known:
            chat.setdefault(name, raw)
        elif name not in _TRANSLATED and name not in _HARMLESS and _says_something(name, bytes(raw)):
            losses.add(name)
    return chat


def _sampling(request: _Request) -> Json:
    given = {"temperature": request.temperature, "top_p": request.top_p, "stop": request.stop_sequences or None}
    return {name: value for name, value in given.items() if value is not None}


def _output(request: _Request) -> Json:
    config = request.output_config or OutputConfig()
    output: Json = {}
    if (effort := reasoning_effort(request.thinking, config.effort)) is not None:
        output["reasoning_effort"] = effort
    if (wanted := config.format or request.output_format) is not None:
        output["response_format"] = response_format(wanted)
    return output


class _Edit(msgspec.Struct):
    type: str


class _ContextManagement(msgspec.Struct):
    edits: list[_Edit] = []


_decode_context_management = msgspec.json.Decoder(_ContextManagement).decode


def _says_something(name: str, raw: bytes) -> bool:
    if raw == b"null" or raw in _NEUTRAL.get(name, ()):
        return False
    if name == "context_management":  # Claude Code always sends one; to clear thoughts is what happens here anyway
        return any(not edit.type.startswith("clear_thinking") for edit in _decode_context_management(raw).edits)
    return True
