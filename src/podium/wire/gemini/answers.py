"""A whole answer of Gemini as one of OpenAI's."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from podium.core.errors import UpstreamError
from podium.wire.chat.writer import usage_object
from podium.wire.gemini.choices import CallIds, Choice, Message, said_logprobs
from podium.wire.gemini.endings import ending
from podium.wire.gemini.response import Candidate, Part, Response, read_response, usage_of

__all__ = ["Answering", "translate_answer"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answering:
    """What an answer needs to know of its request."""

    model: str  # the name in the request, for answers that name none
    created_unix_s: int
    fallback_id: str
    candidates: int  # how many were asked for


class _Completion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | UnsetType = UNSET


def translate_answer(body: bytes, *, answering: Answering) -> bytes:
    """OpenAI's completion. ValueError: the body is no answer, or the model broke it off."""
    response = read_response(body)
    ids = CallIds(answering.fallback_id)
    try:
        choices = [_choice(candidate, ids) for candidate in response.candidates or ()]
    except UpstreamError as error:
        raise ValueError(error.message) from error
    if not choices:
        choices = [_refused(response)]
    usage = usage_of(response.usage_metadata)
    return _encode(
        _Completion(
            response.response_id or answering.fallback_id,
            "chat.completion",
            answering.created_unix_s,
            response.model_version or answering.model,
            choices,
            usage_object(usage) if usage is not None else UNSET,
        )
    )


def _choice(candidate: Candidate, ids: CallIds) -> Choice:
    parts: list[Part] = (candidate.content.parts if candidate.content else None) or []
    calls = [ids.said(part.function_call, part.thought_signature) for part in parts if part.function_call]
    text = "".join(part.text for part in parts if part.text and not part.thought)
    thoughts = "".join(part.text for part in parts if part.text and part.thought)
    if candidate.finish_reason is None:
        raise ValueError("a whole answer without its end")
    message = Message(
        "assistant",
        text if text or not calls else None,
        reasoning_content=thoughts or UNSET,
        tool_calls=calls or UNSET,
    )
    logprobs = said_logprobs(candidate.logprobs_result) if candidate.logprobs_result else None
    return Choice(candidate.index, message, logprobs, ending(candidate.finish_reason, has_calls=bool(calls)))


def _refused(response: Response) -> Choice:
    """The choice that stands for a prompt that got no answer."""
    if not response.blocked:
        raise ValueError("an answer that says nothing")
    return Choice(0, Message("assistant", None), None, "content_filter")
