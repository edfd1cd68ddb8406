"""Amazon's event stream, `application/vnd.amazon.eventstream`: bytes -> frames. No I/O.

A frame is a prelude (its length, the length of its headers, their checksum), headers, a payload, and a checksum
over all that came before. Nothing of a frame is believed before its checksum was right.
Reference: Smithy's specification, "Amazon Event Stream".
"""

import struct
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason

__all__ = ["EventStreamDecoder", "Frame", "HeaderValue", "Kind", "read_headers"]

HeaderValue = bool | int | str | bytes

_MAX_FRAME_BYTES = 8 * 1024 * 1024  # the format allows 16 MiB; no known answer comes near
_MAX_HEADER_BYTES = 128 * 1024  # the format's own limit
_PRELUDE = struct.Struct("!III")
_U32 = struct.Struct("!I")
_U16 = struct.Struct("!H")
_FRAME_OVERHEAD = _PRELUDE.size + _U32.size

# Header types with a value of fixed size; 0 and 1 are true and false, 6 and 7 bytes and text behind their length.
_TRUE, _FALSE, _BYTES, _TEXT, _UUID = 0, 1, 6, 7, 9
_INTEGERS = {2: struct.Struct("!b"), 3: struct.Struct("!h"), 4: struct.Struct("!i"), 5: struct.Struct("!q")}
_INTEGERS[8] = _INTEGERS[5]  # a time stamp, in milliseconds
_UUID_SIZE = 16


class Kind(NamedTuple):
    """What a frame's headers say it is."""

    message_type: str  # event, exception or error
    name: str  # of the event, the exception or the error
    error_message: str  # only errors have it


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    payload: bytes


class EventStreamDecoder:
    """Cuts a byte stream into frames. Keeps what is not complete yet.

    `failure` is why nothing more can be read, once frames before it have been given out.
    """

    __slots__ = ("_needed", "_rest", "failure")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0
        self.failure: UpstreamFailed | None = None

    @property
    def unfinished(self) -> bool:
        """True when a frame has begun that is not complete."""
        return bool(self._rest)

    def feed(self, piece: bytes) -> list[Frame]:
        """All frames that are complete now. Pieces are cut anywhere.

        UpstreamFailed: a checksum is wrong, a frame is larger than 8 MiB, or its headers cannot be read. When good
        frames came before it in the same piece, they are returned, `failure` is set, and the next piece raises it.
        """
        if self.failure is not None:
            raise self.failure
        if not self._rest:
            return self._cut(piece)
        self._rest += piece
        if len(self._rest) < self._needed:
            return []
        return self._cut(bytes(self._rest))

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        try:
            self._cut_into(frames, data)
        except UpstreamFailed as failure:
            if not frames:
                raise
            self.failure = failure
        return frames

    def _cut_into(self, frames: list[Frame], data: bytes) -> None:
        position, size = 0, len(data)
        self._needed = _PRELUDE.size
        while size - position >= _PRELUDE.size:
            length, header_length, checksum = _PRELUDE.unpack_from(data, position)
            if crc32(data[position : position + 8]) != checksum:
                raise _unreadable("a checksum is wrong")
            if length > _MAX_FRAME_BYTES or header_length > _MAX_HEADER_BYTES:
                raise _unreadable("a frame is too large")
            if length < header_length + _FRAME_OVERHEAD:
                raise _unreadable("the lengths in a frame contradict each other")
            end = position + length
            if end > size:
                self._needed = length
                break
            if crc32(data[position : end - 4]) != _U32.unpack_from(data, end - 4)[0]:
                raise _unreadable("a checksum is wrong")
            payload_at = position + _PRELUDE.size + header_length
            kind = _kind_of(data[position + _PRELUDE.size : payload_at])
            frames.append(Frame(kind, data[payload_at : end - 4]))
            position = end
        self._rest = bytearray(data[position:]) if position < size else bytearray()


@lru_cache(maxsize=256)  # all events of one kind have the same header bytes
def _kind_of(data: bytes) -> Kind:
    headers = read_headers(data)
    message_type = _text(headers, ":message-type")
    if message_type == "event":
        return Kind(message_type, _text(headers, ":event-type"), "")
    if message_type == "exception":
        return Kind(message_type, _text(headers, ":exception-type"), "")
    if message_type == "error":
        return Kind(message_type, _text(headers, ":error-code"), str(headers.get(":error-message", "")))
    raise _unreadable("a frame is of an unknown type")


def _text(headers: dict[str, HeaderValue], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, str):
        raise _unreadable(f"a frame has no header {name}")
    return value


def read_headers(data: bytes) -> dict[str, HeaderValue]:
    """The headers of a frame; time stamps are milliseconds, a UUID its 16 bytes. UpstreamFailed: they are broken."""
    headers: dict[str, HeaderValue] = {}
    position = 0
    try:
        while position < len(data):
            name_end = position + 1 + data[position]
            name = data[position + 1 : name_end].decode()
            value, position = _value(data, name_end)
            if position > len(data) or not name or name in headers:
                raise _unreadable("the headers of a frame are broken")
            headers[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        raise _unreadable("the headers of a frame are broken") from None
    return headers


def _value(data: bytes, position: int) -> tuple[HeaderValue, int]:
    """A header's value, whose type is at `position`, and where the next header begins."""
    kind = data[position]
    position += 1
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, position
    if (integer := _INTEGERS.get(kind)) is not None:
        return integer.unpack_from(data, position)[0], position + integer.size
    if kind == _UUID:
        return data[position : position + _UUID_SIZE], position + _UUID_SIZE
    if kind in (_BYTES, _TEXT):
        start = position + _U16.size
        end = start + _U16.unpack_from(data, position)[0]
        value = data[start:end]
        return (value.decode() if kind == _TEXT else value), end
    raise _unreadable("a header of a frame is of an unknown type")


def _unreadable(why: str) -> UpstreamFailed:
    return UpstreamFailed(
        "The model's server sent a stream that cannot be read.",
        reason=Reason.UPSTREAM_INVALID,
        hint=f"Amazon's event stream: {why}.",
    )
