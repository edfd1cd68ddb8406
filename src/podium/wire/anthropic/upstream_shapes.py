"""A request of Anthropic's Messages API as we write it. None, [] and False are left out of the body.

Reference: the official Python client's `MessageCreateParams`.
"""

from typing import Any, Literal

import msgspec

__all__ = [
    "Base64Source",
    "Block",
    "CacheControl",
    "DocumentBlock",
    "ImageBlock",
    "JsonFormat",
    "MessagesRequest",
    "Metadata",
    "OutputConfig",
    "PlainTextSource",
    "TextBlock",
    "Thinking",
    "ToolChoice",
    "ToolParam",
    "ToolResultBlock",
    "ToolUseBlock",
    "Turn",
    "UrlSource",
]

CacheControl = dict[str, str] | None


class TextBlock(msgspec.Struct, tag_field="type", tag="text", omit_defaults=True):
    """Text; the API refuses one that is blank."""

    text: str
    cache_control: CacheControl = None


class Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    """Bytes of an image or a PDF."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, tag_field="type", tag="url"):
    """Where the provider fetches an image or a PDF."""

    url: str


class PlainTextSource(msgspec.Struct, tag_field="type", tag="text"):
    """A document's text as it is."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class ImageBlock(msgspec.Struct, tag_field="type", tag="image", omit_defaults=True):
    """An image."""

    source: Base64Source | UrlSource
    cache_control: CacheControl = None


class DocumentBlock(msgspec.Struct, tag_field="type", tag="document", omit_defaults=True):
    """A PDF or a text file."""

    source: Base64Source | UrlSource | PlainTextSource
    title: str | None = None
    cache_control: CacheControl = None


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call that the model made; `input` is a JSON object."""

    id: str
    name: str
    input: msgspec.Raw


class ToolResultBlock(msgspec.Struct, tag_field="type", tag="tool_result", omit_defaults=True):
    """What a call gave back."""

    tool_use_id: str
    content: list[TextBlock | ImageBlock | DocumentBlock] = []


Block = TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock


class Turn(msgspec.Struct):
    """All that one side says until the other one speaks."""

    role: Literal["user", "assistant"]
    content: list[Block]


class ToolParam(msgspec.Struct, omit_defaults=True):
    """A function that the model may call; `input_schema` is a JSON schema of an object."""

    name: str
    input_schema: Any
    description: str | None = None
    strict: bool = False


class ToolChoice(msgspec.Struct, omit_defaults=True):
    """`name` only with type `tool`."""

    type: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Thinking(msgspec.Struct, omit_defaults=True):
    """`budget_tokens` only with type `enabled`."""

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized"] | None = None


class JsonFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """The shape of the answer."""

    schema: Any


class OutputConfig(msgspec.Struct, omit_defaults=True):
    """How hard the model tries, and the form of its answer."""

    effort: Literal["low", "medium", "high", "xhigh"] | None = None
    format: JsonFormat | None = None


class Metadata(msgspec.Struct):
    """Who is served, in a word that says nothing about the person."""

    user_id: str


class MessagesRequest(msgspec.Struct, omit_defaults=True):
    """The whole body."""

    model: str
    max_tokens: int
    messages: list[Turn]
    system: list[TextBlock] = []
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []
    tools: list[ToolParam] = []
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
