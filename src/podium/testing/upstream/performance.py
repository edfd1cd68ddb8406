"""An answer as it goes out: bytes and pauses, and how it ends. Pure."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus

from podium.testing.upstream.behaviours import At, Behaviour, Cut, How, Spoil
from podium.testing.upstream.wire import Answer, Form, Part, Piece, frame

__all__ = ["Performance", "perform"]

_HUGE_BODY = 65 << 20  # bytes; the largest whole answer that Podium takes is 64 MiB
_HUGE_EVENT = 25 << 20  # the largest event is 8 MiB, the largest frame 24 MiB by botocore's count
_BLOCK = 1 << 20
_CONTENT = (Part.CONTENT, Part.TOOL)
_HTML = b"<!doctype html><html><title>It works!</title></html>"
_EVENT_BLANKS = {Form.SSE: b"\n\n", Form.SSE_CRLF: b"\r\n\r\n"}
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Performance:
    """What to do, step by step: wait so long, then write. The first write is the head."""

    steps: list[tuple[float, bytes]]
    ending: How | None = None  # None or FINISH: the connection goes on
    write_size: int | None = None

    @property
    def at_once(self) -> bool:
        """True when it can be written in one go."""
        return self.ending is None and self.write_size is None and not any(wait for wait, _ in self.steps)


def perform(answer: Answer, behaviour: Behaviour, error: Piece, *, latency_s: float = 0.0) -> Performance:
    """How to send an answer; `error` is what stands in its stream in case of How.ERROR."""
    cut, write_size = behaviour.cut, behaviour.write_size
    before_content_s = behaviour.before_content_s + latency_s
    if cut is not None and cut.at is At.START:
        return Performance([(behaviour.before_head_s + before_content_s, b"")], cut.how)
    answer = _changed(answer, behaviour.spoil)
    if not answer.streamed:
        wait_s = behaviour.before_head_s + before_content_s  # a server knows all of it before it begins
        (head, *body), ending = _whole(answer, behaviour)
        return Performance([(wait_s, head), *((0.0, piece) for piece in body)], ending, write_size)
    return Performance(*_stream(answer, behaviour, error, before_content_s), write_size)


def _head(answer: Answer, length: int | None) -> bytes:
    """`length` None: in chunks."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    status = f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Simulated')}"
    return f"{status}\r\ncontent-type: {answer.content_type}\r\n{lines}{framing}\r\n\r\n".encode()


# Whole answers.


