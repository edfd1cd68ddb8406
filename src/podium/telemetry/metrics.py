"""Events into Prometheus metrics.

Rules:

1. `observe` runs on the gateway's event loop for each exchange: one look-up, then additions to plain integers.
   Everything else waits until somebody scrapes.
2. The number of label sets is bounded, and no caller can make one: a model name becomes a label only after a
   version has served it.
3. No key and no user is ever a label; a tenant only by setting.
"""

from bisect import bisect_left

from podium.core.event import Event
from podium.telemetry.calls import Calls
from podium.telemetry.page import exchange_families
from podium.telemetry.process_metrics import ProcessMetrics
from podium.telemetry.series import (
    LATENCY_BOUNDS_NS,
    OTHER,
    OVERHEAD_BOUNDS_NS,
    TOKEN_BOUNDS_NS,
    Flow,
    Series,
)
from podium.telemetry.settings import TelemetrySettings

__all__ = ["OTHER", "GatewayMetrics"]

_ERROR_STATUS = 400
_Key = tuple[str, str, str, str, int, str, str, str]


class GatewayMetrics(ProcessMetrics):
    """The figures of all exchanges of this process. One thread calls `observe`; any may call `render`."""

    def __init__(self, settings: TelemetrySettings | None = None) -> None:
        super().__init__()
        settings = settings or TelemetrySettings()
        self._tenant_label = settings.metrics_tenant_label
        self._max_tenants = settings.metrics_max_tenants
        self._max_series = settings.metrics_max_series
        self._series: dict[_Key, Series] = {}
        self._flows: dict[tuple[str, str, str, str], Flow] = {}
        self._calls = Calls(self._max_series)
        self._models = {""}
        self._tenants = {""}

    def observe(self, event: Event) -> None:
        """Count one finished exchange."""
        series = self._series.get(
            (
                event.endpoint,
                event.model,
                event.version,
                event.backend,
                event.status,
                event.reason,
                event.fault,
                event.tenant if self._tenant_label else "",
            )
        ) or self._find(event)
        series.exchanges += 1
        series.bytes_in += event.bytes_in
        series.bytes_out += event.bytes_out
        ended_ns = event.ended_ns
        duration = series.flow.duration
        duration.counts[bisect_left(LATENCY_BOUNDS_NS, ended_ns)] += 1
        duration.total_ns += ended_ns
        attempts = event.attempts
        if attempts:
            _count_served(series, event, ended_ns)
        if attempts > 1 or event.fallbacks:
            self._calls.count(event, series.flow.labels[1])
        elif attempts:
            series.attempts += 1

    def render(self) -> bytes:
        """The page that Prometheus reads, in `content_type`."""
        # Copied at once: another thread may be counting.
        series, flows = list(self._series.values()), list(self._flows.values())
        page = "".join(exchange_families(series, flows, self._calls, tenant_label=self._tenant_label))
        return page.encode() + super().render()

    def _find(self, event: Event) -> Series:
        """The series of an event whose label set is new, or not one that may have a series of its own."""
        key = self._bounded_key(event)
        series = self._series.get(key)
        if series is None:
            labels = key[:4]
            flow = self._flows.get(labels)
            if flow is None:
                flow = self._flows[labels] = Flow(labels)
            series = Series(flow, status=key[4], reason=key[5], fault=key[6], tenant=key[7])
            self._series[key] = series
        return series

    def _bounded_key(self, event: Event) -> _Key:
        tenant = self._bounded_tenant(event.tenant) if self._tenant_label else ""
        outcome = (event.status, event.reason, event.fault, tenant)
        if event.version and len(self._models) < self._max_series:
            self._models.add(event.model)
        model = event.model if event.model in self._models else OTHER
        key = (event.endpoint, model, event.version, event.backend, *outcome)
        if key in self._series or len(self._series) < self._max_series:
            return key
        return (event.endpoint, OTHER, OTHER, OTHER, *outcome)

    def _bounded_tenant(self, tenant: str) -> str:
        if tenant not in self._tenants:
            if len(self._tenants) > self._max_tenants:
                return OTHER
            self._tenants.add(tenant)
        return tenant


def _count_served(series: Series, event: Event, ended_ns: int) -> None:
    """Add what only an exchange has that was sent to an upstream."""
    series.input_tokens += event.input_tokens
    series.cached_input_tokens += event.cached_input_tokens
    series.cache_write_tokens += event.cache_write_tokens
    series.output_tokens += event.output_tokens
    series.reasoning_tokens += event.reasoning_tokens
    series.cost_nanousd += event.cost_nanousd
    if event.tokens_estimated:
        series.estimated += 1
    first_byte_ns = event.first_byte_ns
    stream = event.stream
    flow = series.flow
    if first_byte_ns >= 0 and event.attempts == 1:
        # Of several attempts only the last one's start is known, so the share of the upstreams is not.
        own_ns = event.upstream_ns if stream else event.upstream_ns + ended_ns - first_byte_ns
        overhead = flow.overhead
        overhead.counts[bisect_left(OVERHEAD_BOUNDS_NS, own_ns)] += 1
        overhead.total_ns += own_ns
    if stream and first_byte_ns >= 0 and event.status < _ERROR_STATUS:
        _count_stream(flow, event.output_tokens - 1, first_byte_ns, ended_ns)


def _count_stream(flow: Flow, gaps: int, first_byte_ns: int, ended_ns: int) -> None:
    ttft = flow.ttft
    ttft.counts[bisect_left(LATENCY_BOUNDS_NS, first_byte_ns)] += 1
    ttft.total_ns += first_byte_ns
    if gaps > 0:
        gap_ns = (ended_ns - first_byte_ns) // gaps
        token_gap = flow.token_gap
        token_gap.counts[bisect_left(TOKEN_BOUNDS_NS, gap_ns)] += 1
        token_gap.total_ns += gap_ns
