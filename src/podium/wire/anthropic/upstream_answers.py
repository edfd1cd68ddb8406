"""Answers of the Messages API, whole and in events, as they come.

Reference: the official Python client's `Message` and `RawMessageStreamEvent`.
"""

import msgspec

from podium.core.usage import Usage
from podium.wire.anthropic.upstream_errors import ErrorDetail

__all__ = [
    "UNREADABLE",
    "Answer",
    "Block",
    "BlockDelta",
    "Counts",
    "Delta",
    "Event",
    "Start",
    "decode_answer",
    "decode_delta",
    "decode_event",
]

_MOST_TOKENS = 10**12  # more is nonsense, as for OpenAI's own counts


class OutputDetails(msgspec.Struct):
    """Parts of the output."""

    thinking_tokens: int | None = None


class UsageReport(msgspec.Struct):
    """Token counts so far. Input is what was neither read from the cache nor put into it."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class StopDetails(msgspec.Struct):
    """More on a refusal."""

    explanation: str | None = None


class Block(msgspec.Struct):
    """A part of an answer; the fields that its `type` has are set."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """A whole answer."""

    content: list[Block]
    stop_reason: str
    id: str = ""
    model: str = ""
    stop_details: StopDetails | None = None
    usage: UsageReport | None = None


class Start(msgspec.Struct):
    """What a stream says first."""

    id: str = ""
    model: str = ""
    usage: UsageReport | None = None


class Delta(msgspec.Struct):
    """A piece of a block, or how the message ended."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class BlockDelta(msgspec.Struct):
    """The event of a piece of a block."""

    delta: Delta
    index: int = 0


class Event(msgspec.Struct):
    """Any event; the fields that its `type` has are set."""

    type: str = ""
    index: int = 0
    message: Start | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: UsageReport | None = None
    error: ErrorDetail | None = None


decode_answer = msgspec.json.Decoder(Answer).decode
decode_delta = msgspec.json.Decoder(BlockDelta).decode
decode_event = msgspec.json.Decoder(Event).decode
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class Counts:
    """Token counts as they grow: each report is of all tokens so far, and may leave counts out or at 0."""

    __slots__ = ("_cache_read", "_cache_write", "_input", "_output", "_seen", "_thinking")

    def __init__(self) -> None:
        self._seen = False
        self._input = self._cache_read = self._cache_write = self._output = self._thinking = 0

    def add(self, usage: UsageReport | None) -> None:
        """Keep the larger of each."""
        if usage is None:
            return
        self._seen = True
        details = usage.output_tokens_details
        self._input = max(self._input, usage.input_tokens or 0)
        self._cache_read = max(self._cache_read, usage.cache_read_input_tokens or 0)
        self._cache_write = max(self._cache_write, usage.cache_creation_input_tokens or 0)
        self._output = max(self._output, usage.output_tokens or 0)
        self._thinking = max(self._thinking, (details.thinking_tokens or 0) if details is not None else 0)

    def usage(self) -> Usage | None:
        """Ours; None when none was reported, or nonsense."""
        given = self._input + self._cache_read + self._cache_write
        if not self._seen or given > _MOST_TOKENS or self._output > _MOST_TOKENS:
            return None
        return Usage(
            input_tokens=given,
            cached_input_tokens=self._cache_read,
            cache_write_tokens=self._cache_write,
            output_tokens=self._output,
            reasoning_tokens=min(self._thinking, self._output),
        )
