from dataclasses import fields

import pytest

from podium.telemetry.settings import TelemetrySettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_name", ""),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("trace_sample_ratio", -0.1),
        ("trace_sample_ratio", 1.1),
        ("trace_sample_ratio", float("nan")),
        ("metrics_max_tenants", 0),
        ("metrics_max_series", 0),
        ("otlp_timeout_s", 0),
        ("otlp_endpoint", "collector:4318"),
        ("otlp_endpoint", "ftp://collector"),
        ("otlp_endpoint", "http://"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(name, value):
    with pytest.raises(ValueError, match=name):
        TelemetrySettings(**{name: value})


def test_every_field_says_what_it_is_for():
    assert all(field.metadata["help"].endswith(".") for field in fields(TelemetrySettings))
