"""The content blocks of a Messages request, as far as a chat has something like them."""

from collections.abc import Callable

import msgspec

from podium.wire.anthropic.face_errors import mistyped

__all__ = [
    "Base64Source",
    "Block",
    "Content",
    "ContentSource",
    "Document",
    "FileSource",
    "Foreign",
    "Image",
    "Placed",
    "SearchResult",
    "Text",
    "TextSource",
    "Thinking",
    "ToolResult",
    "ToolUse",
    "UrlSource",
    "read_blocks",
]

Content = str | list[msgspec.Raw]  # a text, or blocks


class Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    """A file within the request."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, tag_field="type", tag="url"):
    """A file that the provider fetches."""

    url: str


class FileSource(msgspec.Struct, tag_field="type", tag="file"):
    """A file that was uploaded to Anthropic; the id means nothing elsewhere."""

    file_id: str


class TextSource(msgspec.Struct, tag_field="type", tag="text"):
    """A plain text."""

    data: str


class ContentSource(msgspec.Struct, tag_field="type", tag="content"):
    """A text in pieces that can be cited."""

    content: Content


class _Citations(msgspec.Struct):
    enabled: bool | None = None


class Text(msgspec.Struct):
    """Text; `cache_control` marks the end of what the provider should cache."""

    text: str
    cache_control: dict[str, str] | None = None


class Image(msgspec.Struct):
    """An image."""

    source: Base64Source | UrlSource | FileSource
    cache_control: dict[str, str] | None = None


class Document(msgspec.Struct):
    """A PDF file or a text."""

    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: _Citations | None = None
    cache_control: dict[str, str] | None = None


class SearchResult(msgspec.Struct):
    """What the caller's own search found; `source` is where."""

    source: str
    title: str
    content: list[msgspec.Raw]
    citations: _Citations | None = None


class ToolUse(msgspec.Struct):
    """A call that an earlier answer made."""

    id: str
    name: str
    input: dict[str, msgspec.Raw]


class ToolResult(msgspec.Struct):
    """What such a call came to."""

    tool_use_id: str
    content: Content | None = None
    is_error: bool | None = None


class Thinking(msgspec.Struct):
    """Thoughts of an earlier answer, open or sealed: only the model that thought them can use them."""


class Foreign(msgspec.Struct):
    """A block that a chat has nothing like; `name` says which."""

    name: str


Block = Text | Image | Document | SearchResult | ToolUse | ToolResult | Thinking | Foreign
Placed = tuple[str, Block]  # a block and its path in the request


class _Kind(msgspec.Struct):
    type: str


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_block: dict[str, Callable[[msgspec.Raw], Block]] = {
    "text": msgspec.json.Decoder(Text).decode,
    "image": msgspec.json.Decoder(Image).decode,
    "document": msgspec.json.Decoder(Document).decode,
    "search_result": msgspec.json.Decoder(SearchResult).decode,
    "tool_use": msgspec.json.Decoder(ToolUse).decode,
    "tool_result": msgspec.json.Decoder(ToolResult).decode,
    "thinking": msgspec.json.Decoder(Thinking).decode,
    "redacted_thinking": msgspec.json.Decoder(Thinking).decode,
}


def read_blocks(content: Content | None, path: str) -> list[Placed]:
    """The blocks of a message, a system prompt or a tool's result, each with its path; a text is one block.

    InvalidRequest: one has the wrong type.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [(path, Text(text=content))]
    return [(place, _read_block(raw, place)) for place, raw in ((f"{path}[{i}]", raw) for i, raw in enumerate(content))]


def _read_block(raw: msgspec.Raw, path: str) -> Block:
    try:
        kind = _decode_kind(raw).type
        decode = _decode_block.get(kind)
        return decode(raw) if decode is not None else Foreign(name=f"messages.{kind}")
    except msgspec.ValidationError as error:
        raise mistyped(error, path) from None
