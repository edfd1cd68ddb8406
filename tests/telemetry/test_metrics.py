import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from podium.telemetry.metrics import GatewayMetrics
from podium.telemetry.series import OTHER
from podium.telemetry.settings import TelemetrySettings
from podium.testing.events import make_call

FLOW = {
    "endpoint": "chat.completions",
    "model": "smollm2",
    "version": "smollm2-q8",
    "backend": "local/smollm2-135m",
}
REFUSED = {
    "version": "",
    "provider": "",
    "backend": "",
    "attempts": 0,
    "upstream_ns": -1,
    "first_byte_ns": -1,
    "fault": "caller",
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
    "reasoning_tokens": 0,
    "cost_nanousd": 0,
}


def scrape(metrics):
    """All samples of the page, read as Prometheus reads them."""
    families = list(text_string_to_metric_families(metrics.render().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return [sample for family in families for sample in family.samples]


def value(metrics, name, **labels):
    found = [s.value for s in scrape(metrics) if s.name == name and labels.items() <= s.labels.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def samples(metrics, name):
    return [sample for sample in scrape(metrics) if sample.name == name]


def attempts(metrics):
    return {
        tuple(sample.labels[name] for name in ("model", "backend", "kind", "reason")): sample.value
        for sample in samples(metrics, "podium_upstream_attempts_total")
    }


def label_values(metrics, label):
    return {s.labels[label] for s in scrape(metrics) if label in s.labels}


def test_an_answered_exchange_is_counted_once_with_its_tokens_and_cost(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(cache_write_tokens=3))

    assert value(metrics, "podium_exchanges_total", **FLOW, status="200", reason="ok") == 1
    kinds = (("input", 10), ("cached_input", 4), ("cache_write", 3), ("output", 21), ("reasoning", 5))
    for kind, tokens in kinds:
        assert value(metrics, "podium_tokens_total", **FLOW, kind=kind) == tokens
    assert value(metrics, "podium_cost_usd_total", **FLOW) == 1.5e-6
    assert attempts(metrics) == {("smollm2", "local/smollm2-135m", "first", "ok"): 1}
    assert value(metrics, "podium_received_bytes_total", endpoint="chat.completions") == 100
    assert value(metrics, "podium_sent_bytes_total", endpoint="chat.completions") == 900
    assert not [s for s in scrape(metrics) if s.name == "podium_errors_total"]


def test_exchanges_of_one_flow_with_different_ends_add_up_in_its_tokens(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event())
    metrics.observe(make_event(status=499, reason="client_gone", fault="caller"))

    assert value(metrics, "podium_exchanges_total", status="499", reason="client_gone") == 1
    assert value(metrics, "podium_errors_total", reason="client_gone", fault="caller", model="smollm2") == 1
    assert value(metrics, "podium_tokens_total", **FLOW, kind="output") == 42
    backend = ("smollm2", "local/smollm2-135m", "first")
    assert attempts(metrics) == {(*backend, "ok"): 1, (*backend, "client_gone"): 1}


def test_each_of_several_calls_is_counted_with_its_own_backend_and_end(make_event):
    metrics = GatewayMetrics()
    calls = (
        make_call(model="m", backend="a/x", kind="first", reason="client_gone"),
        make_call(model="m", backend="b/y", kind="hedge", reason="ok"),
    )

    for _ in range(3):
        metrics.observe(make_event(model="m", backend="b/y", attempts=2, hedges=1, trail=calls))
    metrics.observe(make_event(model="m", backend="b/y"))

    assert attempts(metrics) == {
        ("m", "a/x", "first", "client_gone"): 3,
        ("m", "b/y", "hedge", "ok"): 3,
        ("m", "b/y", "first", "ok"): 1,
    }
    assert value(metrics, "podium_hedges_total", model="m") == 3
    assert not [s for s in scrape(metrics) if s.name == "podium_fallbacks_total"]


def test_fallbacks_are_counted_by_what_was_asked_for_and_what_answered(make_event):
    metrics = GatewayMetrics()
    down = make_call(model="m", backend="a/x", reason="upstream_error")
    other = make_call(model="n", backend="b/y", kind="fallback")
    failed = make_call(model="n", backend="b/y", kind="fallback", reason="upstream_error")

    metrics.observe(make_event(model="m", attempts=2, fallbacks=1, served_model="n", trail=(down, other)))
    metrics.observe(make_event(model="m", attempts=2, fallbacks=1, trail=(down, failed)))
    # Nobody could be called for the first model: the second one's call is the only one, and there is no trail.
    metrics.observe(make_event(model="m", backend="b/y", attempts=1, fallbacks=1, served_model="n"))
    metrics.observe(make_event(model="m", attempts=0, fallbacks=1, status=503, reason="no_backend", fault="podium"))

    found = {(s.labels["model"], s.labels["served_model"]): s.value for s in samples(metrics, "podium_fallbacks_total")}
    assert found == {("m", "n"): 2, ("m", ""): 2}
    assert attempts(metrics) == {
        ("m", "a/x", "first", "upstream_error"): 2,
        ("n", "b/y", "fallback", "ok"): 2,
        ("n", "b/y", "fallback", "upstream_error"): 1,
    }


def test_labels_of_calls_are_bounded_and_nothing_is_left_uncounted(make_event):
    metrics = GatewayMetrics(TelemetrySettings(metrics_max_series=5))

    for number in range(40):
        calls = tuple(make_call(model=f"m{number}", backend=f"b/{number}", kind=kind) for kind in ("first", "retry"))
        metrics.observe(
            make_event(attempts=2, fallbacks=1, hedges=1, model=f"m{number}", served_model="n", trail=calls)
        )

    counted = attempts(metrics)
    assert sum(counted.values()) == 80
    assert len(counted) == 7
    assert counted[OTHER, OTHER, "first", "ok"] == 37
    assert sum(s.value for s in samples(metrics, "podium_hedges_total")) == 40
    assert value(metrics, "podium_fallbacks_total", model=OTHER) == 36


def test_estimated_tokens_are_counted_apart(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(tokens_estimated=True))
    metrics.observe(make_event())

    assert value(metrics, "podium_estimated_exchanges_total", **FLOW) == 1


def test_a_streamed_answer_gives_time_to_first_token_and_time_per_token(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(stream=True, first_byte_ns=40_000_000, ended_ns=440_000_000, output_tokens=21))

    assert value(metrics, "podium_time_to_first_token_seconds_sum", **FLOW) == 0.04
    assert value(metrics, "podium_time_to_first_token_seconds_bucket", **FLOW, le="0.025") == 0
    assert value(metrics, "podium_time_to_first_token_seconds_bucket", **FLOW, le="0.05") == 1
    assert value(metrics, "podium_time_per_output_token_seconds_sum", **FLOW) == 0.02
    assert value(metrics, "podium_exchange_duration_seconds_sum", **FLOW) == 0.44
    assert value(metrics, "podium_overhead_seconds_sum", **FLOW) == 0.0002


def test_an_answer_that_is_not_streamed_has_no_time_to_first_token_but_overhead_on_both_sides(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(upstream_ns=200_000, first_byte_ns=40_000_000, ended_ns=40_100_000))

    assert not [s for s in scrape(metrics) if s.name.startswith("podium_time_to_first_token_seconds_")]
    assert value(metrics, "podium_overhead_seconds_sum", **FLOW) == 0.0003


def test_overhead_is_not_guessed_when_a_retry_hides_it(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(attempts=2))

    assert not [s for s in scrape(metrics) if s.name.startswith("podium_overhead_seconds_")]


def test_the_longest_exchange_is_in_the_last_bucket_only(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event(ended_ns=500_000_000_000))

    assert value(metrics, "podium_exchange_duration_seconds_bucket", **FLOW, le="120.0") == 0
    assert value(metrics, "podium_exchange_duration_seconds_bucket", **FLOW, le="+Inf") == 1
    assert value(metrics, "podium_exchange_duration_seconds_count", **FLOW) == 1


def test_a_caller_cannot_make_labels_from_model_names(make_event):
    metrics = GatewayMetrics()

    for number in range(50):
        metrics.observe(make_event(**REFUSED, model=f"made-up-{number}", status=404, reason="model_not_found"))

    assert label_values(metrics, "model") == {OTHER}
    assert value(metrics, "podium_errors_total", reason="model_not_found") == 50


def test_a_model_that_was_served_keeps_its_name_in_refusals(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event())
    metrics.observe(make_event(**REFUSED, status=429, reason="requests_limited"))

    assert value(metrics, "podium_errors_total", reason="requests_limited", model="smollm2") == 1


def test_label_sets_are_bounded_and_nothing_is_left_uncounted(make_event):
    metrics = GatewayMetrics(TelemetrySettings(metrics_max_series=5))

    for number in range(40):
        metrics.observe(make_event(model=f"m{number}", version=f"v{number}", backend=f"b/{number}"))

    counted = [s for s in scrape(metrics) if s.name == "podium_exchanges_total"]
    assert len(counted) == 6
    assert sum(s.value for s in counted) == 40
    assert value(metrics, "podium_exchanges_total", model=OTHER, version=OTHER, backend=OTHER) == 35


def test_no_tenant_and_no_user_is_a_label_unless_asked_for(make_event):
    metrics = GatewayMetrics()

    metrics.observe(make_event())

    page = metrics.render().decode()
    for secret in ("acme", "alice@example.org", "abcdefghijkm", "req-1"):
        assert secret not in page


def test_tenants_are_a_bounded_label_by_setting(make_event):
    metrics = GatewayMetrics(TelemetrySettings(metrics_tenant_label=True, metrics_max_tenants=2))

    for tenant in ("acme", "beta", "gamma", "delta", "acme"):
        metrics.observe(make_event(tenant=tenant))

    assert value(metrics, "podium_exchanges_total", tenant="acme") == 2
    assert value(metrics, "podium_exchanges_total", tenant="beta") == 1
    assert value(metrics, "podium_exchanges_total", tenant=OTHER) == 2
    assert value(metrics, "podium_cost_usd_total", tenant=OTHER) == 3e-6


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_any_name_can_be_read_back(make_event, name):
    metrics = GatewayMetrics()

    metrics.observe(make_event(backend=name))

    assert label_values(metrics, "backend") == {name}


def test_gauges_are_read_at_each_scrape():
    metrics = GatewayMetrics()
    values = [3, 7]
    metrics.gauge("podium_in_flight", "Exchanges that run.", lambda: values[0])
    metrics.labelled_gauge(
        "podium_backend_up", "1: it takes calls.", ("backend",), lambda: {("a",): values[0], ("b",): values[1]}
    )

    assert value(metrics, "podium_in_flight") == 3
    values[0] = 4
    assert value(metrics, "podium_in_flight") == 4
    assert value(metrics, "podium_backend_up", backend="b") == 7


def test_a_gauge_without_a_value_is_left_out():
    metrics = GatewayMetrics()
    metrics.gauge("podium_snapshot_age_seconds", "Since it was published.", lambda: None)

    assert not [s for s in scrape(metrics) if s.name == "podium_snapshot_age_seconds"]


def test_a_gauge_that_fails_does_not_hide_the_others():
    metrics = GatewayMetrics()
    metrics.gauge("podium_broken", "Fails.", lambda: 1 / 0)
    metrics.gauge("podium_in_flight", "Exchanges that run.", lambda: 3)

    assert value(metrics, "podium_in_flight") == 3


def test_a_counter_is_read_from_its_owner_and_named_like_one():
    metrics = GatewayMetrics()
    metrics.counter("podium_log_lines_dropped_total", "Lines.", lambda: 5)

    assert value(metrics, "podium_log_lines_dropped_total") == 5
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("podium_lines", "Lines.", lambda: 5)


def test_a_name_is_taken_once():
    metrics = GatewayMetrics()
    metrics.gauge("podium_in_flight", "Exchanges that run.", lambda: 1)

    with pytest.raises(ValueError, match="twice"):
        metrics.gauge("podium_in_flight", "Exchanges that run.", lambda: 2)


def test_the_process_shows_its_own_figures():
    metrics = GatewayMetrics()

    assert value(metrics, "process_resident_memory_bytes") > 1_000_000
    assert value(metrics, "process_open_fds") > 0
    assert metrics.content_type.startswith("text/plain; version=0.0.4")
