"""Thought signatures: how Gemini recognises its own thinking when a conversation goes on.

A call that Gemini makes carries one, and Gemini 3 refuses a history whose calls lack it
(https://ai.google.dev/gemini-api/docs/thought-signatures). As at Google's own OpenAI-compatible endpoint, an
answer holds it in the tool call's `extra_content.google.thought_signature`, and a caller that sends its messages
back as it got them sends it back. For callers that drop unknown fields, and for calls that another model made,
Google's word for "there is none" stands in. Signatures of text are optional to Google, and are not kept.
"""

import msgspec

from podium.core.errors import InvalidRequest

__all__ = ["NO_SIGNATURE", "ExtraContent", "extra_content", "needs_signatures", "read_signatures"]

NO_SIGNATURE = "skip_thought_signature_validator"
_OLDER = ("gemini-1", "gemini-2", "gemma")  # these ask for no signatures


class Google(msgspec.Struct):
    """Google's corner of the extra content."""

    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    """What a tool call holds beyond OpenAI's fields."""

    google: Google | None = None


class _ToolCall(msgspec.Struct):
    extra_content: ExtraContent | None = None


class _Message(msgspec.Struct):
    tool_calls: list[_ToolCall] | None = None


class _Request(msgspec.Struct):
    messages: list[_Message]


_decode = msgspec.json.Decoder(_Request).decode


def extra_content(signature: str) -> ExtraContent:
    """What a tool call of an answer holds."""
    return ExtraContent(google=Google(thought_signature=signature))


def needs_signatures(model: str) -> bool:
    """True when calls in the history must be signed; a model whose name says nothing is taken for a new one."""
    return not model.rpartition("/")[2].startswith(_OLDER)


def read_signatures(body: bytes) -> dict[tuple[int, int], str]:
    """The signatures that a chat request brings back, by index of message and of tool call.

    `body` is a request that `read_chat` has read. InvalidRequest: one of them is no string.
    """
    if b"thought_signature" not in body:
        return {}
    try:
        messages = _decode(body).messages
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"{message}.", parameter=path.strip("`.") or None) from None
    return {
        (place, index): call.extra_content.google.thought_signature
        for place, message in enumerate(messages)
        for index, call in enumerate(message.tool_calls or ())
        if call.extra_content and call.extra_content.google and call.extra_content.google.thought_signature
    }
