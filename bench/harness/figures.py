"""The figures of the results page, and the aims that some of them have."""

from dataclasses import dataclass

__all__ = ["FIGURES", "METRIC_TITLES", "Aim", "Figure"]


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound of a figure: of its ratio to `beside` (a contestant), or of the figure itself when that is None."""

    bound: float
    beside: str | None = None
    beyond: float | None = None  # a further bound that is hoped for

    def says(self, figure: "Figure") -> str:
        """The aim in words."""
        side = "at least" if figure.more_is_better else "at most"
        of = f" of {self.beside}'s" if self.beside else f" {figure.unit}".rstrip()
        beyond = f" (beyond: {self.beyond:g})" if self.beyond is not None else ""
        return f"{side} {self.bound:g}{of}{beyond}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results page."""

    metric: str
    value: str
    title: str
    unit: str
    digits: int
    more_is_better: bool = False
    aim: Aim | None = None
    ratio: bool = True  # whether a ratio between contestants says anything


METRIC_TITLES = {
    "requests": "Requests a second: non-streamed chat, 64 connections",
    "latency": "Latency at 200 requests a second",
    "streams": "Fast streams: 32 at a time, 100 events each, relayed untouched",
    "paced": "5,000 paced streams, one event in 200 ms each",
    "start": "Start and rest",
    "soak": "Memory after 50,000 and after 300,000 exchanges",
    "engine": "Embedded engine: tokens a second through Podium and from the worker directly",
}

FIGURES = (
    Figure(
        "requests", "requests_per_s", "requests/s", "req/s", 0, more_is_better=True, aim=Aim(1.0, "vllm-router", 1.4)
    ),
    Figure("requests", "cpu_us", "CPU per request", "µs", 0),
    Figure("requests", "p50_ms", "p50 under full load", "ms", 2),
    Figure("requests", "p99_ms", "p99 under full load", "ms", 2),
    Figure("requests", "side_cpu_us", "CPU of its other processes per request", "µs", 0, ratio=False),
    Figure("latency", "p50_ms", "p50 at 200 req/s", "ms", 3, aim=Aim(1.3, "vllm-router")),
    Figure("latency", "p99_ms", "p99 at 200 req/s", "ms", 3, aim=Aim(1.5, "vllm-router")),
    Figure("latency", "cpu_us", "CPU per request", "µs", 0),
    Figure("streams", "cpu_us", "CPU per chunk", "µs", 1, aim=Aim(2.0, "nginx")),
    Figure("streams", "events_per_s", "chunks/s", "1/s", 0, more_is_better=True),
    Figure("streams", "lost_events", "events lost", "", 0, ratio=False, aim=Aim(0)),
    Figure("paced", "held_percent", "events received of those due", "%", 1, more_is_better=True, ratio=False),
    Figure("paced", "lost_events", "events lost of 5,000 paced streams", "", 0, ratio=False, aim=Aim(0)),
    Figure("paced", "memory_mb", "memory with 5,000 streams open", "MB", 0, aim=Aim(400)),
    Figure("paced", "lag_p50_ms", "lag p50, provider's write to caller's read", "ms", 2),
    Figure("paced", "lag_p99_ms", "lag p99", "ms", 2),
    Figure("paced", "cpu_us", "CPU per event", "µs", 1),
    Figure("start", "ready_s", "exec to ready", "s", 2, aim=Aim(1.5)),
    Figure("start", "idle_mb", "memory at rest (PSS)", "MB", 1, aim=Aim(120)),
    Figure("start", "idle_resident_mb", "memory at rest, shared pages counted whole (RSS)", "MB", 1),
    Figure("soak", "early_mb", "memory after 50,000", "MB", 1, ratio=False),
    Figure("soak", "late_mb", "memory after 300,000", "MB", 1, ratio=False),
    Figure("soak", "growth", "memory after 300,000 over that after 50,000", "", 3, ratio=False, aim=Aim(1.05)),
    Figure("engine", "tokens_per_s_1", "tokens/s, 1 chat", "1/s", 1, more_is_better=True, aim=Aim(0.95, "worker")),
    Figure("engine", "tokens_per_s_8", "tokens/s, 8 chats", "1/s", 1, more_is_better=True, aim=Aim(0.95, "worker")),
    Figure("engine", "tokens_per_s_32", "tokens/s, 32 chats", "1/s", 1, more_is_better=True, aim=Aim(0.95, "worker")),
)
