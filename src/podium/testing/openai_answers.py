"""What an OpenAI-compatible server says to a request, as pieces that can be sent one by one.

The words are always the same for the same request, and usage counts them: input tokens are the words of the
prompt, output tokens the pieces of content.
"""

import base64
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podium.testing.behaviour import Behaviour, Point

__all__ = ["Answer", "compose"]

_CREATED = 1_800_000_000
_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the body in pieces; `marks` says before which piece each point of a `Cut` lies."""

    status: int
    content_type: str
    pieces: tuple[bytes, ...]
    streamed: bool
    marks: dict[Point, int]


def compose(method: str, path: str, request: dict[str, Any], behaviour: Behaviour, models: Sequence[str]) -> Answer:
    """The answer to one request."""
    if behaviour.body is not None:
        return _raw(behaviour.status, behaviour.body, behaviour.content_type or "application/json")
    if behaviour.status >= 400:  # noqa: PLR2004
        return _json(behaviour.status, _error(behaviour.status), behaviour)
    endpoint = path.removeprefix("/v1")
    if method == "POST" and endpoint in {"/chat/completions", "/completions"}:
        return _generated(request, behaviour, chat=endpoint == "/chat/completions")
    if method == "POST" and endpoint == "/embeddings":
        return _json(200, _embeddings(request, behaviour), behaviour)
    return _listed(endpoint.removeprefix("/models"), behaviour, models)


def _listed(name: str, behaviour: Behaviour, models: Sequence[str]) -> Answer:
    if not name:
        return _json(200, {"object": "list", "data": [_model(known) for known in models]}, behaviour)
    if name[1:] in models:
        return _json(200, _model(name[1:]), behaviour)
    return _json(404, _error(404), behaviour)


def _raw(status: int, body: bytes, content_type: str) -> Answer:
    pieces = tuple(part for part in (body[: len(body) // 2], body[len(body) // 2 : -1], body[-1:]) if part)
    last = max(0, len(pieces) - 1)
    return Answer(
        status, content_type, pieces, streamed=False, marks={"middle": min(1, last), "usage": last, "end": last}
    )


def _json(status: int, value: object, behaviour: Behaviour) -> Answer:
    body = json.dumps(value).encode()
    if behaviour.garbled:
        body = body[:-2] + b",,"
    return _raw(status, body, behaviour.content_type or "application/json")


def _error(status: int) -> dict[str, Any]:
    kind = {429: "rate_limit_error", 401: "authentication_error"}.get(status, "scripted_error")
    return {"error": {"message": f"scripted {status}", "type": kind, "param": None, "code": f"scripted_{status}"}}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "scripted"}


def _generated(request: dict[str, Any], behaviour: Behaviour, *, chat: bool) -> Answer:
    words = _words(request, behaviour)
    tool = _tool(request) if chat else None
    shape = _Shape(request, chat=chat, tool=tool, arguments=behaviour.tool_arguments)
    usage = _usage(request, behaviour, len(words) * shape.choices)
    if not request.get("stream"):
        whole = shape.whole(words) | ({"usage": usage} if behaviour.usage else {})
        return _json(200, whole, behaviour)
    asked = (request.get("stream_options") or {}).get("include_usage")
    return _stream(list(shape.chunks(words)), usage if behaviour.usage and asked else None, shape, behaviour)


def _stream(
    chunks: list[dict[str, Any]], usage: dict[str, Any] | None, shape: "_Shape", behaviour: Behaviour
) -> Answer:
    middle = max(1, len(chunks) // 2)
    if usage is not None:
        chunks = [chunk | {"usage": None} for chunk in chunks] + [shape.frame([]) | {"usage": usage}]
    events = [_event(json.dumps(chunk), behaviour) for chunk in chunks]
    if behaviour.garbled:
        events[middle] = _event('{"id": "chatcmpl', behaviour)
    if behaviour.cut is not None and behaviour.cut.how == "error_event":
        events = [*events[:middle], _event(json.dumps(_error(500)), behaviour)]
    end = len(events)
    if behaviour.done:
        events.append(_event("[DONE]", behaviour))
    marks: dict[Point, int] = {"middle": middle, "usage": end - 1 if usage else end, "end": end}
    return Answer(200, behaviour.content_type or "text/event-stream", tuple(events), streamed=True, marks=marks)


def _event(data: str, behaviour: Behaviour) -> bytes:
    lines = [data]
    if behaviour.multi_line and data.startswith("{"):
        lines = [data[0], data[1:-1], data[-1]]  # JSON does not mind the line ends
    end = behaviour.line_end
    comment = f": keep-alive{end}" if behaviour.comments else ""
    return (comment + "".join(f"data: {line}{end}" for line in lines) + end).encode()


@dataclass(frozen=True, slots=True)
class _Shape:
    """The JSON around the words of a chat or a completion."""

    request: dict[str, Any]
    chat: bool
    tool: str | None
    arguments: str

    @property
    def choices(self) -> int:
        return int(self.request.get("n") or 1)

    def frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if self.request.get("stream") else "chat.completion") if self.chat else None
        return {
            "id": "chatcmpl-scripted" if self.chat else "cmpl-scripted",
            "object": kind or "text_completion",
            "created": _CREATED,
            "model": self.request.get("model", ""),
            "choices": choices,
        }

    def finish(self, words: list[str]) -> str:
        limit = self.request.get("max_completion_tokens") or self.request.get("max_tokens") or math.inf
        return "tool_calls" if self.tool else "length" if len(words) >= limit else "stop"

    def whole(self, words: list[str]) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": "".join(words)}}
        if not self.chat:
            said = {"text": "".join(words)}
        elif self.tool:
            function = {"name": self.tool, "arguments": self.arguments}
            call = {"id": "call_scripted", "type": "function", "function": function}
            said = {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}
        end = {"logprobs": None, "finish_reason": self.finish(words)}
        return self.frame([{"index": index} | said | end for index in range(self.choices)])

    def chunks(self, words: list[str]) -> Iterator[dict[str, Any]]:
        """Role, content and finish, the choices in turn."""
        for delta in [*self._deltas(words), None]:
            for index in range(self.choices):
                yield self.frame([self._choice(index, delta, self.finish(words) if delta is None else None)])

    def _deltas(self, words: list[str]) -> Iterator[dict[str, Any]]:
        if self.chat:
            yield {"role": "assistant", "content": None if self.tool else ""}
        if not self.tool:
            yield from ({"content": word} for word in words)
            return
        function = {"name": self.tool, "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": "call_scripted", "type": "function", "function": function}]}
        for start in range(0, len(self.arguments), 5):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": self.arguments[start : start + 5]}}]}

    def _choice(self, index: int, delta: dict[str, Any] | None, finish: str | None) -> dict[str, Any]:
        said = {"delta": delta or {}} if self.chat else {"text": (delta or {}).get("content", "")}
        return {"index": index} | said | {"logprobs": None, "finish_reason": finish}


def _words(request: dict[str, Any], behaviour: Behaviour) -> list[str]:
    if behaviour.text is not None:
        words = [word + " " for word in behaviour.text.split(" ")]
        words[-1] = words[-1][:-1]
    else:
        words = [f"word{number} " for number in range(behaviour.chunks)]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    words = words[:limit] if isinstance(limit, int) else words
    if behaviour.padding and words:
        words[len(words) // 2] += "x" * behaviour.padding
    return words


def _tool(request: dict[str, Any]) -> str | None:
    """The function to call: the named one, else the first, unless a result has come back or none is wanted."""
    choice, tools = request.get("tool_choice", "auto"), request.get("tools") or []
    if not tools or choice == "none" or request["messages"][-1].get("role") == "tool":
        return None
    name = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
    return str(name)


def _usage(request: dict[str, Any], behaviour: Behaviour, output: int) -> dict[str, Any]:
    inputs = request.get("messages") or request.get("prompt") or request.get("input") or ""
    tokens = len(json.dumps(inputs).split())
    return {
        "prompt_tokens": tokens,
        "completion_tokens": output,
        "total_tokens": tokens + output,
        "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": behaviour.reasoning_tokens},
    }


def _embeddings(request: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    inputs = request.get("input") or ""
    texts = inputs if isinstance(inputs, list) and not isinstance(inputs[0], int) else [inputs]
    as_text = request.get("encoding_format") == "base64"
    vectors = [_vector(json.dumps(text), int(request.get("dimensions") or _DIMENSIONS)) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(len(json.dumps(text).split()) for text in texts)
    usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if behaviour.usage else {}
    return {"object": "list", "data": data, "model": request.get("model", "")} | usage


def _vector(text: str, dimensions: int) -> list[float]:
    raw = [math.sin(sum(text.encode()) * (place + 1)) for place in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(value / length for value in raw))))


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
