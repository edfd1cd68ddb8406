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
    tags = ""
    rollout = ""
    arm = ""
    subject = ""
    finish_reason = ""
    answer_flags = 0
    mirrored = False  # the rollout wants a copy of it for its candidate
    judged = False  # its answer is kept for a judge

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
        return Event(  # by position, in the order of its fields: naming forty of them takes three times as long
            self.id,
            self.request_id,
            self.started_unix_ns,
            gateway,
            self.tenant,
            self.key_id,
            self.user,
            self.endpoint,
            self.model,
            self.version,
            self.provider,
            self.backend,
            self.stream,
            self.status,
            self.reason,
            self.fault,
            self.attempts,
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.estimated,
            self.price,
            self.cost_nanousd,
            self.bytes_in,
            bytes_out,
            self.admitted_at_ns - start if self.admitted_at_ns else -1,
            self.upstream_at_ns - start if self.upstream_at_ns else -1,
            self.first_byte_at_ns - start if self.first_byte_at_ns else -1,
            ended_at_ns - start,
            trace.trace_id if trace else "",
            trace.span_id if trace else "",
            self.parent_span_id,
            trace.sampled if trace else False,
            usage.cache_write_tokens,
            self.served_model,
            self.why,
            self.hedges,
            self.fallbacks,
            self.trail,
            self.tags,
            self.rollout,
            self.arm,
            self.subject,
            self.finish_reason,
            self.answer_flags,
        )
