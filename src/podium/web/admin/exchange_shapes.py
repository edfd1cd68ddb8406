"""An exchange as the admin API shows it. No prompt and no answer is in here, nor the request's `user`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from podium.core.event import AttemptRecord, Event

__all__ = ["CallView", "ExchangeList", "ExchangeView"]

_Milliseconds = Annotated[float, Meta(description="After the exchange's start.")]


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream call."""

    kind: Annotated[str, Meta(description="What made it necessary: `first`, `retry`, `hedge` or `fallback`.")]
    model: Annotated[str, Meta(description="The model that it was made for: another one after a fallback.")]
    provider: str
    backend: Annotated[str, Meta(description="provider/model there.")]
    why: Annotated[str, Meta(description="Why this backend.")]
    reason: Annotated[str, Meta(description="How it ended; `client_gone`: it was given up.")]
    upstream_status: Annotated[
        int | None, Meta(description="HTTP status of its answer; null: none came, or the exchange made no other call.")
    ]
    started_ms: _Milliseconds
    ended_ms: _Milliseconds
    input_tokens: int
    output_tokens: int
    cost_nanousd: int

    @classmethod
    def of(cls, call: AttemptRecord) -> "CallView":
        """The view of `call`."""
        return cls(
            kind=call.kind,
            model=call.model,
            provider=call.provider,
            backend=call.backend,
            why=call.why,
            reason=call.reason,
            upstream_status=call.upstream_status or None,
            started_ms=call.started_ns / 1e6,
            ended_ms=call.ended_ns / 1e6,
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cost_nanousd=call.cost_nanousd,
        )


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One finished exchange, with each upstream call that it made."""

    id: Annotated[str, Meta(description="32 hexadecimal digits; `before` takes it.")]
    request_id: str
    started_unix_s: float
    gateway: Annotated[str, Meta(description="Name of the gateway process.")]
    tenant: str
    key_id: str
    tags: Annotated[str, Meta(description="Of key and request: `name=value,name=value`, sorted by name.")]
    endpoint: str
    model: Annotated[str, Meta(description="The public name that the caller asked for.")]
    served_model: Annotated[str, Meta(description="The model that answered, when it is another one; else empty.")]
    version: str
    provider: str
    backend: Annotated[str, Meta(description="provider/model that served, or was tried last.")]
    stream: bool
    status: Annotated[int, Meta(description="HTTP status that was sent; 499: the caller went away before.")]
    reason: str
    fault: Annotated[str, Meta(description="`nobody`, `caller`, `podium` or `upstream`.")]
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    tokens_estimated: bool
    price: Annotated[str, Meta(description="Name of the Price that was applied; empty: none is known.")]
    cost_nanousd: int
    ttft_ms: Annotated[float | None, Meta(description="Until the first content; null: nothing was answered.")]
    duration_ms: float
    trace_id: str
    hedges: Annotated[int, Meta(description="Second calls that were made because the first was slow.")]
    fallbacks: Annotated[int, Meta(description="Other models that were tried.")]
    calls: Annotated[tuple[CallView, ...], Meta(description="In the order in which they were made.")]

    @classmethod
    def of(cls, event: Event) -> "ExchangeView":
        """The view of `event`."""
        same = {name: getattr(event, name) for name in _SAME}
        return cls(
            id=event.id.hex(),
            started_unix_s=event.started_unix_ns / 1e9,
            calls=tuple(map(CallView.of, event.calls)),
            **same,
        )


class ExchangeList(msgspec.Struct, frozen=True, kw_only=True):
    """Exchanges with one request id, newest first."""

    exchanges: tuple[ExchangeView, ...]
    next_before: Annotated[str | None, Meta(description="`before` of the next page; null: this was the last.")]


_SAME = tuple(name for name in ExchangeView.__struct_fields__ if name not in ("id", "started_unix_s", "calls"))
