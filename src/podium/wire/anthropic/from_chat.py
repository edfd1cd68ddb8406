"""A chat's answer of OpenAI's API, whole or streamed -> an answer of Anthropic's Messages API.

Of a streamed answer, `message_delta` waits for the usage, which a chat reports after it said why it ended; it
comes with the usage, with [DONE], or, from servers that send neither, with `MessageStream.end`.
"""

from dataclasses import dataclass

import msgspec

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.wire.anthropic.face_errors import error_type
from podium.wire.anthropic.face_events import DONE
from podium.wire.anthropic.face_queue import BlockQueue
from podium.wire.anthropic.face_writer import message_delta, message_object, message_start, stop_reason, usage_of
from podium.wire.chat.answers import Chunk, ChunkChoice, Delta, ToolCallPiece, read_chunk, read_completion
from podium.wire.openai import encode_json, error_status
from podium.wire.sse import SseFramer, event_data, split_events

__all__ = ["Expected", "MessageStream", "translate_answer", "translate_error"]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the request says about its answer.

    `model` and `fallback_id` stand where the server gives no name and no id. Who did not ask to see the model's
    thinking gets none: such callers take the first block for the text.
    """

    model: str
    fallback_id: str
    shows_thinking: bool


def translate_answer(body: bytes, *, expected: Expected) -> bytes:
    """A whole answer; ValueError: it cannot be read."""
    completion = read_completion(body)
    if not completion.choices:
        raise ValueError("a chat completion without a choice")
    choice = completion.choices[0]
    message = choice.message
    said = [("thinking", message.reasoning_content)] if expected.shows_thinking else []
    said += [("text", message.content), ("text", message.refusal)]
    content = [_spoken(kind, text) for kind, text in said if text]
    cut = choice.finish_reason == "length"
    calls = message.tool_calls or []
    content += [_called(call, f"toolu_{expected.fallback_id}_{i}", cut=cut) for i, call in enumerate(calls)]
    reason = stop_reason(choice.finish_reason, called=bool(calls), refused=bool(message.refusal))
    return encode_json(
        message_object(
            completion.id or expected.fallback_id,
            completion.model or expected.model,
            content,
            reason,
            usage_of(completion.usage),
        )
    )


def _spoken(kind: str, text: str) -> dict[str, object]:
    return {"type": kind, kind: text, "signature": ""} if kind == "thinking" else {"type": kind, kind: text}


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _called(call: ToolCallPiece, fallback_id: str, *, cut: bool) -> dict[str, object]:
    """A call; of one that was cut off by the limit of tokens, no argument is taken for what was meant."""
    if call.function is None or not call.function.name:
        raise ValueError("a tool call without a name")
    arguments = call.function.arguments or ""
    try:
        given = _decode_object(arguments) if arguments.strip() else {}
    except (msgspec.DecodeError, RecursionError) as error:
        if not cut:
            raise ValueError("the arguments of a tool call are no JSON object") from error
        given = {}
    return {"type": "tool_use", "id": call.id or fallback_id, "name": call.function.name, "input": given}


class MessageStream:
    """One streamed answer on its way to the caller; see `StreamTranslation`."""

    __slots__ = (
        "_ended",
        "_expected",
        "_finish_reason",
        "_framer",
        "_queue",
        "_refused",
        "_shows_thinking",
        "_started",
        "_stopped",
        "_usage",
    )

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._shows_thinking = expected.shows_thinking
        self._framer = SseFramer()
        self._queue = BlockQueue(expected.fallback_id)
        self._started = False
        self._refused = False
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._ended = False  # message_delta is out
        self._stopped = False  # message_stop is out

    def feed(self, piece: bytes) -> bytes:
        """Whole events for what is complete now. UpstreamError and UpstreamFailed as the protocol says."""
        events: list[bytes] = []
        try:
            for event in split_events(self._framer.feed(piece)):
                events.append(self._translated(event))  # noqa: PERF401 - what came before an error must be kept
        except UpstreamError as error:
            error.partial = b"".join(events)
            raise
        return b"".join(events)

    def end(self) -> bytes:
        """The events that were held back, once the server has closed a stream without [DONE].

        Nothing when it never said why it ended: then it broke off.
        """
        return b"" if self._finish_reason is None else self._stop()

    def _translated(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None or self._stopped or not (data := data.strip()):
            return b""
        if data == b"[DONE]":
            return self._stop()
        try:
            chunk = read_chunk(data)
        except ValueError:
            raise UpstreamFailed(
                "The model's server sent an event that is no chunk of a chat.", reason=Reason.UPSTREAM_INVALID
            ) from None
        if chunk.error and bytes(chunk.error) != b"null":
            raise _reported(bytes(chunk.error))
        if self._ended:
            return b""
        events = b"" if self._started or not chunk.choices else self._start(chunk)
        for choice in chunk.choices:
            if choice.index == 0:
                events += self._of_choice(choice)
        if chunk.usage is not None:
            self._usage = usage_of(chunk.usage) or self._usage
            if self._finish_reason is not None and self._usage is not None:
                events += self._end()
        return events

    def _of_choice(self, choice: ChunkChoice) -> bytes:
        events = b"" if choice.delta is None else self._of_delta(choice.delta)
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
            events += self._queue.close()
        return events

    def _of_delta(self, delta: Delta) -> bytes:
        queue = self._queue
        events = b""
        if delta.reasoning_content and self._shows_thinking:
            events += queue.text("thinking", delta.reasoning_content)
        if delta.content:
            events += queue.text("text", delta.content)
        if delta.refusal:
            self._refused = True
            events += queue.text("text", delta.refusal)
        if delta.tool_calls:
            for piece in delta.tool_calls:
                events += queue.call(piece)
        return events

    def _start(self, chunk: Chunk) -> bytes:
        self._started = True
        return message_start(chunk.id or self._expected.fallback_id, chunk.model or self._expected.model)

    def _end(self) -> bytes:
        """Close what is open, and say why the answer ended."""
        if self._ended:
            return b""
        self._ended = True
        events = b"" if self._started else self._start(Chunk())
        reason = stop_reason(self._finish_reason, called=self._queue.calls > 0, refused=self._refused)
        return events + self._queue.close() + message_delta(reason, self._usage)

    def _stop(self) -> bytes:
        if self._stopped:
            return b""
        self._stopped = True
        return self._end() + DONE


def _reported(raw: bytes) -> UpstreamFailed:
    """What a chunk's error says; its words are not for the caller."""
    failure = UpstreamFailed("The model's server reported an error within the stream.", reason=Reason.UPSTREAM_ERROR)
    failure.upstream_status = error_status(raw)
    return failure


class _ErrorObject(msgspec.Struct):
    message: str | None = None
    code: int | str | None = None


class _ErrorBody(msgspec.Struct):
    """`detail` and a bare `message` are what FastAPI and older vLLM answer."""

    error: _ErrorObject | str | None = None
    message: str | None = None
    detail: str | None = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def translate_error(status: int, body: bytes) -> bytes:
    """The body of an error answer, its type chosen by status; the server's own words where they can be found.

    `code`, which Anthropic's errors do not have, is the server's: some errors are told apart by nothing else.
    """
    try:
        said = _decode_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        said = _ErrorBody()
    own = said.error.message if isinstance(said.error, _ErrorObject) else said.error
    message = own or said.message or said.detail or f"The model's server answered with status {status}."
    error: dict[str, object] = {"type": error_type(status), "message": message}
    if isinstance(said.error, _ErrorObject) and said.error.code is not None:
        error["code"] = said.error.code
    return encode_json({"type": "error", "error": error})
