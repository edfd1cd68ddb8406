"""The places that each finished exchange is shown at: metrics, log, traces."""

import asyncio
from collections.abc import Callable

import structlog

from podium.core.errors import OperatorError
from podium.core.event import Event
from podium.telemetry.exchange_log import ExchangeLog
from podium.telemetry.metrics import GatewayMetrics
from podium.telemetry.settings import TelemetrySettings

__all__ = ["Sinks"]

_log = structlog.get_logger(__name__)
_STDOUT = 1


class Sinks:
    """All sinks of one gateway. `observe` and `close` are called on its event loop."""

    def __init__(self, settings: TelemetrySettings, *, gateway: str, descriptor: int = _STDOUT) -> None:
        """OperatorError: traces are asked for and cannot be sent."""
        self.metrics = GatewayMetrics(settings)
        self.metrics.counter(
            "podium_sink_failures_total", "Events that a log, trace or metric did not take.", lambda: self._failures
        )
        self._failures = 0
        self._observers: list[Callable[[Event], None]] = [self.metrics.observe]
        self._exchange_log: ExchangeLog | None = None
        self._close_tracer: Callable[[], None] | None = None
        if settings.otlp_endpoint is not None:
            self._open_tracer(settings, gateway)
        if settings.exchange_log:
            self._open_log(settings, descriptor)

    def observe(self, event: Event) -> None:
        """Show one finished exchange everywhere. Never raises: the exchange is over and well recorded."""
        for observe in self._observers:
            try:
                observe(event)
            except Exception:  # noqa: BLE001 - a view that is ill must not end what it looks at
                self._note_failure(observe)

    def _note_failure(self, observe: Callable[[Event], None]) -> None:
        self._failures += 1
        if self._failures.bit_count() == 1:  # the 1st, 2nd, 4th, 8th...: what fails always must not flood the log
            name = getattr(observe, "__qualname__", "")
            _log.error("sink_failed", sink=name, failures=self._failures, exc_info=True)

    async def close(self) -> None:
        """Write and send what is waiting, within the sinks' own timeouts."""
        if self._exchange_log is not None:
            await self._exchange_log.close()
        if self._close_tracer is not None:
            await asyncio.to_thread(self._close_tracer)

    def _open_log(self, settings: TelemetrySettings, descriptor: int) -> None:
        log = ExchangeLog(descriptor, service=settings.service_name)
        self.metrics.counter(
            "podium_log_lines_dropped_total",
            "Exchange log lines that standard output did not take in time.",
            lambda: log.dropped_lines,
        )
        self._observers.append(log.observe)
        self._exchange_log = log

    def _open_tracer(self, settings: TelemetrySettings, gateway: str) -> None:
        try:
            from podium.telemetry.traces import ExchangeTracer, otlp_exporter  # noqa: PLC0415 - an extra, and heavy
        except ModuleNotFoundError as error:
            raise OperatorError(
                "Traces are asked for (otlp_endpoint), but the OpenTelemetry packages are not installed.",
                hint="Install the extra: podium[otlp].",
            ) from error
        tracer = ExchangeTracer(otlp_exporter(settings), service=settings.service_name, gateway=gateway)
        self._observers.append(tracer.observe)
        self._close_tracer = tracer.close
