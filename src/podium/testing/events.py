"""Events for tests."""

from typing import Any

from podium.core.event import AttemptRecord, Event
from podium.core.ids import event_id

__all__ = ["make_call", "make_event"]

_STARTED_UNIX_NS = 1_760_000_000_000_000_000


def make_event(**changes: Any) -> Event:
    """A plausible event of one streamed chat; `changes` replace fields. Each has an id of its own."""
    started_unix_ns = changes.get("started_unix_ns", _STARTED_UNIX_NS)
    fields: dict[str, Any] = {
        "id": event_id(max(started_unix_ns, 0)),
        "request_id": "req-1",
        "started_unix_ns": started_unix_ns,
        "gateway": "gateway-0",
        "tenant": "acme",
        "key_id": "k00000000001",
        "user": "",
        "endpoint": "chat.completions",
        "model": "small",
        "version": "small-1",
        "provider": "local",
        "backend": "local/smollm2",
        "stream": True,
        "status": 200,
        "reason": "ok",
        "fault": "nobody",
        "attempts": 1,
        "input_tokens": 100,
        "cached_input_tokens": 40,
        "output_tokens": 20,
        "reasoning_tokens": 5,
        "tokens_estimated": False,
        "price": "small-price",
        "cost_nanousd": 1_500,
        "bytes_in": 700,
        "bytes_out": 2_100,
        "admitted_ns": 200_000,
        "upstream_ns": 400_000,
        "first_byte_ns": 90_000_000,
        "ended_ns": 700_000_000,
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "trace_sampled": False,
    }
    return Event(**(fields | changes))


def make_call(**changes: Any) -> AttemptRecord:
    """A plausible record of one of several calls, which used nothing; `changes` replace fields."""
    fields: dict[str, Any] = {
        "model": "small",
        "backend": "local/smollm2",
        "kind": "first",
        "why": "turn",
        "reason": "ok",
        "upstream_status": 200,
        "started_ns": 400_000,
        "ended_ns": 700_000_000,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_nanousd": 0,
        "provider": "local",
    }
    return AttemptRecord(**(fields | changes))
