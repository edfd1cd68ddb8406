"""A streamed answer of AWS Bedrock's ConverseStream -> chunks of a chat completion."""

from collections.abc import Callable

import msgspec

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.wire.bedrock.answers import SERVER_TOOL, TokenUsage, finish_reason
from podium.wire.bedrock.errors import stream_error
from podium.wire.bedrock.event_stream import EventStreamDecoder, Frame
from podium.wire.chat.writer import ChunkWriter, CompletionHead
from podium.wire.openai import DONE

__all__ = ["BedrockStream"]


class _Reasoning(msgspec.Struct):
    text: str | None = None


class _ToolPiece(msgspec.Struct):
    input: str = ""


class _Delta(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolPiece | None = None
    reasoning_content: _Reasoning | None = None


class _BlockDelta(msgspec.Struct, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _ToolStart(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    type: str = ""


class _Start(msgspec.Struct, rename="camel"):
    tool_use: _ToolStart | None = None


class _BlockStart(msgspec.Struct, rename="camel"):
    start: _Start
    content_block_index: int = 0


class _MessageStart(msgspec.Struct):
    role: str = "assistant"


class _BlockStop(msgspec.Struct, rename="camel"):
    content_block_index: int = 0


class _Stop(msgspec.Struct, rename="camel"):
    stop_reason: str = "end_turn"


class _Metadata(msgspec.Struct):
    usage: TokenUsage | None = None


_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_start = msgspec.json.Decoder(_BlockStart).decode
_decode_message_start = msgspec.json.Decoder(_MessageStart).decode
_decode_block_stop = msgspec.json.Decoder(_BlockStop).decode
_decode_stop = msgspec.json.Decoder(_Stop).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode

_MAX_CALLS = 1024  # of one answer; more is no answer


class _Call:
    """A tool call that is being written; `index` counts the calls of the answer."""

    __slots__ = ("has_arguments", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.has_arguments = False


class BedrockStream:
    """One streamed answer (podium.wire.translation.StreamTranslation).

    [DONE] comes when both the reason why the answer ended and the metadata, which are last, have arrived.
    """

    __slots__ = ("_begun", "_calls", "_counted", "_decoder", "_num_calls", "_over", "_stopped", "_usage", "_writer")

    def __init__(self, head: CompletionHead) -> None:
        self._writer = ChunkWriter(head)
        self._decoder = EventStreamDecoder()
        self._calls: dict[int, _Call] = {}  # by content block
        self._num_calls = 0
        self._begun = False
        self._stopped = False
        self._counted = False
        self._usage: Usage | None = None
        self._over = False

    def feed(self, piece: bytes) -> bytes:
        """Whole events for what is complete now; after [DONE] or an error, nothing.

        UpstreamError: an exception inside the stream; UpstreamFailed: it cannot be read.
        """
        if self._over:
            return b""
        said: list[bytes] = []
        try:
            for frame in self._decoder.feed(piece):
                said.append(self._translate(frame))  # noqa: PERF401 - what came before a failure is kept
            if self._decoder.failure is not None and not self._over:
                raise self._decoder.failure
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise self._failed(_unreadable(str(error)), said) from error
        except UpstreamError as error:
            raise self._failed(error, said) from error.__cause__
        return said[0] if len(said) == 1 else b"".join(said)

    def _failed(self, error: UpstreamError, said: list[bytes]) -> UpstreamError:
        self._over = True
        error.partial = b"".join(said)
        return error

    def _translate(self, frame: Frame) -> bytes:
        kind, payload = frame
        if self._over:
            return b""
        if kind.message_type != "event":
            raise stream_error(kind.name, payload or msgspec.json.encode({"message": kind.error_message}))
        if kind.name == "contentBlockDelta":
            return self._delta(payload)
        handler = _HANDLERS.get(kind.name)
        return handler(self, payload) if handler is not None else b""  # a kind that is newer than we are

    def _start(self, payload: bytes) -> bytes:
        _decode_message_start(payload)  # whose turn it is, is known; that it can be read, is not
        return self._begin()

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._writer.role()

    def _delta(self, payload: bytes) -> bytes:
        event = _decode_delta(payload)
        delta = event.delta
        start = b"" if self._begun else self._begin()
        if delta.text is not None:
            return start + self._writer.text(delta.text) if delta.text else start
        if (reasoning := delta.reasoning_content) is not None:
            return start + self._writer.reasoning(reasoning.text) if reasoning.text else start  # else a signature
        if delta.tool_use is not None and delta.tool_use.input:
            call = self._calls.get(event.content_block_index)
            if call is not None:  # else Bedrock's own tool
                call.has_arguments = True
                return start + self._writer.tool_arguments(call.index, delta.tool_use.input)
        return start

    def _block_start(self, payload: bytes) -> bytes:
        event = _decode_start(payload)
        start = self._begin()
        tool = event.start.tool_use
        if tool is None or tool.type == SERVER_TOOL:
            return start
        if self._num_calls >= _MAX_CALLS:
            raise _unreadable("too many tool calls")
        call = self._calls[event.content_block_index] = _Call(self._num_calls)
        self._num_calls += 1
        return start + self._writer.tool_start(call.index, tool.tool_use_id, tool.name)

    def _block_stop(self, payload: bytes) -> bytes:
        call = self._calls.pop(_decode_block_stop(payload).content_block_index, None)
        if call is None or call.has_arguments:
            return b""
        return self._writer.tool_arguments(call.index, "{}")  # nothing was said: no arguments, which is an object

    def _stop(self, payload: bytes) -> bytes:
        reason = finish_reason(_decode_stop(payload).stop_reason, calls=self._num_calls > 0)
        self._stopped = True
        return self._begin() + self._writer.finish(reason) + self._end()

    def _metadata(self, payload: bytes) -> bytes:
        usage = _decode_metadata(payload).usage
        self._usage = usage.to_usage() if usage is not None else None
        self._counted = True
        return self._end()

    def _end(self) -> bytes:
        """The last events, once all is said."""
        if not self._counted or not self._stopped:
            return b""
        self._over = True
        return (self._writer.usage(self._usage) if self._usage is not None else b"") + DONE


_HANDLERS: dict[str, Callable[[BedrockStream, bytes], bytes]] = {
    "messageStart": BedrockStream._start,  # noqa: SLF001 - the class's own table
    "contentBlockStart": BedrockStream._block_start,  # noqa: SLF001 - the same
    "contentBlockStop": BedrockStream._block_stop,  # noqa: SLF001 - the same
    "messageStop": BedrockStream._stop,  # noqa: SLF001 - the same
    "metadata": BedrockStream._metadata,  # noqa: SLF001 - the same
}


def _unreadable(why: str) -> UpstreamFailed:
    return UpstreamFailed(
        "The model's server sent a stream that cannot be read.",
        reason=Reason.UPSTREAM_INVALID,
        hint=f"AWS Bedrock: {why}.",
    )
