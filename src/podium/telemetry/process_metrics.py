"""Figures that are read from their owners when somebody scrapes."""

from collections.abc import Callable, Iterator

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest

from podium import __version__
from podium.telemetry.exposition import Values, family

__all__ = ["ProcessMetrics"]

_log = structlog.get_logger(__name__)

_BUILD: Values = {(__version__,): 1.0}


class ProcessMetrics:
    """Gauges and counters of one process, and its memory, processor time and open files."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._readers: dict[str, Callable[[], str]] = {}
        ProcessCollector(registry=self._registry)
        self.labelled_gauge("podium_build_info", "Always 1; the labels say what runs.", ("version",), lambda: _BUILD)

    def gauge(self, name: str, help_text: str, read: Callable[[], float | None]) -> None:
        """Expose what `read` returns at each scrape; None leaves the sample out. ValueError: the name is taken."""
        self.labelled_gauge(name, help_text, (), lambda: _unlabelled(read()))

    def labelled_gauge(self, name: str, help_text: str, labels: tuple[str, ...], read: Callable[[], Values]) -> None:
        """Expose one sample for each label set that `read` returns. ValueError: the name is taken."""
        self._register(name, lambda: family(name, "gauge", help_text, labels, read()))

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Expose a figure that only grows. ValueError: the name is taken, or does not end in `_total`."""
        self.labelled_counter(name, help_text, (), lambda: {(): read()})

    def labelled_counter(self, name: str, help_text: str, labels: tuple[str, ...], read: Callable[[], Values]) -> None:
        """Expose figures that only grow, one for each label set. ValueError: as for `counter`."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of a counter ends in _total: {name}")
        self._register(name, lambda: family(name, "counter", help_text, labels, read()))

    def render(self) -> bytes:
        """The page that Prometheus reads, in `content_type`."""
        return "".join(self._families()).encode() + generate_latest(self._registry)

    def _register(self, name: str, write: Callable[[], str]) -> None:
        if name in self._readers:
            raise ValueError(f"metric {name} is registered twice")
        self._readers[name] = write

    def _families(self) -> Iterator[str]:
        for name, write in self._readers.items():
            try:
                text = write()
            except Exception:  # noqa: BLE001 - one ill part must not hide the figures of all others
                _log.exception("metric_unreadable", metric=name)
                continue
            yield text


def _unlabelled(value: float | None) -> Values:
    return {} if value is None else {(): value}
