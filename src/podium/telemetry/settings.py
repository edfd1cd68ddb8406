"""What an operator may set about logs, metrics and traces."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

__all__ = ["LogFormat", "LogLevel", "TelemetrySettings"]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Logs, metrics and traces of one process. ValueError names the field that is wrong."""

    service_name: str = field(
        default="podium", metadata={"help": "The `service` of each log line and the `service.name` of each trace."}
    )
    log_level: LogLevel = field(
        default="info", metadata={"help": "Least severe process log that is written: debug, info, warning or error."}
    )
    log_format: LogFormat = field(
        default="auto",
        metadata={"help": "Process logs as `json` or `console` text; `auto` is console on a terminal, else json."},
    )
    exchange_log: bool = field(
        default=True,
        metadata={"help": "Write one JSON line for each exchange to standard output. Never holds prompts or answers."},
    )
    metrics_tenant_label: bool = field(
        default=False,
        metadata={"help": "Add a `tenant` label to the exchange, token and cost counters of `/metrics`."},
    )
    metrics_max_tenants: int = field(
        default=100, metadata={"help": "Tenants that get a label of their own; further ones share `other`."}
    )
    metrics_max_series: int = field(
        default=2_000,
        metadata={"help": "Distinct label sets that are counted apart; further ones share the label value `other`."},
    )
    otlp_endpoint: str | None = field(
        default=None,
        metadata={
            "help": "Base URL of an OpenTelemetry collector (OTLP over HTTP), e.g. `http://127.0.0.1:4318`;"
            " `/v1/traces` is added. None: no traces are sent."
        },
    )
    otlp_headers_file: Path | None = field(
        default=None,
        metadata={"help": "File with one `name: value` per line, sent as headers to the collector (credentials)."},
    )
    otlp_timeout_s: float = field(default=10.0, metadata={"help": "How long one delivery to the collector may take."})
    trace_sample_ratio: float = field(
        default=0.1,
        metadata={
            "help": "Share of exchanges that are traced, 0 to 1. A caller that sends a `traceparent` header"
            " has decided already, and its decision holds."
        },
    )

    def __post_init__(self) -> None:
        if not self.service_name:
            raise ValueError("service_name must not be empty")
        if self.log_level not in get_args(LogLevel):
            raise ValueError(f"log_level must be one of {', '.join(get_args(LogLevel))}")
        if self.log_format not in get_args(LogFormat):
            raise ValueError(f"log_format must be one of {', '.join(get_args(LogFormat))}")
        if not 0 <= self.trace_sample_ratio <= 1:
            raise ValueError("trace_sample_ratio must lie between 0 and 1")
        if self.metrics_max_tenants < 1:
            raise ValueError("metrics_max_tenants must be at least 1")
        if self.metrics_max_series < 1:
            raise ValueError("metrics_max_series must be at least 1")
        if self.otlp_timeout_s <= 0:
            raise ValueError("otlp_timeout_s must be above 0")
        if self.otlp_endpoint is not None:
            _check_url(self.otlp_endpoint)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("otlp_endpoint must be an http:// or https:// URL")
