"""W3C Trace Context: which distributed trace an exchange belongs to.

https://www.w3.org/TR/trace-context/ (the section numbers below are of that page). Values in, values out.
"""

import os
import re
from dataclasses import dataclass

__all__ = ["Sampler", "TraceContext", "new_span_id", "new_trace_id", "parse_trace_context", "upstream_span_id"]

_VERSION_00_LENGTH = 55
_MAX_TRACEPARENT = 128  # later versions may append fields, not a novel
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01

_MAX_TRACESTATE = 512  # 3.3.1.5: at least this much is to be passed on
_MAX_MEMBERS = 32  # 3.3.1.1
_LONG_MEMBER = 128  # 3.3.1.5: members longer than this go first
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: the span that whoever receives this is a child of."""

    trace_id: str  # 32 lower-case hex digits, not all zero
    span_id: str  # 16 lower-case hex digits, not all zero
    sampled: bool
    tracestate: str = ""  # of other systems; passed on as it came

    @property
    def traceparent(self) -> str:
        """The header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse_trace_context(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """What a caller's two headers say; None when `traceparent` is not valid, which starts a new trace (section 4.3).

    A `tracestate` that is not valid is left out. Several headers of that name are joined with commas by the caller.
    """
    if len(traceparent) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, further = match.groups()
    if version == "ff" or (version == "00" and further is not None):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _bounded_tracestate(tracestate))


def new_trace_id() -> str:
    """32 random hex digits."""
    return _random_hex(16)


def new_span_id() -> str:
    """16 random hex digits."""
    return _random_hex(8)


def upstream_span_id(span_id: str, call: int = 0) -> str:
    """The id of the span of an upstream call, counted from 0, inside the exchange's own span.

    Derived, so that the `traceparent` sent upstream and the span made of the event agree without another field.
    """
    flipped = int(span_id, 16) ^ (call + 1)
    return f"{flipped or 1 << 63:016x}"


class Sampler:
    """Decides which exchanges are traced. A caller's decision holds; else one in `1 / ratio` is."""

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * 2**64)

    def start(self, parent: TraceContext | None) -> TraceContext | None:
        """The exchange's own place in a trace; None when it is not traced at all."""
        if parent is not None:
            return TraceContext(parent.trace_id, new_span_id(), parent.sampled, parent.tracestate)
        if not self._bound:
            return None
        trace_id = new_trace_id()
        # The lower half decides, as in OpenTelemetry's TraceIdRatioBased, so that services with one ratio agree.
        if int(trace_id[16:], 16) >= self._bound:
            return None
        return TraceContext(trace_id, new_span_id(), sampled=True)


def _random_hex(length: int) -> str:
    while not any(value := os.urandom(length)):
        pass
    return value.hex()


def _bounded_tracestate(text: str) -> str:
    """The members that are passed on; "" when any of them is not valid, or there are too many."""
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MAX_MEMBERS or len(keys) < len(members):
        return ""
    if not all(_MEMBER.fullmatch(member) for member in members):
        return ""
    if sum(map(len, members)) + len(members) - 1 > _MAX_TRACESTATE:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    while sum(map(len, members)) + len(members) - 1 > _MAX_TRACESTATE:
        members.pop()
    return ",".join(members)
