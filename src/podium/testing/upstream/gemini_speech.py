"""How Google's Gemini API says something."""

from collections.abc import Iterator
from typing import Any

from podium.core.usage import Usage
from podium.testing.upstream.behaviours import Stop
from podium.testing.upstream.speech import Asked, Speech, ToolCall
from podium.testing.upstream.wire import Answer, Form, Headers, Part, Piece, encode, json_answer, stream_answer

__all__ = ["THOUGHT_SIGNATURE", "gemini_content", "gemini_models", "gemini_refusal", "gemini_token_count"]

THOUGHT_SIGNATURE = "Ct8BU2ltdWxhdGVk"  # base64, of a call that was thought about

_FINISH = {
    Stop.STOP: "STOP",
    Stop.LENGTH: "MAX_TOKENS",
    Stop.TOOL_CALLS: "STOP",  # Gemini has no word of its own for it
    Stop.FILTERED: "SAFETY",
    Stop.STOP_SEQUENCE: "STOP",
}
_HEADERS: Headers = (("server", "scaffolding on HTTPServer2"), ("server-timing", "gfet4t7; dur=5"))
_MODALITY = "TEXT"


def gemini_content(asked: Asked, speech: Speech, *, sse: bool = True) -> Answer:
    """Generated content, streamed or not; a stream that is not asked for as SSE is one JSON array."""
    if asked.streamed and sse:
        return stream_answer(Form.SSE_CRLF, _chunks(asked, speech), _HEADERS)
    if asked.streamed:
        array = b"[%b]" % b",\r\n".join(piece.payload for piece in _chunks(asked, speech))
        return Answer(200, Form.JSON, "application/json; charset=UTF-8", (Piece(Part.WHOLE, "", array),), _HEADERS)
    parts = [*_text_parts(speech), *(_call(call, speech) for call in speech.calls)]
    return json_answer(_frame(asked, parts, _FINISH[speech.stop], _usage(speech.usage)), _HEADERS)


def _frame(asked: Asked, parts: list[dict[str, Any]], finish: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    content = {"content": {"parts": parts, "role": "model"}} if parts else {"content": {"role": "model"}}
    end = {"finishReason": finish} if finish else {}
    candidates = [content | end | {"index": index} for index in range(asked.choices)]
    name = {"modelVersion": asked.model, "responseId": "simulated"}
    return {"candidates": candidates, "usageMetadata": usage} | name


def _usage(usage: Usage, output: int | None = None) -> dict[str, Any]:
    """`candidatesTokenCount` leaves thoughts out, `promptTokenCount` counts what was cached."""
    thoughts = usage.reasoning_tokens
    said = usage.output_tokens - thoughts if output is None else output
    counts: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": said,
        "totalTokenCount": usage.input_tokens + said + thoughts,
        "promptTokensDetails": [{"modality": _MODALITY, "tokenCount": usage.input_tokens}],
    }
    if thoughts:
        counts["thoughtsTokenCount"] = thoughts
    if cached := usage.cached_input_tokens:
        counts["cachedContentTokenCount"] = cached
        counts["cacheTokensDetails"] = [{"modality": _MODALITY, "tokenCount": cached}]
    return counts


def _text_parts(speech: Speech) -> Iterator[dict[str, Any]]:
    if speech.reasoning:
        yield {"text": "".join(speech.reasoning), "thought": True}
    if speech.text:
        yield {"text": "".join(speech.text)}


def _call(call: ToolCall, speech: Speech) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.values}}
    signed = speech.reasoning and call.number == 0  # only the first of parallel calls has one
    return part | ({"thoughtSignature": THOUGHT_SIGNATURE} if signed else {})


def _chunks(asked: Asked, speech: Speech) -> Iterator[Piece]:
    """Parts one by one, each with the usage so far; the last is empty and says why it ended. Calls come whole."""
    said = 0

    def chunk(part: Part, content: dict[str, Any]) -> Piece:
        return Piece(part, "", encode(_frame(asked, [content], None, _usage(speech.usage, said))))

    for thought in speech.reasoning:
        yield chunk(Part.CONTENT, {"text": thought, "thought": True})
    for word in speech.text:
        said += 1
        yield chunk(Part.CONTENT, {"text": word})
    for call in speech.calls:
        said += len(call.pieces)
        yield chunk(Part.TOOL, _call(call, speech))
    last = _frame(asked, [{"text": ""}], _FINISH[speech.stop], _usage(speech.usage))
    yield Piece(Part.USAGE, "", encode(last))


def gemini_refusal(asked: Asked, speech: Speech) -> Answer:
    """The answer to a prompt that is not allowed: no candidate, and the reason."""
    tokens = speech.usage.input_tokens
    value = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens},
        "modelVersion": asked.model,
        "responseId": "simulated",
    }
    if asked.streamed:
        return stream_answer(Form.SSE_CRLF, (Piece(Part.USAGE, "", encode(value)),), _HEADERS)
    return json_answer(value, _HEADERS)


def gemini_token_count(speech: Speech) -> Answer:
    """How many input tokens a request would have."""
    return json_answer({"totalTokens": speech.usage.input_tokens}, _HEADERS)


def gemini_models(models: tuple[str, ...]) -> Answer:
    """The list of models."""
    methods = ["generateContent", "countTokens"]
    listed = [
        {"name": f"models/{name}", "version": "001", "displayName": name, "supportedGenerationMethods": methods}
        for name in models
    ]
    return json_answer({"models": listed}, _HEADERS)
