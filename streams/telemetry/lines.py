"""Log lines about what a program does, by their events."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from streams.names import LogEvent

# How often it is said that no broker answers, however often one is asked.
WAITING_SECONDS = 60.0


class Lines:
    """Writes log lines. `seconds` is a clock that never steps back."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._waiting_told_at: float | None = None
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

    def debug(self, event: LogEvent, **values: Any) -> None:
        """Write a line that says nothing that another one does not."""
        self._log.debug(event.value, **values)

    def info(self, event: LogEvent, **values: Any) -> None:
        """Write a line about what goes on."""
        self._log.info(event.value, **values)

    def warning(self, event: LogEvent, **values: Any) -> None:
        """Write a line about something that an operator should know."""
        self._log.warning(event.value, **values)

    def critical(self, event: LogEvent, **values: Any) -> None:
        """Write the last line of a program that somebody has to look at."""
        self._log.critical(event.value, **values)

    def waiting_for_broker(self, error: str) -> None:
        """Tell that no broker answers, not more often than once a minute."""
        now = self._seconds()
        if self._waiting_told_at is None or now - self._waiting_told_at >= WAITING_SECONDS:
            self._waiting_told_at = now
            self.warning(LogEvent.WAITING_FOR_BROKER, error=error)
