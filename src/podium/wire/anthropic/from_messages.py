"""Answers of Anthropic's Messages API as OpenAI's chat completions, whole and streamed.

Text blocks are joined, thinking becomes `reasoning_content` (its signature has no place in OpenAI's dialect), tool uses
become tool calls counted from 0. Blocks and events of kinds that are not known say nothing: the API adds kinds.
"""

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.anthropic.upstream_answers import (
    UNREADABLE,
    Block,
    Counts,
    Delta,
    Event,
    Start,
    decode_answer,
    decode_delta,
    decode_event,
)
from podium.wire.anthropic.upstream_errors import stream_error, translate_error
from podium.wire.chat.requests import FunctionCall, ToolCall
from podium.wire.chat.writer import ChunkWriter, CompletionHead, FinishReason, Spoken, completion_body
from podium.wire.openai import DONE
from podium.wire.sse import SseFramer, event_data, split_events

__all__ = ["MessagesStream", "translate_answer", "translate_error"]

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the answer is not whole: it could be gone on with
    "refusal": "content_filter",
}
_MOST_OPEN_CALLS = 1024
_DELTA_HEAD = b"event: content_block_delta\ndata: "
_DELTA_START = len(_DELTA_HEAD)
_DELTA_LINES = 3


def translate_answer(body: bytes, *, head: CompletionHead) -> bytes:
    """A whole answer as a chat completion; `head` stands in for an id and a model that it lacks.

    ValueError: it is no answer of the Messages API.
    """
    try:
        answer = decode_answer(body)
    except UNREADABLE as error:
        raise ValueError("not an answer of the Messages API") from error
    counts = Counts()
    counts.add(answer.usage)
    calls = [_call(block) for block in answer.content if block.type == "tool_use"]
    text = "".join(block.text or "" for block in answer.content if block.type == "text")
    refusal = answer.stop_details.explanation if answer.stop_details is not None else None
    spoken = Spoken(
        content=text or (None if calls or refusal else ""),
        reasoning="".join(block.thinking or "" for block in answer.content if block.type == "thinking"),
        refusal=refusal,
        tool_calls=calls,
    )
    finish = _finish_reason(answer.stop_reason, called=bool(calls))
    return completion_body(_head_of(answer.id, answer.model, head), spoken, finish, counts.usage())


def _call(block: Block) -> ToolCall:
    return ToolCall(
        id=block.id, function=FunctionCall(name=block.name, arguments=str(bytes(block.input) or b"{}", "utf-8"))
    )


def _finish_reason(stop_reason: str, *, called: bool) -> FinishReason:
    reason = _FINISH.get(stop_reason, "stop")
    return "stop" if reason == "tool_calls" and not called else reason


def _head_of(answer_id: str, model: str, head: CompletionHead) -> CompletionHead:
    return CompletionHead(id=answer_id or head.id, model=model or head.model, created_unix_s=head.created_unix_s)


class _Call:
    """A tool call that is being written."""

    __slots__ = ("index", "input", "written")

    def __init__(self, index: int, given: bytes) -> None:
        self.index = index
        self.input = given  # what its start gave; counts only when no piece follows
        self.written = False


