"""A chat request -> a request to AWS Bedrock's Converse API.

Reference: the service's own description (bedrock-runtime, 2023-09-30), which botocore ships.
"""

from functools import partial
from typing import TypeVar
from urllib.parse import quote

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.bedrock.answers import translate_answer
from podium.wire.bedrock.conversation import Conversation
from podium.wire.bedrock.families import Family, family_of
from podium.wire.bedrock.reasoning import Reasoning, reasoning_of
from podium.wire.bedrock.shapes import (
    AdditionalFields,
    ConverseRequest,
    InferenceConfig,
    JsonSchemaDefinition,
    NovaSampling,
    OutputConfig,
    OutputStructure,
    TextFormat,
)
from podium.wire.bedrock.streams import BedrockStream
from podium.wire.bedrock.tools import has_tools, serial_choice, tool_config
from podium.wire.chat.requests import ChatRequest, leave_out, read_chat
from podium.wire.chat.writer import CompletionHead
from podium.wire.translation import Translated, Unsupported

__all__ = ["path_of", "translate_request"]

_EXPRESSED = frozenset(
    ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "response_format")
) | frozenset(("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"))

_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


def path_of(model: str, *, stream: bool) -> bytes:
    """The URL's path for a model id or an ARN, encoded as Amazon's own clients do it."""
    return b"/model/%b/%b" % (quote(model, safe="-._~").encode(), b"converse-stream" if stream else b"converse")


def translate_request(
    body: bytes, *, unsupported: Unsupported, model: str, created_unix_s: int, fallback_id: str
) -> Translated:
    """The request in Bedrock's form, and how to read what comes back. `model` is Bedrock's id, which tells the family.

    InvalidRequest: the body is no chat request, or says what Bedrock cannot be told.
    """
    request, present = read_chat(body)
    family = family_of(model)
    conversation = Conversation(tools=has_tools(request), caches=family.caches)
    for message in request.messages:
        conversation.add(message)
    conversation.check()
    reasoning = reasoning_of(request, family, continues=conversation.answers_tools)
    losses = _losses(request, family, reasoning)
    _refuse(losses, unsupported)
    lost = frozenset(losses)
    dropped = leave_out(present, _EXPRESSED - lost, unsupported, protocol="AWS Bedrock")
    translated = _request(request, conversation, reasoning, lost, family)
    return Translated(
        body=_encode(translated),
        dropped=dropped,
        answer=partial(translate_answer, model=model, created_unix_s=created_unix_s, fallback_id=fallback_id),
        stream=partial(BedrockStream, CompletionHead(fallback_id, model, created_unix_s)),
    )


def _losses(request: ChatRequest, family: Family, reasoning: Reasoning) -> dict[str, str]:
    """Fields that the API has but not with this value or for this model, each with a sentence."""
    lost = dict(reasoning.losses)
    if request.temperature is not None and not 0 <= request.temperature <= 1:
        lost["temperature"] = "AWS Bedrock takes a `temperature` from 0 to 1."
    if request.top_p is not None and not 0 <= request.top_p <= 1:
        lost["top_p"] = "AWS Bedrock takes a `top_p` from 0 to 1."
    if request.top_k is not None and family.maker == "other":
        lost["top_k"] = "This model's provider (AWS Bedrock) has nothing like `top_k` for it."
    if request.parallel_tool_calls is False and has_tools(request) and not family.serial_calls:
        lost["parallel_tool_calls"] = "AWS Bedrock cannot ask this model for one tool call at a time."
    form = request.response_format
    if form is not None and form.type == "json_object":
        lost["response_format"] = "AWS Bedrock has nothing like `json_object`: give a `json_schema`."
    return lost


def _refuse(losses: dict[str, str], unsupported: Unsupported) -> None:
    if losses and unsupported == "reject":
        name = min(losses)
        raise InvalidRequest(
            losses[name],
            reason=Reason.UNSUPPORTED_PARAMETER,
            parameter=name,
            hint="The provider's `unsupported: drop` leaves such fields out.",
        )


def _request(
    request: ChatRequest, conversation: Conversation, reasoning: Reasoning, lost: frozenset[str], family: Family
) -> ConverseRequest:
    tools, serial = tool_config(request), serial_choice(request, family)
    if tools is not None and serial is not None:
        tools.tool_choice = None
    top_k = request.top_k if "top_k" not in lost else None
    nova = family.maker == "nova" and top_k is not None
    additional = AdditionalFields(
        thinking=reasoning.thinking,
        top_k=None if nova else top_k,
        tool_choice=serial,
        reasoning_effort=reasoning.plain_effort,
        nova_reasoning=reasoning.nova,
        nova_sampling=NovaSampling(top_k) if nova and top_k is not None else None,
    )
    return ConverseRequest(
        messages=conversation.turns,
        system=conversation.system or None,
        inference_config=_present(_inference(request, lost), InferenceConfig()),
        tool_config=tools,
        output_config=_present(OutputConfig(_text_format(request), reasoning.effort), OutputConfig()),
        additional_model_request_fields=_present(additional, AdditionalFields()),
    )


def _inference(request: ChatRequest, lost: frozenset[str]) -> InferenceConfig:
    limit = request.output_token_limit
    if limit is not None and limit < 1:
        name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        raise InvalidRequest(f"`{name}` must be at least 1.", parameter=name)
    return InferenceConfig(
        max_tokens=limit,
        temperature=request.temperature if "temperature" not in lost else None,
        top_p=request.top_p if "top_p" not in lost else None,
        stop_sequences=[stop for stop in request.stops if stop] or None,
    )


def _text_format(request: ChatRequest) -> TextFormat | None:
    form = request.response_format
    if form is None or form.type != "json_schema":
        return None
    schema = form.json_schema
    if schema is None or bytes(schema.schema) in (b"", b"null"):
        raise InvalidRequest("`response_format.json_schema.schema` is missing.", parameter="response_format")
    text = str(bytes(schema.schema), "utf-8")
    return TextFormat("json_schema", OutputStructure(JsonSchemaDefinition(text, schema.name, schema.description)))


def _present(value: _T, empty: _T) -> _T | None:
    return None if value == empty else value
