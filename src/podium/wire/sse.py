"""Server-sent events as bytes: framing only, no I/O (WHATWG HTML, section 9.2.6).

Events are kept as the bytes they came in. A relay passes whole events on: what has arrived of an unfinished
event waits here, so that whatever is said next starts on a clean boundary.
"""

from collections.abc import Iterator

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason

__all__ = ["SseFramer", "event_data", "split_events"]

_MAX_EVENT_BYTES = 8 * 1024 * 1024  # a tool call or an image in one event; no known provider comes near


class SseFramer:
    """Cuts a byte stream at event boundaries."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def unfinished(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return self._rest

    def feed(self, piece: bytes) -> bytes:
        r"""All events that are complete now, as they came; b"" when none is.

        UpstreamFailed: an event larger than 8 MiB.
        """
        if not self._rest and piece.endswith(b"\n\n"):
            return piece
        data = self._rest + piece
        end = _last_boundary(data)
        self._rest = data[end:]
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise UpstreamFailed("The model's server sent an event that is too large.", reason=Reason.UPSTREAM_INVALID)
        return data[:end]


def _last_boundary(data: bytes) -> int:
    """The index after the last blank line; 0 when there is none."""
    end = data.rfind(b"\n\n")
    end = end + 2 if end >= 0 else 0
    if b"\r" not in data:
        return end
    for mark in (b"\n\r\n", b"\r\r"):  # b"\r\n\r\n" ends in the first of them
        found = data.rfind(mark)
        end = max(end, found + len(mark) if found >= 0 else 0)
    return end


def split_events(block: bytes) -> Iterator[bytes]:
    """The single events of a block of whole events, each with its blank line."""
    start = 0
    if b"\r" not in block:
        while (end := block.find(b"\n\n", start)) >= 0:
            yield block[start : end + 2]
            start = end + 2
        return
    for end in _boundaries(block):
        yield block[start:end]
        start = end


def _boundaries(block: bytes) -> Iterator[int]:
    """The index after each blank line, line ends being CR, LF or CRLF."""
    position, blank = 0, True
    while position < len(block):
        byte = block[position]
        if byte not in b"\r\n":
            blank = False
            position += 1
            continue
        position += 2 if block[position : position + 2] == b"\r\n" else 1
        if blank:
            yield position
        blank = True


def event_data(event: bytes) -> bytes | None:
    """The event's data, lines joined by a line feed; None when it has none (a comment, say)."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and b"\r" not in event:  # noqa: PLR2004 - the usual shape
        return event[6:-2]
    lines = [line[5:].removeprefix(b" ") for line in _lines(event) if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _lines(event: bytes) -> list[bytes]:
    return event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
