"""OpenAI's API: bytes <-> values.

Only the fields that a decision needs are decoded; the rest of a request or an answer stays the bytes it was.
Reference: OpenAI's API description, and the shapes of the official Python client.
"""

import re
from typing import Any

import msgspec

from podium.core.errors import InvalidRequest, PodiumError
from podium.core.reasons import Fault, Reason
from podium.core.usage import Usage
from podium.wire.json_guard import check_text, refuse_duplicate_names
from podium.wire.sse import event_data

__all__ = [
    "DONE",
    "Change",
    "Request",
    "StreamEvent",
    "answer_text",
    "encode_json",
    "error_body",
    "error_event",
    "error_status",
    "model_list",
    "model_object",
    "needs_reading",
    "override_fields",
    "read_answer_usage",
    "read_request",
    "read_stream_event",
    "request_text",
    "rewrite_request",
]

DONE = b"data: [DONE]\n\n"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Request(msgspec.Struct):
    """What decisions need of a request to any of the three endpoints."""

    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def wants_stream_usage(self) -> bool:
        """True when the caller asked for the usage event at the end of its stream."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def answer_token_limit(self) -> int | None:
        """The most tokens that one choice may have; None when the caller set no limit."""
        limit = self.max_completion_tokens
        if limit is None:
            limit = self.max_tokens
        return limit if limit is None or limit >= 0 else 0

    @property
    def answers(self) -> int:
        """How many choices are asked for; 1 or more."""
        count = self.n
        return 1 if count is None or count < 1 else count


class _Chat(Request, kw_only=True):
    messages: list[msgspec.Raw]


class _Completion(Request, kw_only=True):
    prompt: msgspec.Raw = msgspec.Raw(b'""')


class _Embedding(Request, kw_only=True):
    input: msgspec.Raw


_DECIDING_NAMES = frozenset(
    (
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "user",
        "safety_identifier",
        "messages",
        "prompt",
        "input",
    )
)
_decode_request = {
    "chat.completions": msgspec.json.Decoder(_Chat).decode,
    "completions": msgspec.json.Decoder(_Completion).decode,
    "embeddings": msgspec.json.Decoder(_Embedding).decode,
}


def read_request(endpoint: str, body: bytes) -> Request:
    """The deciding fields of a request body; InvalidRequest says what is wrong with it."""
    check_text(body)
    try:
        request = _decode_request[endpoint](body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"{message}.", parameter=path.strip("`.") or None) from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else f"not valid JSON: {error}"
        raise InvalidRequest(f"The body is {reason}.", reason=Reason.INVALID_JSON) from None
    refuse_duplicate_names(body, _DECIDING_NAMES)
    if not request.model:
        raise InvalidRequest("`model` must not be empty.", parameter="model")
    if isinstance(request, _Chat) and not request.messages:
        raise InvalidRequest("`messages` must hold at least one message.", parameter="messages")
    return request


class Change(msgspec.Struct, frozen=True):
    """What a version changes in the requests that it serves. Empty: the body goes upstream as it came."""

    model: str | None = None  # the name at the provider, when it is another
    defaults: dict[str, msgspec.Raw] = {}  # set where the caller did not set the field
    system_message: msgspec.Raw | None = None  # put before the messages of a chat
    tools: msgspec.Raw | None = None  # offered, as OpenAI spells them, in a chat that offers none
    include_usage: bool = False  # ask for the usage event of a stream
    overrides: dict[str, msgspec.Raw] = {}  # set whatever the caller set; null removes the field


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
encode_json = msgspec.json.Encoder().encode
_encode = encode_json


def rewrite_request(body: bytes, change: Change) -> bytes:
    """The body with `change` made; every other field keeps its bytes. InvalidRequest: it is nested too deeply."""
    try:
        return _rewritten(body, change)
    except RecursionError:  # how deep is too deep depends on how deep we are ourselves
        raise InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON) from None


def _rewritten(body: bytes, change: Change) -> bytes:
    fields = _decode_fields(body)
    if change.model is not None:
        fields["model"] = msgspec.Raw(_encode(change.model))
    for name, value in change.defaults.items():
        fields.setdefault(name, value)
    override_fields(fields, change.overrides)
    if change.tools is not None and "messages" in fields and "functions" not in fields:
        fields.setdefault("tools", change.tools)
    if change.system_message is not None and "messages" in fields:
        fields["messages"] = msgspec.Raw(_encode([change.system_message, *_decode_list(fields["messages"])]))
    if change.include_usage:
        options = fields.get("stream_options")
        given = _decode_fields(options) if options is not None and bytes(options) != b"null" else {}
        fields["stream_options"] = msgspec.Raw(_encode(given | {"include_usage": msgspec.Raw(b"true")}))
    return _encode(fields)


def override_fields(fields: dict[str, msgspec.Raw], overrides: dict[str, msgspec.Raw]) -> None:
    """Set fields of a request whatever the caller set; null removes one."""
    for name, value in overrides.items():
        if bytes(value) == b"null":
            fields.pop(name, None)
        else:
            fields[name] = value


_MOST_TOKENS = 10**12  # of one exchange; more is nonsense, and no ledger could keep it


class _TokenDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None  # OpenRouter's and ours, for providers that bill it
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _TokenDetails | None = None
    completion_tokens_details: _TokenDetails | None = None

    def to_usage(self) -> Usage | None:
        """Ours; None when the upstream left the counts out or sent nonsense."""
        given, made = self.prompt_tokens, self.completion_tokens or 0
        if given is None or not (0 <= given <= _MOST_TOKENS and 0 <= made <= _MOST_TOKENS):
            return None
        if self.prompt_tokens_details is None and self.completion_tokens_details is None:
            return Usage(input_tokens=given, output_tokens=made)
        details = self.prompt_tokens_details or _TokenDetails()
        cached = min(max(details.cached_tokens or 0, 0), given)
        reasoning = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None
        return Usage(
            input_tokens=given,
            cached_input_tokens=cached,
            cache_write_tokens=min(max(details.cache_write_tokens or 0, 0), given - cached),
            output_tokens=made,
            reasoning_tokens=min(max(reasoning or 0, 0), made),
        )


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_answer_usage(body: bytes) -> Usage | None:
    """The usage that a whole answer reports; None when it reports none.

    ValueError: the answer is not a JSON object.
    """
    if not body.lstrip().startswith(b"{"):
        raise ValueError("not a JSON object")
    try:
        usage = _decode_answer(body).usage
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not a JSON object") from error
    return usage.to_usage() if usage is not None else None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()  # in a union with None, msgspec does not fill it


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class StreamEvent(msgspec.Struct, frozen=True):
    """What decisions need of one event of a stream."""

    done: bool = False  # the closing [DONE]
    has_content: bool = False  # text, reasoning, a refusal or a piece of a tool call
    finished: bool = False  # a choice says why it ended
    finish_reason: str = ""  # of the first one that does
    refused: bool = False  # the text is a refusal, or a filter ended it
    calls: bool = False  # it holds a piece of a tool call
    text: str = ""
    usage: Usage | None = None
    usage_only: bool = False  # the extra event of `include_usage`
    error: bytes | None = None  # the upstream's own error object
    error_status: int | None = None  # what it would have answered, had it known before; None: it does not say


_NOTHING = StreamEvent()
_UNKNOWN = StreamEvent(has_content=True)  # a shape that we do not know is the caller's to read, without delay


def read_stream_event(event: bytes) -> StreamEvent:
    """The meaning of one whole event; ValueError when its data is neither JSON nor [DONE]."""
    data = event_data(event)
    if data is None or not data.strip():
        return _NOTHING
    if data.strip() == b"[DONE]":
        return StreamEvent(done=True)
    try:
        chunk = _decode_chunk(data)
    except msgspec.ValidationError:
        return _UNKNOWN
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as unread:
        raise ValueError("an event is not JSON") from unread
    error = bytes(chunk.error)
    if error not in {b"", b"null"}:
        return StreamEvent(error=error, error_status=error_status(error))
    texts = [text for choice in chunk.choices for text in _texts(choice)]
    calls = any(bool(choice.delta is not None and choice.delta.tool_calls) for choice in chunk.choices)
    reason = next((choice.finish_reason for choice in chunk.choices if choice.finish_reason is not None), None)
    refusal = any(choice.delta is not None and choice.delta.refusal for choice in chunk.choices)
    return StreamEvent(
        has_content=calls or any(texts),
        finished=reason is not None,
        finish_reason=reason or "",
        refused=refusal or reason == "content_filter",
        calls=calls,
        text="".join(texts),
        usage=chunk.usage.to_usage() if chunk.usage is not None else None,
        usage_only=chunk.usage is not None and not chunk.choices,
    )


class _Reported(msgspec.Struct):
    """An error within a stream, as OpenAI, vLLM, OpenRouter and LiteLLM write it."""

    code: int | str | None = None
    status: int | str | None = None


_decode_reported = msgspec.json.Decoder(_Reported).decode
_STATUS_OF_ERROR = re.compile(r"[45][0-9][0-9]")


def error_status(error: bytes) -> int | None:
    """The status that an error object within a stream names as its code; None: it names none."""
    try:
        said = _decode_reported(error)
    except (msgspec.DecodeError, RecursionError):  # a text, or another shape
        return None
    words = (str(said.code), str(said.status))
    return next((int(word) for word in words if _STATUS_OF_ERROR.fullmatch(word)), None)


def needs_reading(block: bytes) -> bool:
    """True when a block of events may hold more than content. Cheap: asked for each block of each stream."""
    return (
        b"[DONE]" in block
        or b'"error"' in block
        or (b'"usage"' in block and block.count(b'"usage"') != block.count(b'"usage":null'))
        or (b'"finish_reason"' in block and block.count(b'"finish_reason"') != block.count(b'"finish_reason":null'))
    )


def _texts(choice: _Choice) -> list[str]:
    texts = [choice.text] if choice.text else []
    if (delta := choice.delta) is not None:
        texts += [text for text in (delta.content, delta.reasoning_content, delta.refusal) if text]
        texts += [str(bytes(call), "utf-8", "replace") for call in delta.tool_calls or ()]
    return texts


# Error types as OpenAI names them; clients choose their exception by status, people read the type.
_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# Codes that clients look for, where ours is another word.
_CODES = {Reason.BUDGET_EXHAUSTED: "insufficient_quota"}


def error_object(error: PodiumError) -> dict[str, object]:
    """OpenAI's error object; `code` is our stable reason, or OpenAI's word where it has one."""
    kind = _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.fault is Fault.CALLER else "server_error"
    code = _CODES.get(error.reason) or str(error.reason)
    return {"message": error.message, "type": kind, "param": error.parameter, "code": code}


def error_body(error: PodiumError) -> bytes:
    """The body of an error answer."""
    return _encode({"error": error_object(error)})


def error_event(error: PodiumError) -> bytes:
    """The event that ends a broken stream; no [DONE] follows it."""
    return b"data: " + error_body(error) + b"\n\n"


def model_object(name: str, *, owned_by: str, created_unix_s: int) -> dict[str, object]:
    """One entry of `/v1/models`."""
    return {"id": name, "object": "model", "created": created_unix_s, "owned_by": owned_by}


def model_list(models: list[dict[str, object]]) -> bytes:
    """The answer of `/v1/models`."""
    return _encode({"object": "list", "data": models})


def request_text(body: bytes) -> str:
    """The text that a request gives a model to read, for counting its tokens."""
    fields = msgspec.json.decode(body)
    parts = [fields.get(name) for name in ("messages", "prompt", "input", "tools", "response_format")]
    return "\n".join(text for part in parts for text in _strings(part))


def answer_text(body: bytes) -> str:
    """The text that a model wrote into a whole answer, for counting its tokens; of an unknown shape, none."""
    answer = msgspec.json.decode(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list):
        return ""
    said = [choice for choice in choices if isinstance(choice, dict)]
    return "\n".join(text for choice in said for text in _strings([choice.get("message"), choice.get("text")]))


def _strings(value: Any) -> list[str]:
    """All strings in a decoded JSON value but data URLs, which no model reads as text."""
    if isinstance(value, str):
        return [] if value.startswith("data:") else [value]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    return []
