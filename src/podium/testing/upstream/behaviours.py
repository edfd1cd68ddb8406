"""How the simulator can be told to answer: well in many ways, or badly on purpose.

`MODES` is the table: each mode has a name, what the simulator does, and what an honest gateway makes of it. A
request is answered as its header `x-simulate` says, else as its model's name says after the first `+`, else as
the script does (`Simulator.behave`, or the control endpoint); see `podium.testing.upstream.specs` for the words.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from podium.core.reasons import Reason
from podium.testing.upstream.protocols import UpstreamProtocol

__all__ = ["At", "Behaviour", "Cut", "Expected", "How", "Latency", "Spoil", "Stop", "Trouble"]


class At(StrEnum):
    """Where an answer breaks off. A whole answer has no tokens: it breaks off at about that share of its body."""

    START = "start"  # before any byte
    HEAD = "head"  # after the head
    BEFORE_CONTENT = "before-content"  # after what opens a stream: a role, a ping, the start of a block
    FIRST_TOKEN = "first-token"  # noqa: S105 - after the first piece of content
    MIDDLE = "middle"  # after half of the content
    INSIDE = "inside"  # the same, and half of the next event
    TOOL_CALL = "tool-call"  # after half of a tool call's arguments; without one, as MIDDLE
    USAGE = "usage"  # before the event that tells the usage
    END = "end"  # before the last event, or the last byte


class How(StrEnum):
    """How it breaks off."""

    RESET = "reset"  # RST, as after a crash
    CLOSE = "close"  # FIN
    STALL = "stall"  # nothing more is sent; the connection stays
    FINISH = "finish"  # the HTTP message ends as if all had been said
    ERROR = "error"  # streams only: an error in the provider's shape, then the HTTP message ends


@dataclass(frozen=True, slots=True)
class Cut:
    """Where and how an answer breaks off."""

    at: At
    how: How


class Spoil(StrEnum):
    """What is wrong with the bytes."""

    JSON = "json"  # JSON that does not parse; of a stream, in the middle
    JSON_FIRST = "json-first"  # streams only: the first event
    OVERSIZED = "oversized"  # JSON that is valid and far too large; of a stream, in the middle
    SSE = "sse"  # an event's JSON torn in two by a blank line
    CRC = "crc"  # event stream frames: a wrong message checksum in the middle
    PRELUDE_CRC = "prelude-crc"  # a wrong prelude checksum in the middle
    FRAME_LENGTH = "frame-length"  # a frame in the middle that says it has a gigabyte
    CONTENT_TYPE = "content-type"  # a stream's for a whole answer, a whole answer's for a stream
    HTML = "html"  # a page, with status 200
    EMPTY = "empty"  # nothing, with status 200


class Trouble(StrEnum):
    """An error in the provider's own shape, in place of an answer."""

    BAD_REQUEST = "bad-request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    TOO_LARGE = "too-large"
    RATE_LIMITED = "rate-limited"
    QUOTA_EXHAUSTED = "quota-exhausted"
    SERVER_ERROR = "server-error"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    CONTEXT_TOO_LONG = "context-too-long"
    CONTENT_REFUSED = "content-refused"
    BAD_GATEWAY = "bad-gateway"  # HTML of a proxy, status 502


class Stop(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool-calls"
    FILTERED = "filtered"
    STOP_SEQUENCE = "stop-sequence"


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a first token takes: log-normal, drawn from the simulator's seed."""

    median_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What an honest gateway makes of one attempt, without retry and fallback.

    `content_first`: the caller of a stream has had content by then, so the stream ends with an error event.
    """

    whole: Reason
    streamed: Reason
    content_first: bool = False


_GOOD = Expected(Reason.OK, Reason.OK)
_ALL = frozenset(UpstreamProtocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One way to answer. The defaults answer well, at once, in words that depend on the request alone."""

    name: str = "plain"
    expected: Expected = _GOOD
    protocols: frozenset[UpstreamProtocol] = _ALL  # for which it makes sense
    whole: bool = True  # makes sense for whole answers
    streamed: bool = True  # makes sense for streams
    share: float = 1.0  # of the requests that it holds for; the others are answered well

    # What is said. Where the request wants tools called, JSON or reasoning, it gets them.
    text: str | None = None  # None: `chunks` words
    chunks: int = 8
    calls: int | None = None  # None: one when the request offers tools and brings no results
    reasoning: int | None = None  # pieces of it; None: three when the request asks
    stop: Stop | None = None  # None: as the content has it
    usage: bool = True  # False: never reported
    input_tokens: int = 25  # besides those of the cache
    cached_tokens: int = 0
    cache_write_tokens: int = 0

    # What stands instead of it.
    trouble: Trouble | None = None
    retry_after_s: int | None = None
    per_second: float | None = None  # requests a second; what is more is rate limited

    # When.
    before_head_s: float = 0.0
    before_content_s: float = 0.0
    between_s: float = 0.0
    latency: Latency | None = None  # added to `before_content_s`

    # How it fails.
    cut: Cut | None = None
    spoil: Spoil | None = None
    size: int | None = None  # of what is oversized; None: more than any limit of a gateway
    write_size: int | None = None  # bytes per write; None: one write an event, or for all when nothing is waited for

    def over(self, base: "Behaviour") -> "Behaviour":
        """`base` with everything changed that this one sets."""
        if base == _PLAIN:
            return self
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        changes = {name: value for name, value in own.items() if value != getattr(_PLAIN, name)}
        if "name" in changes:
            changes["name"] = f"{base.name},{self.name}"
        return replace(base, **changes)

    def but(self, **changes: object) -> Self:
        """The same with other values."""
        return replace(self, **changes)  # type: ignore[arg-type]  # the field's types are checked by who reads them


_PLAIN = Behaviour()
