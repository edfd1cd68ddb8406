"""How Amazon Bedrock's Converse says something."""

from collections.abc import Iterator
from typing import Any

from podium.core.usage import Usage
from podium.testing.upstream.anthropic_requests import SIGNATURE
from podium.testing.upstream.behaviours import Stop
from podium.testing.upstream.speech import Asked, Speech, ToolCall
from podium.testing.upstream.wire import Answer, Form, Headers, Part, Piece, encode, json_answer, stream_answer

__all__ = ["bedrock_message", "bedrock_refusal"]

_STOPS = {
    Stop.STOP: "end_turn",
    Stop.LENGTH: "max_tokens",
    Stop.TOOL_CALLS: "tool_use",
    Stop.FILTERED: "content_filtered",
    Stop.STOP_SEQUENCE: "stop_sequence",
}
_HEADERS: Headers = (("x-amzn-requestid", "00000000-0000-4000-8000-000000000000"),)
_METRICS = {"metrics": {"latencyMs": 5}}
_BLOCKED = "Sorry, the model cannot answer this question."


def bedrock_message(asked: Asked, speech: Speech) -> Answer:
    """A message, streamed or not."""
    return _answer(asked, speech, _STOPS[speech.stop])


def bedrock_refusal(asked: Asked, speech: Speech) -> Answer:
    """The answer to a prompt that a guardrail stops."""
    return _answer(asked, Speech(Stop.FILTERED, speech.usage, text=(_BLOCKED,)), "guardrail_intervened")


def _answer(asked: Asked, speech: Speech, stop: str) -> Answer:
    if asked.streamed:
        return stream_answer(Form.EVENT_STREAM, _events(speech, stop), _HEADERS)
    message = {"role": "assistant", "content": list(_content(speech))}
    return json_answer({"output": {"message": message}, "stopReason": stop} | _metadata(speech.usage), _HEADERS)


def _metadata(usage: Usage) -> dict[str, Any]:
    """`inputTokens` are those that the cache had no part in; the total has all."""
    counts = {
        "inputTokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return {"usage": counts} | _METRICS


def _content(speech: Speech) -> Iterator[dict[str, Any]]:
    if speech.reasoning:
        thought = {"text": "".join(speech.reasoning), "signature": SIGNATURE}
        yield {"reasoningContent": {"reasoningText": thought}}
    if speech.text:
        yield {"text": "".join(speech.text)}
    for call in speech.calls:
        yield {"toolUse": _tool_use(call) | {"input": call.values}}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_simulated{call.number}", "name": call.name}


def _event(part: Part, name: str, **fields: Any) -> Piece:
    """`p` is the padding that hides an event's length on the wire."""
    return Piece(part, name, encode(fields | {"p": "abcdefgh"}))


def _events(speech: Speech, stop: str) -> Iterator[Piece]:
    """Only blocks of tool calls have a start; the usage comes after the stop."""
    yield _event(Part.OPENING, "messageStart", role="assistant")
    index = 0
    for deltas in _text_deltas(speech):
        for delta in deltas:
            yield _event(Part.CONTENT, "contentBlockDelta", contentBlockIndex=index, delta=delta)
        yield _event(Part.BETWEEN, "contentBlockStop", contentBlockIndex=index)
        index += 1
    for call in speech.calls:
        start = {"toolUse": _tool_use(call)}
        yield _event(Part.TOOL, "contentBlockStart", contentBlockIndex=index, start=start)
        for piece in call.pieces:
            delta = {"toolUse": {"input": piece}}
            yield _event(Part.TOOL, "contentBlockDelta", contentBlockIndex=index, delta=delta)
        yield _event(Part.BETWEEN, "contentBlockStop", contentBlockIndex=index)
        index += 1
    yield _event(Part.BETWEEN, "messageStop", stopReason=stop)
    yield _event(Part.USAGE, "metadata", **_metadata(speech.usage))


def _text_deltas(speech: Speech) -> Iterator[list[dict[str, Any]]]:
    if speech.reasoning:
        thoughts: list[dict[str, Any]] = [{"reasoningContent": {"text": thought}} for thought in speech.reasoning]
        yield [*thoughts, {"reasoningContent": {"signature": SIGNATURE}}]
    if speech.text:
        yield [{"text": word} for word in speech.text]