class MessagesStream:
    """A streamed answer of the Messages API on its way to OpenAI's chunks.

    The finish reason, the usage and [DONE] go out together, when the API says that the message is over: of a stream
    that breaks off before, none of them was said.
    """

    __slots__ = ("_calls", "_counts", "_done", "_framer", "_head", "_num_calls", "_refusal", "_stop_reason", "_writer")

    def __init__(self, head: CompletionHead) -> None:
        self._head = head
        self._framer = SseFramer()
        self._writer: ChunkWriter | None = None
        self._calls: dict[int, _Call] = {}  # open ones, by the index of their block
        self._num_calls = 0
        self._counts = Counts()
        self._stop_reason: str | None = None
        self._refusal: str | None = None
        self._done = False

    def feed(self, piece: bytes) -> bytes:
        r"""Chunks for the events that are complete now; b"" when none says anything.

        UpstreamError: the API reported an error, with its status; UpstreamFailed: an event cannot be read.
        """
        block = self._framer.feed(piece)
        if not block:
            return b""
        said: list[bytes] = []
        try:
            for event in split_events(block):
                said.append(self._event(event))  # noqa: PERF401 - what came before a failure is kept
        except UNREADABLE as error:
            failure = UpstreamFailed(
                "The model's server sent an event that cannot be read.", reason=Reason.UPSTREAM_INVALID
            )
            failure.partial = b"".join(said)
            raise failure from error
        except UpstreamError as error:
            error.partial = b"".join(said)
            raise
        return b"".join(said)

    def _event(self, event: bytes) -> bytes:
        if self._done:
            return b""
        # Nearly all events are deltas; the short way through reads the usual shape of one.
        if event.startswith(_DELTA_HEAD) and event.count(b"\n") == _DELTA_LINES:
            delta = decode_delta(event[_DELTA_START:])
            return self._delta(delta.index, delta.delta)
        data = event_data(event)
        if data is None or data.strip() in {b"", b"[DONE]"}:  # some who imitate the API close as OpenAI does
            return b""
        return self._other(decode_event(data))

    def _other(self, event: Event) -> bytes:
        if event.error is not None:
            raise stream_error(event.error)
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._delta(event.index, event.delta)
            case "content_block_start" if event.content_block is not None:
                return self._block_start(event.index, event.content_block)
            case "content_block_stop":
                call = self._calls.pop(event.index, None)
                return self._close(call) if call is not None else b""
            case "message_start" if event.message is not None:
                return self._message_start(event.message)
            case "message_delta":
                self._message_delta(event)
            case "message_stop":
                return self._message_stop()
        return b""

    def _message_start(self, message: Start) -> bytes:
        self._counts.add(message.usage)
        self._head = _head_of(message.id, message.model, self._head)
        return self._begin()

    def _begin(self) -> bytes:
        """The chunk with the role, once."""
        if self._writer is not None:
            return b""
        self._writer = ChunkWriter(self._head)
        return self._writer.role()

    def _delta(self, index: int, delta: Delta) -> bytes:
        writer = self._writer
        if writer is None:
            return self._begin() + self._delta(index, delta)
        if delta.text and delta.type == "text_delta":
            return writer.text(delta.text)
        if delta.partial_json and (call := self._calls.get(index)) is not None:
            call.written = True
            return writer.tool_arguments(call.index, delta.partial_json)
        if delta.thinking and delta.type == "thinking_delta":
            return writer.reasoning(delta.thinking)
        return b""

    def _block_start(self, index: int, block: Block) -> bytes:
        start = self._begin()
        assert self._writer is not None
        if block.type == "text" and block.text:
            return start + self._writer.text(block.text)
        if block.type == "thinking" and block.thinking:
            return start + self._writer.reasoning(block.thinking)
        if block.type != "tool_use":
            return start
        if len(self._calls) >= _MOST_OPEN_CALLS:
            raise UpstreamFailed("The model's server began too many tool calls.", reason=Reason.UPSTREAM_INVALID)
        call = self._calls[index] = _Call(self._num_calls, bytes(block.input))
        self._num_calls += 1
        return start + self._writer.tool_start(call.index, block.id, block.name)

    def _close(self, call: _Call) -> bytes:
        """The arguments of a call that came with none in pieces; OpenAI's clients need at least {}."""
        assert self._writer is not None
        return b"" if call.written else self._writer.tool_arguments(call.index, str(call.input or b"{}", "utf-8"))

    def _message_delta(self, event: Event) -> None:
        self._counts.add(event.usage)
        if event.delta is None:
            return
        self._stop_reason = event.delta.stop_reason or self._stop_reason
        if event.delta.stop_details is not None:
            self._refusal = event.delta.stop_details.explanation

    def _message_stop(self) -> bytes:
        if self._stop_reason is None:
            raise UpstreamFailed("The model's server ended without a reason.", reason=Reason.UPSTREAM_INVALID)
        said = [self._begin(), *(self._close(call) for call in self._calls.values())]
        assert self._writer is not None
        if self._refusal:
            said.append(self._writer.refusal(self._refusal))
        said.append(self._writer.finish(_finish_reason(self._stop_reason, called=self._num_calls > 0)))
        if (usage := self._counts.usage()) is not None:
            said.append(self._writer.usage(usage))
        self._done = True
        return b"".join([*said, DONE])
