"""A chat answer of OpenAI's API, whole or streamed: what a translation into another protocol reads."""

import msgspec

__all__ = ["Choice", "Chunk", "ChunkChoice", "Completion", "Delta", "read_chunk", "read_completion"]


class TokenDetails(msgspec.Struct):
    """Parts of a count. `cache_write_tokens` is OpenRouter's and ours; OpenAI does not bill it."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct):
    """What an answer reports."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None


class FunctionPiece(msgspec.Struct):
    """A call, or a piece of one."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPiece(msgspec.Struct):
    """A call, or a piece of one; `index` tells parallel calls of a stream apart."""

    index: int = 0
    id: str | None = None
    function: FunctionPiece | None = None


class Delta(msgspec.Struct):
    """What a message says, or a piece of it."""

    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallPiece] | None = None


class Choice(msgspec.Struct):
    """One answer."""

    message: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None
    index: int = 0


class ChunkChoice(msgspec.Struct):
    """A piece of one answer."""

    delta: Delta | None = None
    finish_reason: str | None = None
    index: int = 0


class Completion(msgspec.Struct):
    """A whole answer."""

    choices: list[Choice] = []
    id: str = ""
    model: str = ""
    usage: ChatUsage | None = None


class Chunk(msgspec.Struct):
    """One event of a streamed answer. `error` is b"" when there is none."""

    choices: list[ChunkChoice] = []
    id: str = ""
    model: str = ""
    usage: ChatUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_completion = msgspec.json.Decoder(Completion).decode
_decode_chunk = msgspec.json.Decoder(Chunk).decode


def read_completion(body: bytes) -> Completion:
    """A whole answer; ValueError: it is none."""
    try:
        return _decode_completion(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not a chat completion") from error


def read_chunk(data: bytes) -> Chunk:
    """The data of one event; ValueError: it is no chunk."""
    try:
        return _decode_chunk(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not a chunk of a chat completion") from error
