"""The one record of an exchange. Ledger, log line, trace and metrics are views of it; nothing else counts anything."""

from enum import IntFlag

import msgspec

__all__ = ["AnswerFlag", "AttemptRecord", "Event", "decode_event", "encode_event"]


class AnswerFlag(IntFlag):
    """What is told of an answer that a rollout chose the version for. Values are only ever appended."""

    EMPTY = 1  # no content, no tool call, no refusal
    REFUSED = 2  # the model said that it would not, or its provider's filter did
    FORMAT_ASKED = 4  # JSON was asked for
    FORMAT_INVALID = 8  # and the answer is none
    OVERRIDDEN = 16  # a tester named the version: not analysed
    MIRRORED = 32  # a copy of an exchange, whose answer nobody saw


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One upstream call of an exchange that made several. Fields are only ever appended."""

    model: str  # the public model that it was made for: another than asked for after a fallback
    backend: str  # provider/upstream model
    kind: str  # first | retry | hedge | fallback
    why: str  # why this backend: podium.traffic.balancing.ports.Why
    reason: str  # how it ended: podium.core.reasons.Reason; client_gone: it was given up
    upstream_status: int  # 0: none was seen
    started_ns: int  # after the exchange's start, as is the next
    ended_ns: int
    input_tokens: int
    output_tokens: int
    cost_nanousd: int
    provider: str = ""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """How one exchange went.

    Encoded as an array: fields are only ever appended, each new one with a default, so that an older
    journal stays readable. No prompt and no answer is in here.
    """

    id: bytes  # 16 bytes, UUID version 7: the key by which the ledger stays idempotent
    request_id: str  # ours or the caller's `x-request-id`; printable ASCII, at most 128 characters
    started_unix_ns: int
    gateway: str  # name of the gateway process
    tenant: str  # "" when the caller was not identified; likewise the two below
    key_id: str
    user: str  # the request's `user` or `safety_identifier` field
    endpoint: str  # chat.completions | completions | embeddings | models | other
    model: str  # the public name that the caller asked for; "" when it could not be read
    version: str
    provider: str
    backend: str  # provider/upstream model that served, or was tried last
    stream: bool
    status: int  # HTTP status sent; of a stream that broke off the error's; 499: the caller went away before it
    reason: str  # podium.core.reasons.Reason
    fault: str  # podium.core.reasons.Fault
    attempts: int  # upstream calls made
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    tokens_estimated: bool
    price: str  # name of the Price that was applied; "" when none is known
    cost_nanousd: int
    bytes_in: int
    bytes_out: int
    # Time marks, nanoseconds after the start, in this order; -1 when the stage was not reached.
    admitted_ns: int
    upstream_ns: int  # the last attempt's request was handed to the transport
    first_byte_ns: int  # first content byte of the answer, towards the caller
    ended_ns: int  # all but the held-back last bytes were handed to the caller's connection
    trace_id: str  # 32 hex digits; "" when the exchange is not traced
    span_id: str  # 16 hex digits
    parent_span_id: str
    trace_sampled: bool
    cache_write_tokens: int = 0
    served_model: str = ""  # the public model that answered, when it is another than `model`
    why: str = ""  # why this backend took the last call
    hedges: int = 0  # second calls that were made because the first was slow; part of `attempts`
    fallbacks: int = 0  # other models that were tried
    trail: tuple[AttemptRecord, ...] = ()  # each call, when there were several
    tags: str = ""  # of the key and the request: podium.core.tags
    rollout: str = ""  # that chose the version; likewise the next two
    arm: str = ""  # candidate, baseline, or an A/B arm's name; "": the version before, outside the comparison
    subject: str = ""  # who keeps the version: 16 hex digits of a hash that is the rollout's own
    finish_reason: str = ""  # as the upstream said it, of the first answer; "" when it did not, or nobody looked
    answer_flags: int = 0  # AnswerFlag

    @property
    def calls(self) -> tuple[AttemptRecord, ...]:
        """Each upstream call. The one of an exchange with a single call is made of the exchange: no upstream status."""
        if self.trail or not self.attempts:
            return self.trail
        read = self.stream or self.first_byte_ns < 0  # else the answer was read whole when it was passed on
        call = AttemptRecord(
            model=self.served_model or self.model,
            backend=self.backend,
            kind="fallback" if self.fallbacks else "first",
            why=self.why,
            reason=self.reason,
            upstream_status=0,
            started_ns=self.upstream_ns,
            ended_ns=self.ended_ns if read else self.first_byte_ns,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_nanousd=self.cost_nanousd,
            provider=self.provider,
        )
        return (call,)

    @property
    def duration_ms(self) -> float:
        """From the request's head to the end, milliseconds."""
        return self.ended_ns / 1e6

    @property
    def ttft_ms(self) -> float | None:
        """Time to first token (streamed) or to the answer, milliseconds; None when nothing was answered."""
        return self.first_byte_ns / 1e6 if self.first_byte_ns >= 0 else None

    @property
    def time_per_output_token_ms(self) -> float | None:
        """Milliseconds between two tokens of a streamed answer; None when it had fewer than two."""
        if not self.stream or self.output_tokens < 2 or self.first_byte_ns < 0:  # noqa: PLR2004
            return None
        return (self.ended_ns - self.first_byte_ns) / 1e6 / (self.output_tokens - 1)


encode_event = msgspec.msgpack.Encoder().encode
decode_event = msgspec.msgpack.Decoder(Event).decode
