"""How OpenAI's API, and Azure's, say something."""

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

from podium.core.usage import Usage
from podium.testing.upstream.behaviours import Stop
from podium.testing.upstream.speech import Asked, Speech, ToolCall
from podium.testing.upstream.wire import Answer, Form, Headers, Part, Piece, encode, json_answer, stream_answer

__all__ = ["openai_chat", "openai_completion", "openai_embeddings", "openai_models"]

_CREATED = 1_800_000_000
_OF_EVERY_CHUNK = {"service_tier": "default", "system_fingerprint": "fp_simulated"}
_FINISH = {
    Stop.STOP: "stop",
    Stop.LENGTH: "length",
    Stop.TOOL_CALLS: "tool_calls",
    Stop.FILTERED: "content_filter",
    Stop.STOP_SEQUENCE: "stop",
}
_HEADERS: Headers = (
    ("x-request-id", "req_simulated"),
    ("openai-processing-ms", "5"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-tokens", "30ms"),
)
_SAFE = {"filtered": False, "severity": "safe"}
_FILTERS = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}
_PROMPT_FILTERS = [{"prompt_index": 0, "content_filter_results": _FILTERS}]
_DONE = Piece(Part.END, "", b"[DONE]")


def openai_chat(asked: Asked, speech: Speech, *, azure: bool = False) -> Answer:
    """A chat completion, streamed or not."""
    if asked.streamed:
        return stream_answer(Form.SSE, _chat_chunks(asked, speech, azure=azure), _HEADERS)
    choices = [
        {"index": index, "message": _message(speech), "logprobs": None, "finish_reason": _FINISH[speech.stop]}
        | ({"content_filter_results": _FILTERS} if azure else {})
        for index in range(asked.choices)
    ]
    value = _frame("chat.completion", asked, choices) | _of_answer(speech)
    return json_answer(value | ({"prompt_filter_results": _PROMPT_FILTERS} if azure else {}), _HEADERS)


def _of_answer(speech: Speech) -> dict[str, Any]:
    return ({"usage": _usage(speech.usage)} if speech.report_usage else {}) | _OF_EVERY_CHUNK


def _frame(kind: str, asked: Asked, choices: list[dict[str, Any]]) -> dict[str, Any]:
    name = "cmpl-simulated" if kind == "text_completion" else "chatcmpl-simulated"
    return {"id": name, "object": kind, "created": _CREATED, "model": asked.model, "choices": choices}


def _message(speech: Speech) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(speech.text) if speech.text or not speech.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if speech.reasoning:
        message["reasoning_content"] = "".join(speech.reasoning)
    if speech.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in speech.calls]
    return message


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_simulated{call.number}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    written = {"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens, "audio_tokens": 0} | written,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chat_chunks(asked: Asked, speech: Speech, *, azure: bool) -> Iterator[Piece]:
    """A role, then content; the finish; usage if asked for; [DONE]. Several choices take turns."""
    tail: dict[str, Any] = {"usage": None} if asked.stream_usage and speech.report_usage else {}
    frame = _frame("chat.completion.chunk", asked, []) | _OF_EVERY_CHUNK | tail
    extra: dict[str, Any] = {"content_filter_results": {}} if azure else {}

    def chunk(part: Part, delta: dict[str, Any], finish: str | None = None) -> Iterator[Piece]:
        for index in range(asked.choices):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            frame["choices"] = [choice | extra]
            yield Piece(part, "", encode(frame))

    if azure:
        first = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        yield Piece(Part.OPENING, "", encode(first | {"prompt_filter_results": _PROMPT_FILTERS}))
    content = "" if speech.text or not speech.calls else None
    yield from chunk(Part.OPENING, {"role": "assistant", "content": content, "refusal": None})
    for thought in speech.reasoning:
        yield from chunk(Part.CONTENT, {"reasoning_content": thought})
    for word in speech.text:
        yield from chunk(Part.CONTENT, {"content": word})
    for call in speech.calls:
        yield from chunk(Part.TOOL, {"tool_calls": [{"index": call.number} | _call(call, "")]})
        for piece in call.pieces:
            arguments = {"index": call.number, "function": {"arguments": piece}}
            yield from chunk(Part.TOOL, {"tool_calls": [arguments]})
    yield from chunk(Part.BETWEEN, {}, _FINISH[speech.stop])
    if tail:
        frame |= {"choices": [], "usage": _usage(speech.usage)}
        yield Piece(Part.USAGE, "", encode(frame))
    yield _DONE


def openai_completion(asked: Asked, speech: Speech) -> Answer:
    """A text completion, streamed or not."""
    finish = _FINISH[speech.stop]
    if asked.streamed:
        return stream_answer(Form.SSE, _completion_chunks(asked, speech, finish), _HEADERS)
    text = "".join(speech.text)
    choices = [
        {"text": text, "index": index, "logprobs": None, "finish_reason": finish} for index in range(asked.choices)
    ]
    return json_answer(_frame("text_completion", asked, choices) | _of_answer(speech), _HEADERS)


def _completion_chunks(asked: Asked, speech: Speech, finish: str) -> Iterator[Piece]:
    frame = _frame("text_completion", asked, [])
    for word, end in [*((word, None) for word in speech.text), ("", finish)]:
        for index in range(asked.choices):
            frame["choices"] = [{"text": word, "index": index, "logprobs": None, "finish_reason": end}]
            yield Piece(Part.CONTENT if end is None else Part.BETWEEN, "", encode(frame))
    if asked.stream_usage and speech.report_usage:
        yield Piece(Part.USAGE, "", encode(frame | {"choices": [], "usage": _usage(speech.usage)}))
    yield _DONE


def openai_embeddings(asked: Asked, speech: Speech) -> Answer:
    """One vector of length one for each input."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, asked)}
        for index, text in enumerate(asked.inputs)
    ]
    tokens = speech.usage.input_tokens
    usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if speech.report_usage else {}
    return json_answer({"object": "list", "data": data, "model": asked.model} | usage, _HEADERS)


def _vector(text: str, asked: Asked) -> list[float] | str:
    seed = sum(text.encode()) or 1
    raw = [math.sin(seed * (place + 1)) for place in range(asked.dimensions)]
    length = math.hypot(*raw)
    packed = struct.pack(f"<{asked.dimensions}f", *(value / length for value in raw))
    return base64.b64encode(packed).decode() if asked.base64 else list(struct.unpack(f"<{asked.dimensions}f", packed))


def openai_models(models: tuple[str, ...]) -> Answer:
    """The list of models."""
    data = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "simulator"} for name in models]
    return json_answer({"object": "list", "data": data}, _HEADERS)
