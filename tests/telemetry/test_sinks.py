import json
import os
import sys

import pytest

from podium.core.errors import OperatorError
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.sinks import Sinks


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as source, os.fdopen(writer, "wb", 0) as sink:
        yield source, sink


async def test_an_event_is_shown_in_the_metrics_and_in_the_log(pipe, make_event):
    reader, writer = pipe
    sinks = Sinks(TelemetrySettings(service_name="podium-eu"), gateway="gateway-1", descriptor=writer.fileno())

    sinks.observe(make_event())
    await sinks.close()
    writer.close()

    assert b'podium_exchanges_total{endpoint="chat.completions"' in sinks.metrics.render()
    assert b"podium_log_lines_dropped_total 0\n" in sinks.metrics.render()
    assert json.loads(reader.read())["service"] == "podium-eu"


async def test_the_log_can_be_turned_off(pipe, make_event):
    reader, writer = pipe
    sinks = Sinks(TelemetrySettings(exchange_log=False), gateway="gateway-1", descriptor=writer.fileno())

    sinks.observe(make_event())
    await sinks.close()
    writer.close()

    assert reader.read() == b""


async def test_a_sink_that_fails_keeps_no_other_from_the_event(pipe, make_event):
    reader, writer = pipe
    settings = TelemetrySettings(otlp_endpoint="http://127.0.0.1:9", otlp_timeout_s=0.2)
    sinks = Sinks(settings, gateway="gateway-1", descriptor=writer.fileno())

    sinks.observe(make_event(trace_sampled=True, trace_id="not hex"))
    await sinks.close()
    writer.close()

    assert b"podium_exchanges_total{" in sinks.metrics.render()
    assert json.loads(reader.read())["request_id"] == "req-1"


def test_traces_without_their_packages_stop_the_start_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "podium.telemetry.traces", None)

    with pytest.raises(OperatorError, match="not installed") as caught:
        Sinks(TelemetrySettings(otlp_endpoint="http://127.0.0.1:9"), gateway="gateway-1")

    assert "podium[otlp]" in caught.value.hint
