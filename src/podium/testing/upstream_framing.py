"""How a scripted answer lies on the wire."""

import gzip
from collections.abc import Iterator
from http import HTTPStatus

from podium.testing.behaviour import Behaviour
from podium.testing.openai_answers import Answer

__all__ = ["Framing"]


class Framing:
    """The bytes of one answer: `head`, the `pieces` of its body until the cut, each as `framed`, and its `end`."""

    def __init__(self, answer: Answer, behaviour: Behaviour) -> None:
        self._answer = answer
        self._behaviour = behaviour
        self._form = behaviour.framing
        if self._form == "natural":
            self._form = "chunked" if answer.streamed else "length"
        self._body = (gzip.compress(b"".join(answer.pieces)),) if behaviour.gzip else answer.pieces

    def head(self) -> bytes:
        """Interim answers, status line and headers."""
        behaviour = self._behaviour
        interim = "".join(f"{_status_line('1.1', status)}\r\n" for status in behaviour.interim)
        headers = [("content-type", self._answer.content_type), *behaviour.headers]
        if behaviour.gzip:
            headers.append(("content-encoding", "gzip"))
        if self._form == "chunked":
            headers.append(("transfer-encoding", "chunked"))
        elif self._form == "length":
            headers.append(("content-length", str(sum(map(len, self._body)))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{interim}{_status_line(behaviour.http_version, self._answer.status)}{lines}\r\n".encode()

    def pieces(self) -> Iterator[bytes]:
        """What is sent of the body, as it is cut into writes."""
        cut = self._behaviour.cut
        if cut and cut.at in self._answer.marks and cut.how != "error_event":
            yield from self._body[: self._answer.marks[cut.at]]
        elif self._answer.streamed:
            yield from self._body
        elif self._body:
            yield b"".join(self._body)

    def framed(self, piece: bytes) -> bytes:
        """A piece, in a chunk of its own when the answer is chunked."""
        if self._form != "chunked":
            return piece
        return b"%x%b\r\n%b\r\n" % (len(piece), self._behaviour.chunk_extension.encode(), piece)

    def end(self) -> bytes:
        """What follows a body that is not cut."""
        if self._form != "chunked":
            return self._behaviour.surplus
        trailers = "".join(f"{name}: {value}\r\n" for name, value in self._behaviour.trailers)
        return f"0\r\n{trailers}\r\n".encode() + self._behaviour.surplus


def _status_line(version: str, status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # servers use others, too, as 529
        phrase = "Scripted"
    return f"HTTP/{version} {status} {phrase}\r\n"
