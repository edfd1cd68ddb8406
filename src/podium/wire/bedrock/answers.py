"""A whole answer of AWS Bedrock's Converse API -> a chat completion."""

import msgspec

from podium.core.usage import Usage
from podium.wire.chat.requests import FunctionCall, ToolCall
from podium.wire.chat.writer import CompletionHead, FinishReason, Spoken, completion_body

__all__ = ["SERVER_TOOL", "TokenUsage", "finish_reason", "translate_answer"]

SERVER_TOOL = "server_tool_use"  # a tool that Bedrock runs itself: no call for the caller

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
# What the model wrote cannot be relied on, and OpenAI has no word for it: the exchange has failed.
_MALFORMED = frozenset(("malformed_model_output", "malformed_tool_use"))


class TokenUsage(msgspec.Struct, rename="camel"):
    """What an answer used. `input_tokens` are only those that were neither read from the cache nor written to it.

    https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None

    def to_usage(self) -> Usage:
        """Ours, where the parts that were cached are parts of the input."""
        read, written = max(self.cache_read_input_tokens or 0, 0), max(self.cache_write_input_tokens or 0, 0)
        return Usage(
            input_tokens=max(self.input_tokens, 0) + read + written,
            cached_input_tokens=read,
            cache_write_tokens=written,
            output_tokens=max(self.output_tokens, 0),
        )


class _Text(msgspec.Struct):
    text: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _Text | None = None


class _Citations(msgspec.Struct):
    content: list[_Text] = []


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str = ""


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str = "end_turn"
    usage: TokenUsage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def translate_answer(body: bytes, *, model: str, created_unix_s: int, fallback_id: str) -> bytes:
    """The completion that an answer amounts to; ValueError: it is none, or the model wrote what makes no sense.

    The answer has no id of its own, so it always gets `fallback_id`.
    """
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not an answer of the Converse API") from error
    spoken = _spoken(answer.output.message.content)
    reason = finish_reason(answer.stop_reason, calls=bool(spoken.tool_calls))
    usage = answer.usage.to_usage() if answer.usage is not None else None
    return completion_body(CompletionHead(fallback_id, model, created_unix_s), spoken, reason, usage)


def finish_reason(stop_reason: str, *, calls: bool) -> FinishReason:
    """OpenAI's word for why an answer ended; `calls`: it calls tools. ValueError: the model's output was malformed."""
    if stop_reason in _MALFORMED:
        raise ValueError(f"the model's output is malformed ({stop_reason})")
    reason = _FINISH.get(stop_reason, "stop")
    return "tool_calls" if calls and reason == "stop" else reason


def _spoken(blocks: list[_Block]) -> Spoken:
    texts, reasoning, calls = [], [], []
    for block in blocks:
        if block.text is not None:
            texts.append(block.text)
        elif block.citations_content is not None:
            texts += [part.text for part in block.citations_content.content]
        elif block.reasoning_content is not None and block.reasoning_content.reasoning_text is not None:
            reasoning.append(block.reasoning_content.reasoning_text.text)
        elif (use := block.tool_use) is not None and use.type != SERVER_TOOL:
            calls.append(ToolCall(use.tool_use_id, FunctionCall(use.name, str(bytes(use.input), "utf-8"))))
    return Spoken(content="".join(texts) if texts else None, reasoning="".join(reasoning), tool_calls=calls)
