"""Writes answers of the Messages API, whole and streamed, for what a chat said."""

from podium.core.usage import Usage
from podium.wire.chat.answers import ChatUsage
from podium.wire.openai import encode_json

__all__ = [
    "TAIL",
    "block_start",
    "block_stop",
    "delta_head",
    "message_delta",
    "message_object",
    "message_start",
    "stop_reason",
    "usage_object",
    "usage_of",
]

_MOST_TOKENS = 10**12  # of one exchange; more is nonsense
_NO_USAGE = Usage()
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def stop_reason(finish_reason: str | None, *, called: bool, refused: bool) -> str:
    """Anthropic's word for why an answer ended.

    Servers say `stop` for an answer that calls tools (OpenAI's own does when a call was demanded), and for a refusal.
    Which stop sequence ended an answer is not told by a chat: it is `end_turn`.
    """
    reason = _STOP_REASONS.get(finish_reason or "stop", "end_turn")
    if reason == "end_turn" and (called or refused):
        return "tool_use" if called else "refusal"
    return reason


def usage_of(said: ChatUsage | None) -> Usage | None:
    """Ours; None when the server left the counts out, or sent nonsense."""
    if said is None or not (0 <= said.prompt_tokens <= _MOST_TOKENS and 0 <= said.completion_tokens <= _MOST_TOKENS):
        return None
    if said.prompt_tokens == said.completion_tokens == 0:
        return None
    given, made = said.prompt_tokens_details, said.completion_tokens_details
    cached = min(max(given.cached_tokens or 0, 0), said.prompt_tokens) if given is not None else 0
    written = min(max(given.cache_write_tokens or 0, 0), said.prompt_tokens - cached) if given is not None else 0
    reasoning = made.reasoning_tokens or 0 if made is not None else 0
    return Usage(
        input_tokens=said.prompt_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=said.completion_tokens,
        reasoning_tokens=min(max(reasoning, 0), said.completion_tokens),
    )


def usage_object(usage: Usage | None) -> dict[str, object]:
    """Anthropic's usage; None: only zeros, which say that nothing was reported."""
    usage = usage or _NO_USAGE
    said: dict[str, object] = {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        said["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return said


def message_object(
    message_id: str, model: str, content: list[dict[str, object]], reason: str | None, usage: Usage | None
) -> dict[str, object]:
    """A message; of one that begins, `content` is empty and `reason` None."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage_object(usage),
    }


def _event(name: bytes, data: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, encode_json(data))


def message_start(message_id: str, model: str) -> bytes:
    """The first event. What the input counts is not known yet: `message_delta` says it."""
    message = message_object(message_id, model, [], None, None)
    return _event(b"message_start", {"type": "message_start", "message": message})


def block_start(index: int, block: dict[str, object]) -> bytes:
    """A content block begins."""
    return _event(b"content_block_start", {"type": "content_block_start", "index": index, "content_block": block})


def block_stop(index: int) -> bytes:
    """It is complete."""
    return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index


_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
_KINDS = {
    "text": (b"text_delta", b"text"),
    "thinking": (b"thinking_delta", b"thinking"),
    "tool_use": (b"input_json_delta", b"partial_json"),
}
TAIL = b"}}\n\n"


def delta_head(index: int, kind: str) -> bytes:
    """All of a delta's event that stands before its text, which is a JSON string; `TAIL` follows it."""
    return _DELTA % (index, *_KINDS[kind])


def message_delta(reason: str, usage: Usage | None) -> bytes:
    """Why the answer ended, and its usage."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return _event(b"message_delta", {"type": "message_delta", "delta": delta, "usage": usage_object(usage)})
