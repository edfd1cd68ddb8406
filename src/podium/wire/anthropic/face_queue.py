"""The content blocks of a streamed answer, in order.

Rules
1. One block is open at a time, as the protocol has it. Text and thinking end where something else begins.
2. A tool call ends where something else begins and its arguments are a whole JSON object by then. Otherwise what
   begins waits, with all that follows, and comes in order at the end: chunks of parallel calls may interleave.
3. A server may give all calls the same index, or none: a new id with a name begins a new call.
"""

from collections import deque
from typing import Literal

import msgspec

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.anthropic.face_writer import TAIL, block_start, block_stop, delta_head
from podium.wire.chat.answers import ToolCallPiece
from podium.wire.openai import encode_json

__all__ = ["BlockQueue"]

_MOST_CALLS = 128
_MOST_WAITING_CHARACTERS = 4 * 1024 * 1024  # of arguments, and of what waits behind a call

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Block:
    """A block that is open or waits. `pieces` are kept of what waits, and of all calls."""

    __slots__ = ("call_id", "closed", "kind", "name", "pieces")

    def __init__(self, kind: Literal["text", "thinking", "tool_use"], call_id: str = "", name: str = "") -> None:
        self.kind = kind
        self.call_id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.closed = False

    def start(self) -> dict[str, object]:
        """The block as it begins."""
        match self.kind:
            case "text":
                return {"type": "text", "text": ""}
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_use":
                return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": {}}

    def is_whole(self) -> bool:
        """True when nothing more can follow."""
        if self.kind != "tool_use":
            return True
        try:
            _decode_object("".join(self.pieces))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class BlockQueue:
    """Takes what a chat says piece by piece; gives events of the Messages API."""

    __slots__ = ("_blocks", "_calls", "_delta", "_fallback_id", "_index", "_kept", "_speaking", "calls")

    def __init__(self, fallback_id: str) -> None:
        self._fallback_id = fallback_id
        self._blocks: deque[_Block] = deque()  # the first one is open
        self._calls: dict[int, _Block] = {}
        self._index = -1  # of the open block, or of the last one
        self._delta = b""  # the head of the open block's deltas
        self._speaking = ""  # the kind of the open block when it is text or thinking, and nothing waits
        self._kept = 0
        self.calls = 0  # that have begun

    def text(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        """Events for a piece of text or thinking."""
        if self._speaking == kind:
            return self._delta + encode_json(text) + TAIL
        blocks = self._blocks
        if len(blocks) > 1 and blocks[-1].kind == kind:
            self._keep(blocks[-1], text)
            return b""
        events = self._append(_Block(kind))
        if len(blocks) > 1:
            self._keep(blocks[-1], text)
            return events
        self._speaking = kind
        return events + self._delta + encode_json(text) + TAIL

    def call(self, piece: ToolCallPiece) -> bytes:
        """Events for a piece of a tool call. UpstreamFailed: it belongs to no call, or to one that was complete."""
        function = piece.function
        name, arguments = (function.name, function.arguments) if function is not None else (None, None)
        block = self._calls.get(piece.index)
        events = b""
        if block is None or (name and piece.id and piece.id != block.call_id):
            block = self._begin(piece, name)
            events = self._append(block)
        if not arguments:
            return events
        if block.closed:
            if arguments.isspace():
                return events
            raise _unreadable("more arguments for a tool call that was complete")
        self._keep(block, arguments)
        if block is self._blocks[0]:
            events += self._delta + encode_json(arguments) + TAIL
        return events

    def close(self) -> bytes:
        """Events for all that is open or waits."""
        events = b""
        while self._blocks:
            events += self._close_first()
        return events

    def _begin(self, piece: ToolCallPiece, name: str | None) -> _Block:
        if not name:
            raise _unreadable("a tool call without a name")
        if self.calls == _MOST_CALLS:
            raise _unreadable("too many tool calls")
        block = _Block("tool_use", piece.id or f"toolu_{self._fallback_id}_{self.calls}", name)
        self.calls += 1
        self._calls[piece.index] = block
        return block

    def _append(self, block: _Block) -> bytes:
        """Let a block follow the others; open it if all before it are whole."""
        self._speaking = ""
        self._blocks.append(block)
        if len(self._blocks) == 1:
            return self._open()
        events = b""
        while len(self._blocks) > 1 and self._blocks[0].is_whole():
            events += self._close_first()
        return events

    def _open(self) -> bytes:
        block = self._blocks[0]
        self._index += 1
        self._delta = delta_head(self._index, block.kind)
        events = block_start(self._index, block.start())
        if block.pieces:
            events += self._delta + encode_json("".join(block.pieces)) + TAIL
        return events

    def _close_first(self) -> bytes:
        self._blocks.popleft().closed = True
        self._speaking = ""
        events = block_stop(self._index)
        return events + self._open() if self._blocks else events

    def _keep(self, block: _Block, text: str) -> None:
        self._kept += len(text)
        if self._kept > _MOST_WAITING_CHARACTERS:
            raise _unreadable("tool calls that are too large")
        block.pieces.append(text)


def _unreadable(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The model's server sent {what}.", reason=Reason.UPSTREAM_INVALID)
