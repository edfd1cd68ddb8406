"""The queues before pools as gauges, read when somebody scrapes. Models without a queue have none."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from podium.core.clock import Clock
from podium.gateway.pool import Pool
from podium.gateway.queue import PoolQueue
from podium.telemetry.process_metrics import ProcessMetrics
from podium.traffic.queueing.fair_queue import Priority

__all__ = ["QueueGauges"]

_Values = dict[tuple[str, ...], float]
_MODEL = ("model",)


class QueueGauges:
    """The state of all queues. `pools` returns the pools by their models."""

    def __init__(self, pools: Callable[[], Mapping[str, Pool]], clock: Clock, *, max_series: int = 2_000) -> None:
        self._pools = pools
        self._clock = clock
        self._max_models = max_series // len(Priority)

    def register(self, metrics: ProcessMetrics) -> None:
        """Expose them on the page of `metrics`."""
        metrics.labelled_gauge(
            "podium_queue_entries", "Exchanges that wait for a place.", (*_MODEL, "priority"), self._entries
        )
        metrics.labelled_gauge(
            "podium_queue_wait_seconds", "How long the pool needs for all that waits.", _MODEL, self._waits
        )
        metrics.labelled_gauge("podium_queue_running", "Exchanges that have a place.", _MODEL, self._running)
        metrics.labelled_gauge(
            "podium_queue_places", "Places that there are; 0: no backend takes calls.", _MODEL, self._places
        )
        metrics.labelled_gauge(
            "podium_saturation",
            "Share of places in use plus the wait as a share of the longest, over some seconds: 2 and more: refused.",
            _MODEL,
            self._saturation,
        )

    def _entries(self) -> _Values:
        return {(model, priority): queue.waiting(priority) for model, queue in self._queues() for priority in Priority}

    def _waits(self) -> _Values:
        now_ns = self._clock.monotonic_ns()
        return {(model,): queue.wait_s(now_ns) for model, queue in self._queues()}

    def _running(self) -> _Values:
        return {(model,): queue.running for model, queue in self._queues()}

    def _places(self) -> _Values:
        now_ns = self._clock.monotonic_ns()
        return {(model,): queue.places(now_ns) for model, queue in self._queues()}

    def _saturation(self) -> _Values:
        now_ns = self._clock.monotonic_ns()
        return {(model,): queue.saturation(now_ns) for model, queue in self._queues()}

    def _queues(self) -> Iterator[tuple[str, PoolQueue]]:
        """Those of the first models when there are too many."""
        found = ((model, pool.queue) for model, pool in self._pools().items())
        return islice(((model, queue) for model, queue in found if queue is not None), self._max_models)
