import pytest

from podium.core.event import Event
from podium.core.reasons import Fault, Reason


@pytest.fixture(scope="session")
def make_event():
    """An answered chat; every field can be changed."""
    return _event


def _event(**changes):
    fields = {
        "id": b"0123456789abcdef",
        "request_id": "req-1",
        "started_unix_ns": 1_700_000_000_123_456_789,
        "gateway": "gateway-1",
        "tenant": "acme",
        "key_id": "abcdefghijkm",
        "user": "alice@example.org",
        "endpoint": "chat.completions",
        "model": "smollm2",
        "version": "smollm2-q8",
        "provider": "local",
        "backend": "local/smollm2-135m",
        "stream": False,
        "status": 200,
        "reason": "ok",
        "fault": "nobody",
        "attempts": 1,
        "input_tokens": 10,
        "cached_input_tokens": 4,
        "output_tokens": 21,
        "reasoning_tokens": 5,
        "tokens_estimated": False,
        "price": "smollm2",
        "cost_nanousd": 1_500,
        "bytes_in": 100,
        "bytes_out": 900,
        "admitted_ns": 100_000,
        "upstream_ns": 200_000,
        "first_byte_ns": 40_000_000,
        "ended_ns": 40_100_000,
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "trace_sampled": False,
    }
    fields |= changes
    # As an exchange makes it: words of the closed sets, not plain strings.
    return Event(**fields | {"reason": Reason(fields["reason"]), "fault": Fault(fields["fault"])})
