"""One JSON line for each exchange, on standard output.

A line is made of the event alone, which holds no prompt and no answer. It names the key by its public id.
"""

import asyncio
from datetime import UTC, datetime

import msgspec

from podium.core.event import AttemptRecord, Event
from podium.telemetry.line_writer import LineWriter

__all__ = ["CallLine", "ExchangeLine", "ExchangeLog"]

_FLUSH_AFTER_S = 0.1
_FLUSH_BYTES = 512 * 1024
_ENCODED_LINES = 64  # at once: few enough that nobody waits for it
_MAX_PENDING_BYTES = 8 * 1024 * 1024  # about 15,000 lines
_CLOSE_TIMEOUT_S = 2.0
_ERROR_STATUS = 500


class CallLine(msgspec.Struct, frozen=True):
    """One of several upstream calls, within the line of its exchange."""

    kind: str
    model: str
    backend: str
    why: str
    reason: str
    upstream_status: int
    started_ms: float
    ended_ms: float
    cost_nanousd: int


class ExchangeLine(msgspec.Struct, frozen=True):
    """A line of the log; the order of the fields is the order in the line."""

    timestamp: str  # the exchange's end, ISO 8601, UTC
    level: str  # info; error when Podium or an upstream failed
    event: str  # always `exchange`, so that these lines can be told from process logs
    service: str
    gateway: str
    event_id: str
    request_id: str
    trace_id: str
    tenant: str
    key_id: str
    tags: str  # `name=value,name=value`: podium.core.tags
    endpoint: str
    model: str
    served_model: str
    version: str
    rollout: str  # that chose the version; likewise the next
    arm: str
    provider: str
    backend: str
    why: str
    stream: bool
    status: int
    reason: str
    fault: str
    attempts: int
    hedges: int
    fallbacks: int
    latency_ms: float
    ttft_ms: float | None
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    tokens_estimated: bool
    cost_nanousd: int
    bytes_in: int
    bytes_out: int
    trail: tuple[CallLine, ...] | msgspec.UnsetType  # not in the line of an exchange with one call


class ExchangeLog:
    """Collects events and writes their lines, many at once. All methods are called on one event loop."""

    def __init__(self, descriptor: int, *, service: str, max_pending_bytes: int = _MAX_PENDING_BYTES) -> None:
        self._service = service
        self._writer = LineWriter(descriptor, max_pending_bytes=max_pending_bytes)
        self._lines: list[ExchangeLine] = []  # not encoded yet
        self._encoded = bytearray()
        self._encoded_lines = 0
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._second_text = ""

    @property
    def dropped_lines(self) -> int:
        """Lines that could not be written since the start, for `podium_log_lines_dropped_total`."""
        return self._writer.dropped_lines

    def observe(self, event: Event) -> None:
        """Log one finished exchange, at the latest 100 ms from now."""
        lines = self._lines
        lines.append(self._line(event))
        if len(lines) >= _ENCODED_LINES:
            self._encode()
            if len(self._encoded) >= _FLUSH_BYTES:
                self.flush()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Hand over what was collected to the writer; does not wait for it.

        That wakes a thread, which takes this one's time: seldom, and much at once.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._encode()
        if self._encoded_lines:
            self._writer.write(bytes(self._encoded), self._encoded_lines)
            self._encoded.clear()
            self._encoded_lines = 0

    def _encode(self) -> None:
        self._encoded += _encoder.encode_lines(self._lines)
        self._encoded_lines += len(self._lines)
        self._lines.clear()

    async def close(self) -> None:
        """Write what was collected; waits two seconds at most."""
        self.flush()
        await asyncio.to_thread(self._writer.close, _CLOSE_TIMEOUT_S)

    def _line(self, event: Event) -> ExchangeLine:
        second, rest_ns = divmod(event.started_unix_ns + event.ended_ns, 1_000_000_000)
        if second != self._second:
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        first_byte_ns = event.first_byte_ns
        status = event.status
        return ExchangeLine(
            f"{self._second_text}.{rest_ns // 1_000:06d}Z",
            "info" if status < _ERROR_STATUS else "error",
            "exchange",
            self._service,
            event.gateway,
            event.id.hex(),
            event.request_id,
            event.trace_id,
            event.tenant,
            event.key_id,
            event.tags,
            event.endpoint,
            event.model,
            event.served_model,
            event.version,
            event.rollout,
            event.arm,
            event.provider,
            event.backend,
            event.why,
            event.stream,
            status,
            event.reason,
            event.fault,
            event.attempts,
            event.hedges,
            event.fallbacks,
            event.ended_ns // 1_000 / 1_000,
            first_byte_ns // 1_000 / 1_000 if first_byte_ns >= 0 else None,
            event.input_tokens,
            event.cached_input_tokens,
            event.cache_write_tokens,
            event.output_tokens,
            event.reasoning_tokens,
            event.tokens_estimated,
            event.cost_nanousd,
            event.bytes_in,
            event.bytes_out,
            tuple(map(_call_line, event.trail)) if event.trail else msgspec.UNSET,
        )


def _call_line(call: AttemptRecord) -> CallLine:
    return CallLine(
        call.kind,
        call.model,
        call.backend,
        call.why,
        call.reason,
        call.upstream_status,
        call.started_ns // 1_000 / 1_000,
        call.ended_ns // 1_000 / 1_000,
        call.cost_nanousd,
    )


_encoder = msgspec.json.Encoder()
