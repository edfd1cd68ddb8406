"""The counted exchanges as a page that Prometheus reads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from podium.core.money import NANOUSD_PER_USD
from podium.core.reasons import Reason
from podium.telemetry.calls import Calls
from podium.telemetry.exposition import family, label_text
from podium.telemetry.series import Flow, Histogram, Series

__all__ = ["exchange_families"]

_NS_PER_S = 1_000_000_000
_FLOW = ("endpoint", "model", "version", "backend")
_Labels = tuple[str, ...]


def exchange_families(
    series: Sequence[Series], flows: Sequence[Flow], calls: Calls, *, tenant_label: bool
) -> Iterator[str]:
    """One block of text for each metric."""
    yield from _outcomes(series, ("tenant",) if tenant_label else ())
    yield from _transfers(series)
    yield from _calls(series, calls)
    yield from _durations(flows)


def _outcomes(series: Sequence[Series], extra: _Labels) -> Iterator[str]:
    def owner(one: Series) -> _Labels:
        return (*one.flow.labels, one.tenant) if extra else one.flow.labels

    yield _counter(
        "podium_exchanges_total",
        "Finished exchanges.",
        (*_FLOW, *extra, "status", "reason"),
        (((*owner(one), str(one.status), one.reason), one.exchanges) for one in series),
    )
    yield _counter(
        "podium_errors_total",
        "Exchanges that did not end well, and who has to act.",
        ("endpoint", "model", "reason", "fault"),
        (((*one.flow.labels[:2], one.reason, one.fault), one.exchanges) for one in series if one.reason != Reason.OK),
    )
    yield _counter(
        "podium_tokens_total",
        "Tokens; cached_input and cache_write are parts of input, reasoning is part of output.",
        (*_FLOW, *extra, "kind"),
        (((*owner(one), kind), count) for one in series for kind, count in _tokens(one)),
    )
    yield _counter(
        "podium_estimated_exchanges_total",
        "Exchanges whose tokens Podium counted because the upstream did not report them.",
        _FLOW,
        ((one.flow.labels, one.estimated) for one in series),
    )
    yield _counter(
        "podium_cost_usd_total",
        "Cost in US dollars, by the price list.",
        (*_FLOW, *extra),
        ((owner(one), one.cost_nanousd) for one in series),
        scale=NANOUSD_PER_USD,
    )


def _transfers(series: Sequence[Series]) -> Iterator[str]:
    yield _counter(
        "podium_received_bytes_total",
        "Bytes of request bodies.",
        ("endpoint",),
        ((one.flow.labels[:1], one.bytes_in) for one in series),
    )
    yield _counter(
        "podium_sent_bytes_total",
        "Bytes of answer bodies.",
        ("endpoint",),
        ((one.flow.labels[:1], one.bytes_out) for one in series),
    )


def _calls(series: Sequence[Series], calls: Calls) -> Iterator[str]:
    def attempts() -> Iterator[tuple[_Labels, int]]:
        for one in series:
            if one.attempts:
                _, model, _, backend = one.flow.labels
                yield (model, backend, "first", one.reason), one.attempts
        yield from list(calls.attempts.items())

    yield _counter(
        "podium_upstream_attempts_total",
        "Calls made to upstreams: for which model, what made each necessary, and how it ended.",
        ("model", "backend", "kind", "reason"),
        attempts(),
    )
    yield _counter(
        "podium_hedges_total",
        "Second calls that were made because the first was slow.",
        ("model",),
        list(calls.hedges.items()),
    )
    yield _counter(
        "podium_fallbacks_total",
        "Exchanges that went on to another model, and the one that answered; empty: none did.",
        ("model", "served_model"),
        list(calls.fallbacks.items()),
    )


def _durations(flows: Sequence[Flow]) -> Iterator[str]:
    yield _histogram(
        "podium_exchange_duration_seconds",
        "From the head of the request to the end of the answer.",
        ((flow.labels, flow.duration) for flow in flows),
    )
    yield _histogram(
        "podium_time_to_first_token_seconds",
        "From the head of the request to the first content of a streamed answer.",
        ((flow.labels, flow.ttft) for flow in flows),
    )
    yield _histogram(
        "podium_time_per_output_token_seconds",
        "Mean time between two tokens of a streamed answer.",
        ((flow.labels, flow.token_gap) for flow in flows),
    )
    yield _histogram(
        "podium_overhead_seconds",
        "Before the upstream call, reading the body and the queue included, and, when not streamed, after it.",
        ((flow.labels, flow.overhead) for flow in flows),
    )


def _tokens(one: Series) -> tuple[tuple[str, int], ...]:
    return (
        ("input", one.input_tokens),
        ("cached_input", one.cached_input_tokens),
        ("cache_write", one.cache_write_tokens),
        ("output", one.output_tokens),
        ("reasoning", one.reasoning_tokens),
    )


def _counter(
    name: str, help_text: str, labels: _Labels, values: Iterable[tuple[_Labels, int]], *, scale: int = 1
) -> str:
    """One line for each label set, the values of equal ones added up."""
    sums: defaultdict[_Labels, int] = defaultdict(int)
    for key, value in values:
        sums[key] += value
    scaled = sums if scale == 1 else {key: value / scale for key, value in sums.items()}
    return family(name, "counter", help_text, labels, scaled)


def _histogram(name: str, help_text: str, histograms: Iterable[tuple[_Labels, Histogram]]) -> str:
    lines = [f"# HELP {name} {help_text}\n# TYPE {name} histogram\n"]
    for key, histogram in histograms:
        *cumulated, count = accumulate(histogram.counts)
        if not count:
            continue
        labels = label_text(_FLOW, key)
        bucket = f'{name}_bucket{{{labels},le="'
        lines += [f'{bucket}{le}"}} {below}\n' for le, below in zip(histogram.le, cumulated, strict=True)]
        lines.append(f'{bucket}+Inf"}} {count}\n{name}_count{{{labels}}} {count}\n')
        lines.append(f"{name}_sum{{{labels}}} {histogram.total_ns / _NS_PER_S!r}\n")
    return "".join(lines)
