"""A chat request of OpenAI's API as one of Google's Gemini API.

It goes to `models/{model}:generateContent` or, streamed, to `:streamGenerateContent?alt=sse`; Vertex AI takes the same.
"""

from functools import partial

import msgspec

from podium.wire.chat.requests import leave_out, read_chat
from podium.wire.gemini.answers import Answering, translate_answer
from podium.wire.gemini.body import Body
from podium.wire.gemini.contents import read_conversation
from podium.wire.gemini.settings import generation_config, tool_config, tool_declarations
from podium.wire.gemini.signatures import needs_signatures, read_signatures
from podium.wire.gemini.streams import GeminiStream
from podium.wire.translation import Translated, Unsupported

__all__ = ["translate_request"]

_encode = msgspec.json.Encoder().encode
_EXPRESSED = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "n",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "reasoning_effort",
    )
)


def translate_request(body: bytes, *, unsupported: Unsupported, created_unix_s: int, fallback_id: str) -> Translated:
    """The request for Gemini, and how to read what comes back.

    The model's name, which the URL holds, also tells how it thinks. `fallback_id` names an answer that has no id,
    and is what the ids of its tool calls are made from. InvalidRequest: Gemini cannot be asked this.
    """
    request, present = read_chat(body)
    dropped = leave_out(present, _EXPRESSED, unsupported, protocol="gemini")
    conversation = read_conversation(request.messages, read_signatures(body), sign_all=needs_signatures(request.model))
    translated = Body(
        contents=conversation.contents,
        system_instruction=conversation.instruction,
        tools=tool_declarations(request.tools),
        tool_config=tool_config(request),
        generation_config=generation_config(request),
    )
    answering = Answering(
        model=request.model,
        created_unix_s=created_unix_s,
        fallback_id=fallback_id,
        candidates=max(request.n or 1, 1),
    )
    return Translated(
        body=_encode(translated),
        dropped=dropped,
        answer=partial(translate_answer, answering=answering),
        stream=partial(GeminiStream, answering),
    )
