"""Log lines: one JSON object each, Faust's and aiokafka's own in the same form; readable ones on a terminal."""

import logging.config
import sys
import time
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog

from streams.settings import LogFormat, LogLevel

# A library's line is not written again within this time.
REPEAT_SECONDS = 10.0
REMEMBERED_LINES = 1_000

# The logger of our own lines.
LOGGER = "robot_orchestrator"

# Chatty at INFO about every connection and every rebalance step; their warnings matter.
# At DEBUG aiokafka prints whole requests, and with them credentials, so libraries never log at DEBUG.
_LIBRARIES = (
    *("aiokafka", "faust", "mode", "httpx", "asyncio", "aiohttp", "uvicorn", "streams"),
    # What exports the spans.
    *("opentelemetry", "urllib3"),
)

_SHARED: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logging_config(log_format: LogFormat | None, level: LogLevel) -> dict[str, Any]:
    """Return the configuration for logging.config.dictConfig; without a format, what suits standard output."""
    finish: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if _format_for(log_format) is LogFormat.JSON:
        finish += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        finish += [_console()]
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
        "filters": {"once": {"()": OnceInAWhile}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.__stdout__",
                "formatter": "line",
                "filters": ["once"],
            }
        },
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        "loggers": {name: {"level": library_level} for name in _LIBRARIES},
    }


def configure_logging(log_format: LogFormat | None, level: LogLevel) -> None:
    """Set up logging for this process.

    Our own lines, several a job, are rendered without the detour through the standard library's logging,
    which took a fifth of a worker's CPU time.
    """
    logging.config.dictConfig(logging_config(log_format, level))
    json_lines = _format_for(log_format) is LogFormat.JSON
    render: Any = (
        structlog.processors.JSONRenderer(serializer=lambda line, **_: msgspec.json.encode(line))
        if json_lines
        else _console()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        logger_factory=structlog.BytesLoggerFactory(cast(TextIO, sys.__stdout__).buffer)
        if json_lines
        else structlog.PrintLoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )


def _console() -> structlog.dev.ConsoleRenderer:
    # The default shows the local variables of every frame, and with them credentials.
    return structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)


class OnceInAWhile(logging.Filter):
    """Lets a library say the same thing once in a while: without a broker aiokafka writes 60 lines a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new, or the last one like it was long ago."""
        if record.name == LOGGER:
            return True
        line = (record.name, str(record.msg))
        now = time.monotonic()
        if now - self._said.get(line, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        if len(self._said) > REMEMBERED_LINES:
            self._said.clear()
        self._said[line] = now
        return True


def _format_for(log_format: LogFormat | None) -> LogFormat:
    if log_format is not None:
        return log_format
    return LogFormat.PRETTY if sys.stdout.isatty() else LogFormat.JSON


def _add_logger_name(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line["logger"] = LOGGER
    return line