def _whole(answer: Answer, behaviour: Behaviour) -> tuple[list[bytes], How | None]:
    """Head and body, and how to break off."""
    body = b"".join(piece.payload for piece in answer.pieces)
    cut = behaviour.cut
    if behaviour.spoil is Spoil.OVERSIZED:
        blocks = -(-(behaviour.size or _HUGE_BODY) // _BLOCK)
        padded = [body[:-1], *([b" " * _BLOCK] * blocks), body[-1:]]
        return [_head(answer, sum(map(len, padded))), *padded], None
    if behaviour.spoil is Spoil.JSON:
        body = body[:-2] + b",,"
    if cut is None or cut.how is How.ERROR:
        return [_head(answer, len(body)), body], None
    part = body[: _offset(body, cut)]
    if cut.how is How.FINISH:
        return [_head(answer, None), b"%x\r\n%b\r\n" % (len(part), part), b"0\r\n\r\n"], None
    return [_head(answer, len(body)), part], cut.how


def _offset(body: bytes, cut: Cut) -> int:
    match cut.at:
        case At.HEAD:
            return 0
        case At.BEFORE_CONTENT:
            return len(body) // 4
        case At.FIRST_TOKEN:
            return len(body) // 3
        case At.USAGE:
            found = body.rfind(b'"usage')
            return found if found > 0 else len(body) * 3 // 4
        case At.END:
            return len(body) - 1
    return len(body) // 2


# Streams.


def _stream(
    answer: Answer, behaviour: Behaviour, error: Piece, before_content_s: float
) -> tuple[list[tuple[float, bytes]], How | None]:
    """Head and events, each in a chunk of its own, and how to break off."""
    pieces, cut = answer.pieces, behaviour.cut
    framed, ending = list(_framed(answer, behaviour)), None
    if cut is not None:
        framed = _cut(pieces, framed, cut.at)
        framed += [frame(answer.form, error)] if cut.how is How.ERROR else []
        ending = None if cut.how in {How.ERROR, How.FINISH} else cut.how
    steps = [(behaviour.before_head_s, _head(answer, None))]
    first = _first_content(pieces)
    for number, data in enumerate(framed):
        wait_s = before_content_s if number == first else behaviour.between_s if number > first else 0.0
        steps.append((wait_s, b"%x\r\n%b\r\n" % (len(data), data)))
    if ending is None:
        steps.append((0.0, b"0\r\n\r\n"))
    return steps, ending


def _first_content(pieces: tuple[Piece, ...]) -> int:
    return next((number for number, piece in enumerate(pieces) if piece.part in _CONTENT), 0)


def _middle(pieces: tuple[Piece, ...]) -> int:
    content = [number for number, piece in enumerate(pieces) if piece.part in _CONTENT]
    return content[len(content) // 2] if content else len(pieces) - 1


def _cut(pieces: tuple[Piece, ...], framed: list[bytes], at: At) -> list[bytes]:
    """What is sent, the last of it perhaps only half of an event."""
    parts = [piece.part for piece in pieces]
    index, inside = len(pieces) - 1, True
    match at:
        case At.HEAD:
            index, inside = 0, False
        case At.BEFORE_CONTENT:
            index, inside = _first_content(pieces), False
        case At.FIRST_TOKEN:
            index, inside = _first_content(pieces) + 1, False
        case At.TOOL_CALL if Part.TOOL in parts:
            tools = [number for number, part in enumerate(parts) if part is Part.TOOL]
            index, inside = tools[len(tools) // 2], len(tools) == 1
        case At.MIDDLE | At.TOOL_CALL:
            index, inside = _middle(pieces), False
        case At.INSIDE:
            index = _middle(pieces)
        case At.USAGE if Part.USAGE in parts:
            index, inside = parts.index(Part.USAGE), False
        case _ if Part.END in parts:
            index, inside = parts.index(Part.END), False
    half = framed[index][: len(framed[index]) // 2] if inside else b""
    return [*framed[:index], half] if half else framed[:index]


# What is wrong with the bytes.


def _changed(answer: Answer, spoil: Spoil | None) -> Answer:
    if spoil is Spoil.HTML:
        return Answer(200, Form.RAW, "text/html", (Piece(Part.WHOLE, "", _HTML),))
    if spoil is Spoil.EMPTY:
        return replace(answer, pieces=())
    if spoil is Spoil.CONTENT_TYPE:
        return replace(answer, content_type="application/json" if answer.streamed else "text/event-stream")
    return answer


def _framed(answer: Answer, behaviour: Behaviour) -> Iterator[bytes]:
    spoil, form = behaviour.spoil, answer.form
    at = -1
    if spoil is not None and answer.pieces:
        at = 0 if spoil is Spoil.JSON_FIRST else _middle(answer.pieces)
    for number, piece in enumerate(answer.pieces):
        yield _spoiled(form, piece, spoil, behaviour.size) if number == at and spoil else frame(form, piece)


def _spoiled(form: Form, piece: Piece, spoil: Spoil, size: int | None) -> bytes:
    payload = piece.payload
    if spoil in {Spoil.JSON, Spoil.JSON_FIRST}:
        payload = payload[: len(payload) // 2]
    elif spoil is Spoil.OVERSIZED:
        payload = payload[:-1] + b" " * (size or _HUGE_EVENT) + payload[-1:]
    data = frame(form, piece._replace(payload=payload))
    match spoil:
        case Spoil.SSE if form in _EVENT_BLANKS:
            half = len(data) // 2
            return data[:half] + _EVENT_BLANKS[form] + data[half:]
        case Spoil.CRC:
            return data[:-1] + bytes((data[-1] ^ 1,))
        case Spoil.PRELUDE_CRC:
            return data[:11] + bytes((data[11] ^ 1,)) + data[12:]
        case Spoil.FRAME_LENGTH:
            prelude = struct.pack(">I", 1 << 30) + data[4:8]
            return prelude + struct.pack(">I", zlib.crc32(prelude)) + data[12:]
    return data
