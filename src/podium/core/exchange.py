"""One request and its answer, from the request's head to the last byte."""

from podium.core.errors import PodiumError
from podium.core.event import AttemptRecord, Event
from podium.core.ids import event_id
from podium.core.reasons import Fault, Reason
from podium.core.trace import TraceContext
from podium.core.usage import Usage

__all__ = ["Exchange"]

_NO_USAGE = Usage()


class Exchange:
    """What is known so far. Stages write what they decide; `to_event` is its end.

    Marks are nanoseconds of the monotonic clock; 0: not reached. Values that most exchanges never set live
    on the class, so that making one costs little.
    """

    tenant = ""
    key_id = ""
    user = ""
    model = ""
    version = ""
    provider = ""
    backend = ""
    stream = False
    timeout_s = 0.0  # how long the caller will wait; 0: it did not say
    status = 0
    reason = Reason.OK
    fault = Fault.NOBODY
    error: PodiumError | None = None
    attempts = 0
    usage = _NO_USAGE
    price = ""
    cost_nanousd = 0
    bytes_in = 0
    admitted_at_ns = 0
    upstream_at_ns = 0
    first_byte_at_ns = 0
    trace: TraceContext | None = None
    parent_span_id = ""
    served_model = ""
    why = ""
    hedges = 0
    fallbacks = 0
    trail: tuple[AttemptRecord, ...] = ()

    def __init__(self, endpoint: str, *, request_id: str, started_unix_ns: int, started_at_ns: int) -> None:
        self.endpoint = endpoint
        self.started_unix_ns = started_unix_ns
        self.started_at_ns = started_at_ns
        self.id = event_id(started_unix_ns)
        self.request_id = request_id or f"req_{self.id.hex()}"

    def fail(self, error: PodiumError) -> None:
        """End with an error. The first one counts."""
        if self.error is None:
            self.error = error
            self.status = error.status
            self.reason = error.reason
            self.fault = error.fault

    def to_event(self, *, gateway: str, bytes_out: int, ended_at_ns: int) -> Event:
        """The record of this exchange."""
        start, usage, trace = self.started_at_ns, self.usage, self.trace
        return Event(
            id=self.id,
            request_id=self.request_id,
            started_unix_ns=self.started_unix_ns,
            gateway=gateway,
            tenant=self.tenant,
            key_id=self.key_id,
            user=self.user,
            endpoint=self.endpoint,
            model=self.model,
            version=self.version,
            provider=self.provider,
            backend=self.backend,
            stream=self.stream,
            status=self.status,
            reason=self.reason,
            fault=self.fault,
            attempts=self.attempts,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            tokens_estimated=usage.estimated,
            price=self.price,
            cost_nanousd=self.cost_nanousd,
            bytes_in=self.bytes_in,
            bytes_out=bytes_out,
            admitted_ns=self.admitted_at_ns - start if self.admitted_at_ns else -1,
            upstream_ns=self.upstream_at_ns - start if self.upstream_at_ns else -1,
            first_byte_ns=self.first_byte_at_ns - start if self.first_byte_at_ns else -1,
            ended_ns=ended_at_ns - start,
            trace_id=trace.trace_id if trace else "",
            span_id=trace.span_id if trace else "",
            parent_span_id=self.parent_span_id,
            trace_sampled=trace.sampled if trace else False,
            cache_write_tokens=usage.cache_write_tokens,
            served_model=self.served_model,
            why=self.why,
            hedges=self.hedges,
            fallbacks=self.fallbacks,
            trail=self.trail,
        )
