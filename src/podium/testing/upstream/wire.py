"""Answers as pieces, and pieces as bytes."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

__all__ = ["Answer", "Form", "Headers", "Part", "Piece", "encode", "frame", "json_answer", "stream_answer"]

Headers = tuple[tuple[str, str], ...]

encode = msgspec.json.Encoder().encode

_STRING = 7  # the type of a header's value


class Part(IntEnum):
    """What a piece of an answer is."""

    OPENING = 0  # before the first content
    CONTENT = 1
    TOOL = 2  # content, too
    BETWEEN = 3  # the end of a block and the start of the next
    USAGE = 4  # tells the usage, and perhaps why the answer ended
    END = 5
    WHOLE = 6  # a body that is no stream


class Form(IntEnum):
    """How the pieces of an answer are framed."""

    JSON = 0
    SSE = 1
    SSE_CRLF = 2  # Google's servers end lines so
    EVENT_STREAM = 3  # Amazon's frames
    RAW = 4


class Piece(NamedTuple):
    """One event: its kind, its name where the protocol has names, and its JSON."""

    part: Part
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is sent."""

    status: int
    form: Form
    content_type: str
    pieces: tuple[Piece, ...]
    headers: Headers = ()

    @property
    def streamed(self) -> bool:
        """True when it is sent event by event."""
        return self.form in {Form.SSE, Form.SSE_CRLF, Form.EVENT_STREAM}


_TYPES = {
    Form.SSE: "text/event-stream; charset=utf-8",
    Form.SSE_CRLF: "text/event-stream",
    Form.EVENT_STREAM: "application/vnd.amazon.eventstream",
}


def json_answer(value: Any, headers: Headers = (), *, status: int = 200) -> Answer:
    """A whole answer."""
    return Answer(status, Form.JSON, "application/json", (Piece(Part.WHOLE, "", encode(value)),), headers)


def stream_answer(form: Form, pieces: Iterable[Piece], headers: Headers = ()) -> Answer:
    """A stream."""
    return Answer(200, form, _TYPES[form], tuple(pieces), headers)


def frame(form: Form, piece: Piece) -> bytes:
    """A piece as it lies in the body."""
    if form is Form.SSE:
        head = f"event: {piece.name}\ndata: ".encode() if piece.name else b"data: "
        return b"%b%b\n\n" % (head, piece.payload)
    if form is Form.SSE_CRLF:
        return b"data: %b\r\n\r\n" % piece.payload
    if form is Form.EVENT_STREAM:
        return _message(piece)
    return piece.payload


def _message(piece: Piece) -> bytes:
    """Lengths, their CRC, headers, payload, the CRC of all: the framing of `application/vnd.amazon.eventstream`."""
    kind = "exception" if piece.name.endswith("Exception") else "event"
    named = ((f":{kind}-type", piece.name), (":content-type", "application/json"), (":message-type", kind))
    headers = b"".join(_header(name, value) for name, value in named)
    prelude = struct.pack(">II", 16 + len(headers) + len(piece.payload), len(headers))
    body = b"%b%b%b%b" % (prelude, struct.pack(">I", zlib.crc32(prelude)), headers, piece.payload)
    return body + struct.pack(">I", zlib.crc32(body))


def _header(name: str, value: str) -> bytes:
    return struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), _STRING, len(value), value.encode())
