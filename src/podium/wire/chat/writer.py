"""Writes chat answers of OpenAI's API, whole and streamed, for what another protocol said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from podium.core.usage import Usage
from podium.wire.chat.requests import ToolCall

__all__ = ["ChunkWriter", "CompletionHead", "FinishReason", "Spoken", "completion_body", "usage_object"]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class CompletionHead:
    """What every piece of one answer repeats."""

    id: str
    model: str
    created_unix_s: int


@dataclass(slots=True)
class Spoken:
    """What a whole answer says."""

    content: str | None = None
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: Sequence[ToolCall] = field(default_factory=tuple)


def completion_body(head: CompletionHead, spoken: Spoken, finish_reason: FinishReason, usage: Usage | None) -> bytes:
    """A whole answer."""
    message: dict[str, object] = {"role": "assistant", "content": spoken.content, "refusal": spoken.refusal}
    if spoken.reasoning:
        message["reasoning_content"] = spoken.reasoning
    if spoken.tool_calls:
        message["tool_calls"] = list(spoken.tool_calls)
    answer: dict[str, object] = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created_unix_s,
        "model": head.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
    }
    if usage is not None:
        answer["usage"] = usage_object(usage)
    return _encode(answer)


def usage_object(usage: Usage) -> dict[str, object]:
    """OpenAI's usage. Cache writes, which others bill, stand beside the cached tokens, as OpenRouter does it."""
    given: dict[str, int] = {"cached_tokens": usage.cached_input_tokens}
    if usage.cache_write_tokens:
        given["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": given,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class ChunkWriter:
    """Writes the events of one streamed answer. Text is the hot path: all but the text is encoded once."""

    __slots__ = ("_head", "_reasoning", "_text")

    def __init__(self, head: CompletionHead) -> None:
        common = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created_unix_s,
            "model": head.model,
        }
        self._head = b"data: " + _encode(common)[:-1] + b',"choices":['
        self._text = self._head + b'{"index":0,"delta":{"content":'
        self._reasoning = self._head + b'{"index":0,"delta":{"reasoning_content":'

    def role(self) -> bytes:
        """The first event."""
        return self._delta({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        """A piece of the answer's text."""
        return self._text + _encode(text) + b'},"finish_reason":null}]}\n\n'

    def reasoning(self, text: str) -> bytes:
        """A piece of the model's thinking."""
        return self._reasoning + _encode(text) + b'},"finish_reason":null}]}\n\n'

    def refusal(self, text: str) -> bytes:
        """A piece of a refusal."""
        return self._delta({"refusal": text})

    def tool_start(self, index: int, call_id: str, name: str) -> bytes:
        """A tool call begins; `index` counts the calls of this answer from 0."""
        function = {"name": name, "arguments": ""}
        return self._delta({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})

    def tool_arguments(self, index: int, piece: str) -> bytes:
        """A piece of a call's arguments."""
        return self._delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def finish(self, reason: FinishReason) -> bytes:
        """Why the answer ended."""
        return self._delta({}, reason)

    def usage(self, usage: Usage) -> bytes:
        """The extra event of `include_usage`; podium always writes it, and hides it from who did not ask."""
        return self._head + b'],"usage":' + _encode(usage_object(usage)) + b"}\n\n"

    def _delta(self, delta: dict[str, object], reason: FinishReason | None = None) -> bytes:
        return self._head + _encode({"index": 0, "delta": delta, "finish_reason": reason}) + b"]}\n\n"
