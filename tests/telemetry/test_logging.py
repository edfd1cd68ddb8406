import io
import json
import logging

import pytest
import structlog

from podium.telemetry.logging import configure_logging
from podium.telemetry.settings import TelemetrySettings


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    """Leaves the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_event_and_service():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(service_name="podium-eu"), stream)

    structlog.get_logger("podium.gateway").warning("backend_down", backend="local/smollm2", after_s=1.5)

    (line,) = lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "event", "service"]
    assert line["timestamp"].endswith("Z")
    assert {name: line[name] for name in ("level", "event", "service", "logger", "backend", "after_s")} == {
        "level": "warning",
        "event": "backend_down",
        "service": "podium-eu",
        "logger": "podium.gateway",
        "backend": "local/smollm2",
        "after_s": 1.5,
    }


def test_libraries_come_out_in_the_same_shape():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(), stream)

    logging.getLogger("granian").info("listening on %s", "127.0.0.1")

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("listening on 127.0.0.1", "info", "granian")


def test_a_stack_stays_in_its_line():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(), stream)

    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("podium").exception("task_failed")

    (line,) = lines(stream)
    assert "Traceback" in line["exception"]
    assert line["exception"].endswith("RuntimeError: broken")


def test_the_level_holds():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(log_level="warning"), stream)

    structlog.get_logger("podium").info("not this")
    logging.getLogger("granian").info("nor this")
    structlog.get_logger("podium").error("but_this")

    assert [line["event"] for line in lines(stream)] == ["but_this"]


def test_chatty_libraries_are_heard_from_warnings_on():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(log_level="debug"), stream)

    logging.getLogger("httpx").info("HTTP Request: GET http://127.0.0.1/")
    logging.getLogger("httpx").warning("odd")

    assert [line["event"] for line in lines(stream)] == ["odd"]


@pytest.mark.parametrize("settings", [TelemetrySettings(), TelemetrySettings(log_format="console")])
def test_the_secret_of_a_key_is_never_written(settings):
    stream = io.StringIO()
    configure_logging(settings, stream)
    key = f"pk_abcdefghijkm_{'s3cret99' * 5}"

    structlog.get_logger("podium").info(f"called with {key}", header=f"Bearer {key}")
    try:
        raise ValueError(key)
    except ValueError:
        structlog.get_logger("podium").exception("refused")

    assert "s3cret99" not in stream.getvalue()
    assert stream.getvalue().count("pk_abcdefghijkm_…") >= 3


def test_a_value_that_json_does_not_know_is_shown():
    stream = io.StringIO()
    configure_logging(TelemetrySettings(), stream)

    structlog.get_logger("podium").info("odd", value=complex(1, 2))

    assert lines(stream)[0]["value"] == "(1+2j)"


@pytest.mark.parametrize(
    ("stream", "log_format", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "console", False),
    ],
)
def test_people_get_text_and_machines_get_json(stream, log_format, is_json):
    stream = stream()
    configure_logging(TelemetrySettings(log_format=log_format), stream)

    structlog.get_logger("podium").info("started", port=8080)

    assert stream.getvalue().startswith("{") == is_json
    assert "started" in stream.getvalue()
    assert "8080" in stream.getvalue()


def test_the_second_call_replaces_the_first():
    first, second = io.StringIO(), io.StringIO()
    configure_logging(TelemetrySettings(), first)
    logger = structlog.get_logger("podium")
    logger.info("one")
    configure_logging(TelemetrySettings(), second)

    logger.info("two")

    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]
