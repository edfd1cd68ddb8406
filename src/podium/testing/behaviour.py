"""How a scripted upstream answers: well in many ways, or badly on purpose.

`GOOD` and `BAD` name the ways that matter. A request for the model `scripted-<name>` is answered that way,
so that a whole Podium in other processes can be led through each of them.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BAD", "GOOD", "Behaviour", "Cut", "behaviour_of_model"]

Point = Literal["start", "head", "middle", "usage", "end"]
How = Literal["reset", "close", "stall", "error_event"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an answer breaks off, and how.

    `start`: before any byte. `head`: after the head. `middle`: inside the body; of a stream, after half of the
    content. `usage`: before the usage (of a stream without usage, and of JSON: as `end`). `end`: just before the
    last piece, which is `data: [DONE]` for a stream and the last byte for JSON.
    """

    at: Point
    how: How  # `error_event` is for streams: an error object in place of the rest, then a clean end


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to answer. The defaults answer well, at once."""

    # What is said.
    text: str | None = None  # None: `chunks` words
    chunks: int = 8
    padding: int = 0  # bytes added to one piece of the content
    usage: bool = True  # False: never reported
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tool_arguments: str = '{"city": "Paris"}'

    # What stands instead of it.
    status: int = 200  # an error object is sent with any status from 400 on
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str | None = None
    garbled: bool = False  # JSON that does not parse; of a stream, in the middle

    # When.
    before_head_s: float = 0.0
    before_body_s: float = 0.0
    between_chunks_s: float = 0.0

    # In which form.
    framing: Literal["natural", "chunked", "length", "close"] = "natural"  # natural: chunked for a stream, else length
    http_version: Literal["1.0", "1.1"] = "1.1"
    interim: tuple[int, ...] = ()  # 1xx answers before the real one
    gzip: bool = False  # compressed, whether or not the client accepts it
    chunk_extension: str = ""
    trailers: tuple[tuple[str, str], ...] = ()
    line_end: Literal["\n", "\r\n"] = "\n"  # of server-sent events
    comments: bool = False  # a comment before each event
    multi_line: bool = False  # each event's JSON spread over several `data:` lines
    write_size: int | None = None  # bytes on the wire per write; None: one write for each event

    # How it ends.
    cut: Cut | None = None
    done: bool = True  # False: a stream ends without `data: [DONE]`
    surplus: bytes = b""  # sent after the answer, with its last bytes
    close_after: bool = False  # closes right after an answer that promised to keep the connection
    reset_on_reuse: bool = False  # answers the first request of a connection, resets at the second


GOOD: dict[str, Behaviour] = {
    "plain": Behaviour(),
    "paced": Behaviour(chunks=50, between_chunks_s=0.02),
    "slow-first-byte": Behaviour(before_body_s=0.2),
    "single-bytes": Behaviour(write_size=1, chunks=3),
    "seven-bytes": Behaviour(write_size=7),
    "chunked": Behaviour(framing="chunked"),
    "chunk-extensions": Behaviour(framing="chunked", chunk_extension=';a="b"', trailers=(("x-checksum", "0"),)),
    "http-1.0": Behaviour(http_version="1.0", framing="close"),
    "close-delimited": Behaviour(framing="close"),
    "continue": Behaviour(interim=(100, 103)),
    "crlf-events": Behaviour(line_end="\r\n"),
    "comments": Behaviour(comments=True),
    "multi-line-events": Behaviour(multi_line=True),
    "no-usage": Behaviour(usage=False),
    "no-done": Behaviour(done=False),
    "closes-after": Behaviour(close_after=True),
    "resets-on-reuse": Behaviour(reset_on_reuse=True),
}

BAD: dict[str, Behaviour] = {
    "silent": Behaviour(cut=Cut("start", "stall")),
    "slow-head": Behaviour(before_head_s=30.0),
    "stalls-after-head": Behaviour(cut=Cut("head", "stall")),
    "stalls-midway": Behaviour(cut=Cut("middle", "stall")),
    "resets-at-start": Behaviour(cut=Cut("start", "reset")),
    "resets-after-head": Behaviour(cut=Cut("head", "reset")),
    "resets-midway": Behaviour(cut=Cut("middle", "reset")),
    "resets-before-usage": Behaviour(cut=Cut("usage", "reset")),
    "resets-before-end": Behaviour(cut=Cut("end", "reset")),
    "closes-at-start": Behaviour(cut=Cut("start", "close")),
    "closes-after-head": Behaviour(cut=Cut("head", "close")),
    "closes-midway": Behaviour(cut=Cut("middle", "close")),
    "closes-before-usage": Behaviour(cut=Cut("usage", "close")),
    "closes-before-end": Behaviour(cut=Cut("end", "close")),
    "cuts-without-length": Behaviour(framing="close", cut=Cut("middle", "close")),
    "error-event": Behaviour(cut=Cut("middle", "error_event")),
    "garbled": Behaviour(garbled=True),
    "oversized": Behaviour(padding=80_000_000),
    "html": Behaviour(body=b"<html>It works!</html>", content_type="text/html"),
    "gzip": Behaviour(gzip=True),
    "redirect": Behaviour(status=307, headers=(("location", "http://127.0.0.1:9/v1/elsewhere"),), body=b""),
    "bad-request": Behaviour(status=400),
    "unauthorized": Behaviour(status=401),
    "forbidden": Behaviour(status=403),
    "not-found": Behaviour(status=404),
    "unprocessable": Behaviour(status=422),
    "rate-limited": Behaviour(status=429),
    "rate-limited-retry-after": Behaviour(status=429, headers=(("retry-after", "7"),)),
    "server-error": Behaviour(status=500),
    "unavailable": Behaviour(status=503),
    "unavailable-retry-after": Behaviour(status=503, headers=(("retry-after", "7"),)),
    "overloaded": Behaviour(status=529),
    "html-error": Behaviour(status=502, body=b"<html>Bad Gateway</html>", content_type="text/html"),
    "empty-error": Behaviour(status=500, body=b"", content_type="application/json"),
}

_PREFIX = "scripted-"


def behaviour_of_model(model: str) -> Behaviour | None:
    """The named behaviour that a request for `scripted-<name>` asks for; None for any other model."""
    name = model.removeprefix(_PREFIX) if model.startswith(_PREFIX) else ""
    return GOOD.get(name) or BAD.get(name)
