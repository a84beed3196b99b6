"""Log lines: one JSON object each, Faust's and aiokafka's own in the same form; readable ones on a terminal."""

import logging.config
import sys
from typing import Any

import structlog

from streams.settings import LogFormat, LogLevel

# Chatty at INFO about every connection and every rebalance step; their warnings matter.
# At DEBUG aiokafka prints whole requests, and with them credentials, so libraries never log at DEBUG.
_LIBRARIES = ("aiokafka", "faust", "mode", "httpx", "asyncio", "aiohttp", "streams")

_SHARED: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logging_config(log_format: LogFormat | None, level: LogLevel) -> dict[str, Any]:
    """Return the configuration for logging.config.dictConfig; without a format, what suits standard output."""
    if log_format is None:
        log_format = LogFormat.PRETTY if sys.stdout.isatty() else LogFormat.JSON
    finish: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format is LogFormat.JSON:
        finish += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        finish += [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    library_level = logging.INFO if level is LogLevel.DEBUG else logging.WARNING
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": finish,
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        "loggers": {name: {"level": library_level} for name in _LIBRARIES},
    }


def configure_logging(log_format: LogFormat | None, level: LogLevel) -> None:
    """Set up logging for this process."""
    logging.config.dictConfig(logging_config(log_format, level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
