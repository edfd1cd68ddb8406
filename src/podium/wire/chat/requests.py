"""A chat request of OpenAI's API, whole: what a translation into another protocol reads.

Reference: OpenAI's API description, `CreateChatCompletionRequest`.
"""

from typing import Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.translation import Unsupported

__all__ = [
    "AudioPart",
    "ChatRequest",
    "FilePart",
    "Function",
    "FunctionCall",
    "ImagePart",
    "JsonSchema",
    "Message",
    "Part",
    "RefusalPart",
    "ResponseFormat",
    "TextPart",
    "Tool",
    "ToolCall",
    "leave_out",
    "read_chat",
    "text_of",
]


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """Text. `cache_control` is Anthropic's mark, which OpenAI's clients send as an extra field."""

    text: str
    cache_control: dict[str, str] | None = None


class ImageUrl(msgspec.Struct):
    """`url` is https or a data URL."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl
    cache_control: dict[str, str] | None = None


class InputAudio(msgspec.Struct):
    """`data` is base64; `format` wav or mp3."""

    data: str
    format: str


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: InputAudio


class File(msgspec.Struct):
    """`file_data` is a data URL."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, tag_field="type", tag="file"):
    """A document."""

    file: File
    cache_control: dict[str, str] | None = None


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    """What an earlier answer refused with."""

    refusal: str


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart


class FunctionCall(msgspec.Struct):
    """`arguments` is JSON as the model wrote it; it may be invalid."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    """A call that an earlier answer made."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(msgspec.Struct):
    """One message of any role."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class Function(msgspec.Struct):
    """`parameters` is a JSON schema; b"" when none was given."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A function that the model may call."""

    function: Function
    type: Literal["function"] = "function"


class JsonSchema(msgspec.Struct):
    """The shape that an answer must have."""

    name: str
    schema: msgspec.Raw = msgspec.Raw()
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The form that an answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class _NamedFunction(msgspec.Struct):
    name: str


class NamedToolChoice(msgspec.Struct):
    """Exactly this function must be called."""

    function: _NamedFunction
    type: Literal["function"] = "function"


class ChatRequest(msgspec.Struct):
    """The fields that some other protocol can express. The rest is known by name only (see `read_chat`)."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None  # not OpenAI's; vLLM's and others' extra field
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def output_token_limit(self) -> int | None:
        """The most tokens that the answer may have; None: the caller set no limit."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> list[str]:
        """What ends the answer when the model writes it."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


_decode = msgspec.json.Decoder(ChatRequest).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

# Fields that change nothing in what the model says: no protocol has to express them.
_HARMLESS = frozenset(
    (
        "model",
        "messages",
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    )
)
# Values that say the same as leaving the field out.
_NEUTRAL: dict[str, frozenset[bytes]] = {
    "n": frozenset((b"1",)),
    "logprobs": frozenset((b"false",)),
    "top_logprobs": frozenset((b"0",)),
    "presence_penalty": frozenset((b"0", b"0.0")),
    "frequency_penalty": frozenset((b"0", b"0.0")),
    "logit_bias": frozenset((b"{}",)),
    "stop": frozenset((b"[]", b'""')),
    "tools": frozenset((b"[]",)),
    "parallel_tool_calls": frozenset((b"true",)),
    "modalities": frozenset((b'["text"]',)),
    "response_format": frozenset((b'{"type":"text"}', b'{"type": "text"}')),
}


def read_chat(body: bytes) -> tuple[ChatRequest, frozenset[str]]:
    """The request, and the names of all fields that say something (not null, not what leaving them out means).

    InvalidRequest: a field has the wrong type, or a part of a message is of a kind that is not known.
    """
    try:
        request, fields = _decode(body), _decode_fields(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"{message}.", parameter=path.strip("`.") or None) from None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", reason=Reason.INVALID_JSON) from None
    return request, frozenset(name for name, raw in fields.items() if _says_something(name, bytes(raw)))


def _says_something(name: str, raw: bytes) -> bool:
    return raw != b"null" and raw not in _NEUTRAL.get(name, ())


def leave_out(
    present: frozenset[str], expressed: frozenset[str], unsupported: Unsupported, *, protocol: str
) -> tuple[str, ...]:
    """The fields that are lost in a protocol that can express `expressed`, sorted.

    InvalidRequest with the first of them when `unsupported` is "reject".
    """
    lost = sorted(present - expressed - _HARMLESS)
    if lost and unsupported == "reject":
        raise InvalidRequest(
            f"The model's provider ({protocol}) has nothing like `{lost[0]}`.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            parameter=lost[0],
            hint="The provider's `unsupported: drop` leaves such fields out.",
        )
    return tuple(lost)


def text_of(content: str | list[Part] | None) -> str:
    """All text of a message, parts joined; other kinds of parts say nothing."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if isinstance(part, TextPart))
