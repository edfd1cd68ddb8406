"""How Anthropic's Messages API says something."""

from collections.abc import Iterator
from typing import Any

from podium.core.usage import Usage
from podium.testing.upstream.anthropic_requests import SIGNATURE
from podium.testing.upstream.behaviours import Stop
from podium.testing.upstream.speech import Asked, Speech, ToolCall
from podium.testing.upstream.wire import Answer, Form, Headers, Part, Piece, encode, json_answer, stream_answer

__all__ = ["anthropic_message", "anthropic_models", "anthropic_token_count"]

_STOPS = {
    Stop.STOP: "end_turn",
    Stop.LENGTH: "max_tokens",
    Stop.TOOL_CALLS: "tool_use",
    Stop.FILTERED: "refusal",
    Stop.STOP_SEQUENCE: "stop_sequence",
}
_RESET = "2027-01-15T08:00:00Z"
_HEADERS: Headers = (
    ("request-id", "req_simulated"),
    ("anthropic-organization-id", "simulated"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", _RESET),
    ("anthropic-ratelimit-input-tokens-limit", "2000000"),
    ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
    ("anthropic-ratelimit-input-tokens-reset", _RESET),
)


def anthropic_message(asked: Asked, speech: Speech) -> Answer:
    """A message, streamed or not."""
    if asked.streamed:
        return stream_answer(Form.SSE, _events(asked, speech), _HEADERS)
    return json_answer(_message(asked, list(_content(speech)), _usage(speech.usage)) | _stop(speech), _HEADERS)


def _message(asked: Asked, content: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": asked.model,
        "id": "msg_01Simulated",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage,
    }


def _stop(speech: Speech) -> dict[str, Any]:
    refused = {"type": "refusal", "category": None, "explanation": None}
    return {
        "stop_reason": _STOPS[speech.stop],
        "stop_sequence": "STOP" if speech.stop is Stop.STOP_SEQUENCE else None,
        "stop_details": refused if speech.stop is Stop.FILTERED else None,
    }


def _counts(usage: Usage) -> dict[str, Any]:
    """Anthropic's `input_tokens` are those that the cache had no part in."""
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    creation = {"ephemeral_5m_input_tokens": usage.cache_write_tokens, "ephemeral_1h_input_tokens": 0}
    return _counts(usage) | {"cache_creation": creation, "service_tier": "standard"} | _details(usage)


def _details(usage: Usage) -> dict[str, Any]:
    thinking = usage.reasoning_tokens
    return {"output_tokens_details": {"thinking_tokens": thinking}} if thinking else {}


def _tool_use(call: ToolCall, values: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_simulated{call.number}", "name": call.name, "input": values}


def _content(speech: Speech) -> Iterator[dict[str, Any]]:
    if speech.reasoning:
        yield {"type": "thinking", "thinking": "".join(speech.reasoning), "signature": SIGNATURE}
    if speech.text:
        yield {"type": "text", "text": "".join(speech.text)}
    for call in speech.calls:
        yield _tool_use(call, call.values)


def _event(part: Part, name: str, **fields: Any) -> Piece:
    return Piece(part, name, encode({"type": name} | fields))


def _events(asked: Asked, speech: Speech) -> Iterator[Piece]:
    """The order of the API's own streams, its ping after the first block's start included."""
    opening = _usage(speech.usage) | {"output_tokens": 1}
    yield _event(Part.OPENING, "message_start", message=_message(asked, [], opening))
    first = True
    for index, (part, block, deltas) in enumerate(_blocks(speech)):
        begins = Part.TOOL if part is Part.TOOL else Part.OPENING if first else Part.BETWEEN
        yield _event(begins, "content_block_start", index=index, content_block=block)
        if first:
            yield _event(Part.BETWEEN if begins is Part.TOOL else Part.OPENING, "ping")
            first = False
        for delta in deltas:
            yield _event(part, "content_block_delta", index=index, delta=delta)
        yield _event(Part.BETWEEN, "content_block_stop", index=index)
    counts = _counts(speech.usage) | _details(speech.usage)
    yield _event(Part.USAGE, "message_delta", delta=_stop(speech), usage=counts)
    yield _event(Part.END, "message_stop")


_Deltas = list[dict[str, Any]]


def _blocks(speech: Speech) -> Iterator[tuple[Part, dict[str, Any], _Deltas]]:
    """Each block as it starts, and what is added to it."""
    if speech.reasoning:
        thoughts: _Deltas = [{"type": "thinking_delta", "thinking": thought} for thought in speech.reasoning]
        signed = [*thoughts, {"type": "signature_delta", "signature": SIGNATURE}]
        yield Part.CONTENT, {"type": "thinking", "thinking": "", "signature": ""}, signed
    if speech.text:
        yield Part.CONTENT, {"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in speech.text]
    for call in speech.calls:
        pieces = ("", *call.pieces)  # the API begins with an empty one
        deltas: _Deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield Part.TOOL, _tool_use(call, {}), deltas


def anthropic_token_count(speech: Speech) -> Answer:
    """How many input tokens a request would have."""
    return json_answer({"input_tokens": speech.usage.input_tokens}, _HEADERS)


def anthropic_models(models: tuple[str, ...]) -> Answer:
    """The list of models."""
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        for name in models
    ]
    ends = {"first_id": models[0] if models else None, "last_id": models[-1] if models else None}
    return json_answer({"data": data, "has_more": False} | ends, _HEADERS)
