"""What was said so far: OpenAI's messages as the Messages API's turns."""

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.upstream_shapes import (
    Base64Source,
    Block,
    CacheControl,
    DocumentBlock,
    ImageBlock,
    PlainTextSource,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UrlSource,
)
from podium.wire.chat.requests import AudioPart, FilePart, ImagePart, Message, Part, RefusalPart, TextPart, ToolCall

__all__ = ["converse"]

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_PDF = "application/pdf"
# What a tool call may be called; other providers' ids, met in a fallback chain, hold dots and colons.
_NOT_OF_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def converse(messages: Sequence[Message]) -> tuple[list[TextBlock], list[Turn]]:
    """The system prompt, and the turns of both sides, consecutive messages of one side merged.

    The API has one system prompt for a whole conversation: what system and developer messages say in the middle of
    one goes there too, as in Anthropic's own endpoint for OpenAI's clients. Blank texts, which the API refuses, go.
    InvalidRequest: something cannot be said to Claude (sound, files by OpenAI's ids, arguments that are not JSON).
    """
    system: list[TextBlock] = []
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        match message.role:
            case "system" | "developer":
                system += _texts(message, path)
            case "user":
                _say(turns, "user", _parts(message.content, path))
            case "assistant":
                _say(turns, "assistant", [*_texts(message, path), *_calls(message.tool_calls or (), path)])
            case "tool":
                _say(turns, "user", [_result(message, path)])
            case "function":
                raise _unfit("Messages of role `function` are not understood; use role `tool`.", f"{path}.role")
    if not turns:
        raise InvalidRequest("`messages` must hold a message that says something.", parameter="messages")
    _trim_end(turns[-1])
    return system, turns


def _say(turns: list[Turn], role: str, blocks: Sequence[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1].role == role:
        turns[-1].content += blocks
    else:
        turns.append(Turn(role="user" if role == "user" else "assistant", content=list(blocks)))


def _trim_end(last: Turn) -> None:
    """The API refuses a last turn of the assistant's that ends in white space."""
    block = last.content[-1]
    if last.role == "assistant" and isinstance(block, TextBlock):
        block.text = block.text.rstrip()


def _texts(message: Message, path: str) -> list[TextBlock]:
    """Content that can only be text."""
    blocks = _parts(message.content, path)
    for index, block in enumerate(blocks):
        if not isinstance(block, TextBlock):
            raise _unfit(
                f"Messages of role `{message.role}` can only hold text for this model's provider.",
                f"{path}.content[{index}]",
            )
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    return texts if texts or not message.refusal else [TextBlock(text=message.refusal)]


def _parts(content: str | list[Part] | None, path: str) -> list[TextBlock | ImageBlock | DocumentBlock]:
    if content is None or isinstance(content, str):
        return [TextBlock(text=content)] if content and not content.isspace() else []
    blocks = (_part(part, f"{path}.content[{index}]") for index, part in enumerate(content))
    return [block for block in blocks if not isinstance(block, TextBlock) or block.text.strip()]


def _part(part: Part, path: str) -> TextBlock | ImageBlock | DocumentBlock:
    match part:
        case TextPart():
            return TextBlock(text=part.text, cache_control=part.cache_control)
        case RefusalPart():
            return TextBlock(text=part.refusal)
        case ImagePart():
            return _image(part, f"{path}.image_url.url")
        case FilePart():
            return _file(part, path)
        case AudioPart():
            raise _unfit("The model's provider (Anthropic) does not hear sound.", path)


def _image(part: ImagePart, path: str) -> ImageBlock:
    url = part.image_url.url
    if url.startswith("https://"):
        return ImageBlock(source=UrlSource(url=url), cache_control=part.cache_control)
    media_type, data = _data_url(url, path)
    return _image_of(media_type, data, part.cache_control, path)


def _image_of(media_type: str, data: str, cache_control: CacheControl, path: str) -> ImageBlock:
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in _IMAGES:
        raise _unfit("Images must be JPEG, PNG, GIF or WebP for the model's provider (Anthropic).", path)
    return ImageBlock(source=Base64Source(media_type=media_type, data=data), cache_control=cache_control)


def _file(part: FilePart, path: str) -> ImageBlock | DocumentBlock:
    file, title, cache_control = part.file, part.file.filename, part.cache_control
    if file.file_data is None:
        raise _unfit("Files by id are not known to the model's provider (Anthropic); send `file_data`.", path)
    path = f"{path}.file.file_data"
    if file.file_data.startswith("https://"):
        return DocumentBlock(source=UrlSource(url=file.file_data), title=title, cache_control=cache_control)
    media_type, data = _data_url(file.file_data, path)
    if media_type.startswith("image/"):
        return _image_of(media_type, data, cache_control, path)
    source: Base64Source | PlainTextSource
    if media_type == _PDF:
        source = Base64Source(media_type=_PDF, data=data)
    elif media_type.startswith("text/") or media_type == "application/json":
        source = PlainTextSource(data=_decoded(data, path))
    else:
        raise _unfit("Files must be PDF, text or images for the model's provider (Anthropic).", path)
    return DocumentBlock(source=source, title=title, cache_control=cache_control)


def _data_url(url: str, path: str) -> tuple[str, str]:
    """The media type, and the base64 after the comma, which the provider checks."""
    head, comma, data = url.partition(",")
    media_type, *attributes = head.removeprefix("data:").split(";")
    if not (comma and head.startswith("data:") and "base64" in attributes):
        raise InvalidRequest("The value must be an https URL or a data URL with base64.", parameter=path)
    return media_type.strip().lower(), data


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("The file's data is not UTF-8 text in base64.", parameter=path) from None


def _calls(calls: Sequence[ToolCall], path: str) -> list[ToolUseBlock]:
    return [
        ToolUseBlock(
            id=_id(call.id),
            name=call.function.name,
            input=_arguments(call.function.arguments, f"{path}.tool_calls[{index}].function.arguments"),
        )
        for index, call in enumerate(calls)
    ]


def _arguments(arguments: str, path: str) -> msgspec.Raw:
    text = arguments.strip() or "{}"
    try:
        _decode_object(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("A tool call's arguments must be a JSON object.", parameter=path) from None
    return msgspec.Raw(text)


def _result(message: Message, path: str) -> ToolResultBlock:
    if not message.tool_call_id:
        raise InvalidRequest("A message of role `tool` needs `tool_call_id`.", parameter=f"{path}.tool_call_id")
    return ToolResultBlock(tool_use_id=_id(message.tool_call_id), content=_parts(message.content, path))


def _id(call_id: str) -> str:
    """The id in the characters that the API allows; the same for a call and its result, different for different ids."""
    return _NOT_OF_AN_ID.sub(lambda found: f"_{ord(found[0]):x}_", call_id)


def _unfit(sentence: str, path: str) -> InvalidRequest:
    return InvalidRequest(sentence, reason=Reason.UNSUPPORTED_PARAMETER, parameter=path)
