"""Process logs: what Podium itself has to say, on standard error.

One JSON object a line (timestamp, level, event, service, logger, then what the call names), or coloured text on a
terminal. Libraries that use the standard `logging` module come out in the same shape.
"""

import logging
import re
import sys
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from podium.telemetry.settings import TelemetrySettings

__all__ = ["configure_logging"]

# The secret half of an API key, wherever it got in: a message, a value, a line of a stack.
_SECRET = re.compile(r"(pk_[0-9a-z]{12}_)[0-9a-z]{40}")
_CHATTY = ("httpx", "httpcore", "alembic", "sqlalchemy", "urllib3", "asyncio")


def configure_logging(settings: TelemetrySettings, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (standard error when None). May be called again."""
    stream = stream or sys.stderr
    as_text = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a module's logger made before this call must follow it
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=_console() if as_text else _json(settings.service_name),
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, _Formatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Takes secrets out of the finished line, whichever way they got in."""

    def format(self, record: logging.LogRecord) -> str:
        return _SECRET.sub(r"\1…", super().format(record))


def _console() -> list[Processor]:
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]


def _json(service: str) -> list[Processor]:
    def shape(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        first = {name: fields.pop(name, "") for name in ("timestamp", "level", "event")}
        return {**first, "service": service, **fields}

    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        shape,
        structlog.processors.JSONRenderer(serializer=_serialise),
    ]


def _serialise(fields: EventDict, **_: object) -> str:
    return msgspec.json.encode(fields, enc_hook=repr).decode()
