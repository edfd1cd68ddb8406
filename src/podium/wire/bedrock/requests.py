"""A chat request -> a request to AWS Bedrock's Converse API.

Reference: the service's own description (bedrock-runtime, 2023-09-30), which botocore ships.
"""

from functools import partial
from typing import TypeVar
from urllib.parse import quote

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.upstream_schema import fit_schema
from podium.wire.anthropic.upstream_tools import read_schema
from podium.wire.bedrock.answers import translate_answer
from podium.wire.bedrock.conversation import Conversation
from podium.wire.bedrock.families import Family, family_of
from podium.wire.bedrock.reasoning import Sampling, reasoning_of, sampling_of
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
from podium.wire.bedrock.tools import has_tools, tools_of
from podium.wire.chat.requests import ChatRequest, leave_out, read_chat
from podium.wire.chat.writer import CompletionHead
from podium.wire.translation import Translated, Unsupported

__all__ = ["path_of", "translate_request"]

_EXPRESSED = frozenset(
    ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "response_format")
) | frozenset(("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"))
_FORM = "response_format"

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
    dropped = leave_out(present, _EXPRESSED, unsupported, protocol="AWS Bedrock")
    lost: dict[str, str] = {}
    translated = _translate(request, family_of(model), lost)
    if lost and unsupported == "reject":
        raise _refusal(*next(iter(lost.items())))
    return Translated(
        body=_encode(translated),
        dropped=tuple(sorted({*dropped, *lost})),
        answer=partial(translate_answer, model=model, created_unix_s=created_unix_s, fallback_id=fallback_id),
        stream=partial(BedrockStream, CompletionHead(fallback_id, model, created_unix_s)),
    )


def _refusal(name: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(
        sentence,
        reason=Reason.UNSUPPORTED_PARAMETER,
        parameter=name,
        hint="The provider's `unsupported: drop` leaves such fields out.",
    )


def _translate(request: ChatRequest, family: Family, lost: dict[str, str]) -> ConverseRequest:
    conversation = Conversation(tools=has_tools(request), caches=family.caches)
    for message in request.messages:
        conversation.add(message)
    conversation.check()
    tools, serial_choice = tools_of(request, family, lost)
    reasoning = reasoning_of(request, family, lost, in_tool_use=conversation.answers_tools)
    sampling = sampling_of(request, family, reasoning, lost)
    nova = family.maker == "nova" and sampling.top_k is not None
    additional = AdditionalFields(
        thinking=reasoning.thinking,
        top_k=None if nova else sampling.top_k,
        tool_choice=serial_choice,
        reasoning_effort=reasoning.plain_effort,
        nova_reasoning=reasoning.nova,
        nova_sampling=NovaSampling(sampling.top_k) if nova and sampling.top_k is not None else None,
    )
    return ConverseRequest(
        messages=conversation.turns,
        system=conversation.system or None,
        inference_config=_present(_inference(request, sampling), InferenceConfig()),
        tool_config=tools,
        output_config=_present(OutputConfig(_text_format(request, family, lost), reasoning.effort), OutputConfig()),
        additional_model_request_fields=_present(additional, AdditionalFields()),
    )


def _inference(request: ChatRequest, sampling: Sampling) -> InferenceConfig:
    limit = request.output_token_limit
    if limit is not None and limit < 1:
        name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        raise InvalidRequest(f"`{name}` must be at least 1.", parameter=name)
    return InferenceConfig(
        max_tokens=limit,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop_sequences=[stop for stop in request.stops if stop] or None,
    )


def _text_format(request: ChatRequest, family: Family, lost: dict[str, str]) -> TextFormat | None:
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        lost[_FORM] = "AWS Bedrock has nothing like `json_object`: give a `json_schema`."
        return None
    path = f"{_FORM}.json_schema"
    if form.json_schema is None or not (schema := read_schema(form.json_schema.schema, f"{path}.schema")):
        raise InvalidRequest(f"`{path}.schema` is missing.", parameter=_FORM)
    if not family.structured:
        lost[_FORM] = "AWS Bedrock cannot hold this model to a JSON schema."
        return None
    fitted, closed = fit_schema(schema)
    if not closed:
        lost[_FORM] = "AWS Bedrock takes JSON schemas with objects of named properties only."
    definition = JsonSchemaDefinition(_encode(fitted).decode(), form.json_schema.name, form.json_schema.description)
    return TextFormat("json_schema", OutputStructure(definition))


def _present(value: _T, empty: _T) -> _T | None:
    return None if value == empty else value
