"""Backends and accounts as gauges, read when somebody scrapes."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from podium.core.clock import Clock
from podium.gateway.fleet import Account
from podium.gateway.pool import Backend, Pool
from podium.telemetry.process_metrics import ProcessMetrics
from podium.telemetry.queue_gauges import QueueGauges
from podium.telemetry.series import OTHER
from podium.traffic.breaker import Breaker, BreakerState

__all__ = ["FleetGauges"]

_Values = dict[tuple[str, ...], float]
_BACKEND = ("model", "backend")
_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class FleetGauges:
    """The state of all pools, and of the queues before them. `pools` returns them by their models."""

    def __init__(self, pools: Callable[[], Mapping[str, Pool]], clock: Clock, *, max_series: int = 2_000) -> None:
        self._pools = pools
        self._clock = clock
        self._max_series = max_series

    def register(self, metrics: ProcessMetrics) -> None:
        """Expose them on the page of `metrics`."""
        metrics.labelled_gauge("podium_backend_out", "1: it takes no calls, and why.", (*_BACKEND, "reason"), self._out)
        metrics.labelled_gauge("podium_backend_in_flight", "Calls that run.", _BACKEND, self._in_flight)
        metrics.labelled_gauge(
            "podium_backend_limit", "Calls at once that it bears, as found out.", _BACKEND, self._limits
        )
        metrics.labelled_gauge(
            "podium_backend_breaker_state", "Its breaker: 0 closed, 1 half-open, 2 open.", _BACKEND, self._breakers
        )
        metrics.labelled_gauge(
            "podium_account_in_flight", "Calls that run, of all its backends.", ("account",), self._account_in_flight
        )
        metrics.labelled_gauge(
            "podium_account_breaker_state",
            "The account's breaker: 0 closed, 1 half-open, 2 open.",
            ("account",),
            self._account_breakers,
        )
        metrics.labelled_gauge(
            "podium_account_left_alone_seconds",
            "How long it still rests because its rate limits are used up.",
            ("account",),
            self._left_alone,
        )
        QueueGauges(self._pools, self._clock, max_series=self._max_series).register(metrics)

    def _out(self) -> _Values:
        now_ns = self._clock.monotonic_ns()
        values: _Values = {}
        for (model, label), pool, backend in self._backends():
            reason = pool.out(backend, now_ns)
            if reason is not None:
                _add(values, (model, label, reason), 1, most=self._max_series, other=(OTHER, OTHER, reason))
        return values

    def _in_flight(self) -> _Values:
        values: _Values = {}
        for key, _, backend in self._backends():
            _add(values, key, backend.state.load.in_flight, most=self._max_series, other=(OTHER, OTHER))
        return values

    def _limits(self) -> _Values:
        found = ((key, limit) for key, _, backend in self._backends() if (limit := backend.state.concurrency))
        return {key: limit.limit for key, limit in islice(found, self._max_series)}

    def _breakers(self) -> _Values:
        found = ((key, breaker) for key, _, backend in self._backends() if (breaker := backend.state.breaker))
        return {key: _state(breaker) for key, breaker in islice(found, self._max_series)}

    def _account_in_flight(self) -> _Values:
        return {(account.name,): account.bulkhead.running for account in self._accounts()}

    def _account_breakers(self) -> _Values:
        return {(account.name,): _state(account.breaker) for account in self._accounts() if account.breaker}

    def _left_alone(self) -> _Values:
        now_ns = self._clock.monotonic_ns()
        return {
            (account.name,): max(0.0, (account.backoff.until_ns - now_ns) / 1e9) if account.backoff.resting else 0.0
            for account in self._accounts()
        }

    def _backends(self) -> Iterator[tuple[tuple[str, str], Pool, Backend]]:
        for model, pool in self._pools().items():
            for backend in pool.backends:
                yield (model, backend.upstream.label), pool, backend

    def _accounts(self) -> list[Account]:
        """Each once, those with the first names when there are too many."""
        found = {backend.state.account.name: backend.state.account for _, _, backend in self._backends()}
        return [found[name] for name in sorted(found)[: self._max_series]]


def _state(breaker: Breaker) -> int:
    return _STATES[breaker.state]


def _add(values: _Values, key: tuple[str, ...], value: float, *, most: int, other: tuple[str, ...]) -> None:
    if key not in values and len(values) >= most:
        key = other
    values[key] = values.get(key, 0) + value
