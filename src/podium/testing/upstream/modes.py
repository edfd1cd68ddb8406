"""The table of behaviours: every way to answer that has a name, and what an honest gateway makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from podium.core.reasons import Reason
from podium.testing.upstream.behaviours import At, Behaviour, Cut, Expected, How, Latency, Spoil, Stop, Trouble
from podium.testing.upstream.protocols import SSE_PROTOCOLS, UpstreamProtocol

__all__ = ["MODES", "Case", "Mode", "matrix"]

_OK, _TIMEOUT, _BROKEN = Reason.OK, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_BROKEN
_INVALID, _ERROR, _REJECTED = Reason.UPSTREAM_INVALID, Reason.UPSTREAM_ERROR, Reason.UPSTREAM_REJECTED
_LIMITED = Reason.UPSTREAM_RATE_LIMITED
_BEDROCK = frozenset({UpstreamProtocol.BEDROCK})


class Mode(StrEnum):
    """The names of the behaviours."""

    PLAIN = "plain"
    TOOL_CALL = "tool-call"
    PARALLEL_TOOLS = "parallel-tools"
    REASONING = "reasoning"
    CACHED = "cached"
    LENGTH = "length"
    CONTENT_FILTER = "content-filter"
    NO_USAGE = "no-usage"
    SINGLE_BYTES = "single-bytes"

    SLOW_HEAD = "slow-head"
    SLOW = "slow"
    PACED = "paced"
    LATENCY = "latency"

    BAD_REQUEST = "bad-request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    TOO_LARGE = "too-large"
    RATE_LIMITED = "rate-limited"
    RATE_LIMITED_RETRY_AFTER = "rate-limited-retry-after"
    QUOTA_EXHAUSTED = "quota-exhausted"
    SERVER_ERROR = "server-error"
    SERVER_ERROR_RETRY_AFTER = "server-error-retry-after"
    UNAVAILABLE = "unavailable"
    UNAVAILABLE_RETRY_AFTER = "unavailable-retry-after"
    OVERLOADED = "overloaded"
    BAD_GATEWAY = "bad-gateway"
    CONTEXT_TOO_LONG = "context-too-long"
    CONTENT_REFUSED = "content-refused"
    RATE = "rate"

    RESETS_AT_START = "resets-at-start"
    RESETS_AFTER_HEAD = "resets-after-head"
    RESETS_BEFORE_CONTENT = "resets-before-content"
    RESETS_AT_FIRST_TOKEN = "resets-at-first-token"  # noqa: S105 - of a model
    RESETS_MIDWAY = "resets-midway"
    RESETS_INSIDE_EVENT = "resets-inside-event"
    RESETS_MID_TOOL_CALL = "resets-mid-tool-call"
    RESETS_BEFORE_USAGE = "resets-before-usage"
    RESETS_BEFORE_END = "resets-before-end"
    CLOSES_AT_START = "closes-at-start"
    CLOSES_AFTER_HEAD = "closes-after-head"
    CLOSES_BEFORE_CONTENT = "closes-before-content"
    CLOSES_AT_FIRST_TOKEN = "closes-at-first-token"  # noqa: S105 - of a model
    CLOSES_MIDWAY = "closes-midway"
    CLOSES_INSIDE_EVENT = "closes-inside-event"
    CLOSES_MID_TOOL_CALL = "closes-mid-tool-call"
    CLOSES_BEFORE_USAGE = "closes-before-usage"
    CLOSES_BEFORE_END = "closes-before-end"
    SILENT = "silent"
    STALLS_AFTER_HEAD = "stalls-after-head"
    STALLS_BEFORE_CONTENT = "stalls-before-content"
    STALLS_AT_FIRST_TOKEN = "stalls-at-first-token"  # noqa: S105 - of a model
    STALLS_MIDWAY = "stalls-midway"
    STALLS_INSIDE_EVENT = "stalls-inside-event"
    STALLS_MID_TOOL_CALL = "stalls-mid-tool-call"
    ENDS_EARLY = "ends-early"
    ENDS_MID_TOOL_CALL = "ends-mid-tool-call"
    ERROR_FIRST = "error-first"
    ERROR_MIDWAY = "error-midway"

    MALFORMED_JSON = "malformed-json"
    MALFORMED_FIRST = "malformed-first"
    MALFORMED_SSE = "malformed-sse"
    OVERSIZED = "oversized"
    BAD_CRC = "bad-crc"
    BAD_PRELUDE_CRC = "bad-prelude-crc"
    BAD_FRAME_LENGTH = "bad-frame-length"
    WRONG_CONTENT_TYPE = "wrong-content-type"
    HTML = "html"
    EMPTY = "empty"


def _fails(reason: Reason, *, content_first: bool = False, streamed: Reason | None = None) -> Expected:
    return Expected(reason, streamed or reason, content_first)


def _trouble(trouble: Trouble, reason: Reason, retry_after_s: int | None = None) -> Behaviour:
    return Behaviour(trouble=trouble, retry_after_s=retry_after_s, expected=_fails(reason))


def _cut(at: At, how: How) -> Behaviour:
    reason = _TIMEOUT if how is How.STALL else _BROKEN
    content_first = at not in {At.START, At.HEAD, At.BEFORE_CONTENT}
    calls = 2 if at is At.TOOL_CALL else None
    if how is How.FINISH:
        return Behaviour(cut=Cut(at, how), calls=calls, expected=_fails(_INVALID, streamed=_BROKEN, content_first=True))
    if how is How.ERROR:
        return Behaviour(cut=Cut(at, how), whole=False, expected=_fails(_ERROR, content_first=content_first))
    return Behaviour(cut=Cut(at, how), calls=calls, expected=_fails(reason, content_first=content_first))


def _spoil(spoil: Spoil, *, content_first: bool = False, streamed: Reason | None = None) -> Behaviour:
    return Behaviour(spoil=spoil, expected=_fails(_INVALID, content_first=content_first, streamed=streamed))


_TABLE: dict[Mode, Behaviour] = {
    Mode.PLAIN: Behaviour(),
    Mode.TOOL_CALL: Behaviour(calls=1),
    Mode.PARALLEL_TOOLS: Behaviour(calls=2),
    Mode.REASONING: Behaviour(reasoning=3),
    Mode.CACHED: Behaviour(cached_tokens=100, cache_write_tokens=40),
    Mode.LENGTH: Behaviour(stop=Stop.LENGTH),
    Mode.CONTENT_FILTER: Behaviour(stop=Stop.FILTERED),
    Mode.NO_USAGE: Behaviour(usage=False, protocols=frozenset({UpstreamProtocol.OPENAI})),
    Mode.SINGLE_BYTES: Behaviour(write_size=1, chunks=3),
    Mode.SLOW_HEAD: Behaviour(before_head_s=2.0),
    Mode.SLOW: Behaviour(before_content_s=2.0),
    Mode.PACED: Behaviour(between_s=0.02),
    Mode.LATENCY: Behaviour(latency=Latency(0.02, 0.2)),
    Mode.BAD_REQUEST: _trouble(Trouble.BAD_REQUEST, _REJECTED),
    Mode.UNAUTHORIZED: _trouble(Trouble.UNAUTHORIZED, _ERROR),
    Mode.FORBIDDEN: _trouble(Trouble.FORBIDDEN, _ERROR),
    Mode.NOT_FOUND: _trouble(Trouble.NOT_FOUND, _REJECTED),
    Mode.TOO_LARGE: _trouble(Trouble.TOO_LARGE, _REJECTED),
    Mode.RATE_LIMITED: _trouble(Trouble.RATE_LIMITED, _LIMITED),
    Mode.RATE_LIMITED_RETRY_AFTER: _trouble(Trouble.RATE_LIMITED, _LIMITED, 7),
    Mode.QUOTA_EXHAUSTED: _trouble(Trouble.QUOTA_EXHAUSTED, _LIMITED),
    Mode.SERVER_ERROR: _trouble(Trouble.SERVER_ERROR, _ERROR),
    Mode.SERVER_ERROR_RETRY_AFTER: _trouble(Trouble.SERVER_ERROR, _ERROR, 7),
    Mode.UNAVAILABLE: _trouble(Trouble.UNAVAILABLE, _ERROR),
    Mode.UNAVAILABLE_RETRY_AFTER: _trouble(Trouble.UNAVAILABLE, _ERROR, 7),
    Mode.OVERLOADED: _trouble(Trouble.OVERLOADED, _ERROR),
    Mode.BAD_GATEWAY: _trouble(Trouble.BAD_GATEWAY, _ERROR),
    Mode.CONTEXT_TOO_LONG: _trouble(Trouble.CONTEXT_TOO_LONG, _REJECTED),
    Mode.CONTENT_REFUSED: _trouble(Trouble.CONTENT_REFUSED, _REJECTED),
    Mode.RATE: Behaviour(per_second=10.0),
    Mode.RESETS_AT_START: _cut(At.START, How.RESET),
    Mode.RESETS_AFTER_HEAD: _cut(At.HEAD, How.RESET),
    Mode.RESETS_BEFORE_CONTENT: _cut(At.BEFORE_CONTENT, How.RESET),
    Mode.RESETS_AT_FIRST_TOKEN: _cut(At.FIRST_TOKEN, How.RESET),
    Mode.RESETS_MIDWAY: _cut(At.MIDDLE, How.RESET),
    Mode.RESETS_INSIDE_EVENT: _cut(At.INSIDE, How.RESET),
    Mode.RESETS_MID_TOOL_CALL: _cut(At.TOOL_CALL, How.RESET),
    Mode.RESETS_BEFORE_USAGE: _cut(At.USAGE, How.RESET),
    Mode.RESETS_BEFORE_END: _cut(At.END, How.RESET),
    Mode.CLOSES_AT_START: _cut(At.START, How.CLOSE),
    Mode.CLOSES_AFTER_HEAD: _cut(At.HEAD, How.CLOSE),
    Mode.CLOSES_BEFORE_CONTENT: _cut(At.BEFORE_CONTENT, How.CLOSE),
    Mode.CLOSES_AT_FIRST_TOKEN: _cut(At.FIRST_TOKEN, How.CLOSE),
    Mode.CLOSES_MIDWAY: _cut(At.MIDDLE, How.CLOSE),
    Mode.CLOSES_INSIDE_EVENT: _cut(At.INSIDE, How.CLOSE),
    Mode.CLOSES_MID_TOOL_CALL: _cut(At.TOOL_CALL, How.CLOSE),
    Mode.CLOSES_BEFORE_USAGE: _cut(At.USAGE, How.CLOSE),
    Mode.CLOSES_BEFORE_END: _cut(At.END, How.CLOSE),
    Mode.SILENT: _cut(At.START, How.STALL),
    Mode.STALLS_AFTER_HEAD: _cut(At.HEAD, How.STALL),
    Mode.STALLS_BEFORE_CONTENT: _cut(At.BEFORE_CONTENT, How.STALL),
    Mode.STALLS_AT_FIRST_TOKEN: _cut(At.FIRST_TOKEN, How.STALL),
    Mode.STALLS_MIDWAY: _cut(At.MIDDLE, How.STALL),
    Mode.STALLS_INSIDE_EVENT: _cut(At.INSIDE, How.STALL),
    Mode.STALLS_MID_TOOL_CALL: _cut(At.TOOL_CALL, How.STALL),
    Mode.ENDS_EARLY: _cut(At.MIDDLE, How.FINISH),
    Mode.ENDS_MID_TOOL_CALL: _cut(At.TOOL_CALL, How.FINISH),
    Mode.ERROR_FIRST: _cut(At.BEFORE_CONTENT, How.ERROR),
    Mode.ERROR_MIDWAY: _cut(At.MIDDLE, How.ERROR),
    Mode.MALFORMED_JSON: _spoil(Spoil.JSON, content_first=True),
    Mode.MALFORMED_FIRST: _spoil(Spoil.JSON_FIRST).but(whole=False),
    Mode.MALFORMED_SSE: _spoil(Spoil.SSE, content_first=True).but(whole=False, protocols=SSE_PROTOCOLS),
    Mode.OVERSIZED: _spoil(Spoil.OVERSIZED, content_first=True),
    Mode.BAD_CRC: _spoil(Spoil.CRC, content_first=True).but(whole=False, protocols=_BEDROCK),
    Mode.BAD_PRELUDE_CRC: _spoil(Spoil.PRELUDE_CRC, content_first=True).but(whole=False, protocols=_BEDROCK),
    Mode.BAD_FRAME_LENGTH: _spoil(Spoil.FRAME_LENGTH, content_first=True).but(whole=False, protocols=_BEDROCK),
    Mode.WRONG_CONTENT_TYPE: _spoil(Spoil.CONTENT_TYPE),
    Mode.HTML: _spoil(Spoil.HTML),
    Mode.EMPTY: _spoil(Spoil.EMPTY, streamed=_BROKEN),
}
MODES: dict[Mode, Behaviour] = {mode: behaviour.but(name=mode.value) for mode, behaviour in _TABLE.items()}


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of a matrix test."""

    protocol: UpstreamProtocol
    streamed: bool
    mode: Mode

    def __str__(self) -> str:
        return f"{self.protocol}-{'stream' if self.streamed else 'whole'}-{self.mode}"

    @property
    def behaviour(self) -> Behaviour:
        """What the simulator does."""
        return MODES[self.mode]

    @property
    def reason(self) -> Reason:
        """What an honest gateway makes of one attempt."""
        expected = self.behaviour.expected
        if self.behaviour.trouble is Trouble.CONTENT_REFUSED and self.protocol in _REFUSES_IN_AN_ANSWER:
            return _OK
        return expected.streamed if self.streamed else expected.whole

    @property
    def content_first(self) -> bool:
        """True when content reaches the caller before the failure."""
        return self.streamed and self.behaviour.expected.content_first


# There a refused prompt is an answer with status 200 that says so.
_REFUSES_IN_AN_ANSWER = frozenset({UpstreamProtocol.GEMINI, UpstreamProtocol.BEDROCK})


def matrix(
    protocols: Iterable[UpstreamProtocol] = tuple(UpstreamProtocol), modes: Iterable[Mode] = tuple(Mode)
) -> list[Case]:
    """Every protocol, streamed or not, with every mode that makes sense for it."""
    modes = tuple(modes)
    return [
        Case(protocol, streamed, mode)
        for protocol in protocols
        for streamed in (False, True)
        for mode in modes
        if protocol in MODES[mode].protocols and (MODES[mode].streamed if streamed else MODES[mode].whole)
    ]
