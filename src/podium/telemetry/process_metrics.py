"""Figures that are read from their owners when somebody scrapes."""

from collections.abc import Callable, Iterable, Mapping

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from podium import __version__

__all__ = ["ProcessMetrics"]

_log = structlog.get_logger(__name__)

_Values = Mapping[tuple[str, ...], float]
_BUILD: _Values = {(__version__,): 1.0}


class ProcessMetrics:
    """Gauges and counters of one process, and its memory, processor time and open files."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._readers: dict[str, Callable[[], Metric]] = {}
        self._registry.register(_Collector(self._collect))
        ProcessCollector(registry=self._registry)
        self.labelled_gauge("podium_build_info", "Always 1; the labels say what runs.", ("version",), lambda: _BUILD)

    def gauge(self, name: str, help_text: str, read: Callable[[], float | None]) -> None:
        """Expose what `read` returns at each scrape; None leaves the sample out. ValueError: the name is taken."""
        self.labelled_gauge(name, help_text, (), lambda: _unlabelled(read()))

    def labelled_gauge(self, name: str, help_text: str, labels: tuple[str, ...], read: Callable[[], _Values]) -> None:
        """Expose one sample for each label set that `read` returns. ValueError: the name is taken."""

        def collect() -> Metric:
            family = GaugeMetricFamily(name, help_text, labels=labels)
            for values, value in read().items():
                family.add_metric(values, value)
            return family

        self._register(name, collect)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Expose a figure that only grows. ValueError: the name is taken, or does not end in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of a counter ends in _total: {name}")
        self._register(name, lambda: CounterMetricFamily(name, help_text, value=read()))

    def render(self) -> bytes:
        """The page that Prometheus reads, in `content_type`."""
        return generate_latest(self._registry)

    def _register(self, name: str, collect: Callable[[], Metric]) -> None:
        if name in self._readers:
            raise ValueError(f"metric {name} is registered twice")
        self._readers[name] = collect

    def _collect(self) -> Iterable[Metric]:
        for name, collect in self._readers.items():
            try:
                family = collect()
            except Exception:  # noqa: BLE001 - one ill part must not hide the figures of all others
                _log.exception("metric_unreadable", metric=name)
                continue
            yield family


class _Collector:
    """A function in the shape that a registry asks for."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def _unlabelled(value: float | None) -> _Values:
    return {} if value is None else {(): value}
