"""What happened, told: a log line and a counter. Nothing of a report is told but the ids that it is about."""

from enum import StrEnum
from typing import Any

import structlog

from streams.core.job import JobKey
from streams.names import LogEvent
from streams.telemetry.metrics import BridgeMetrics


class Refusal(StrEnum):
    """Why a report was not taken."""

    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


class RefusedError(Exception):
    """A report is not taken. The text says why and quotes nothing of it; `item_id` is there if it could be read."""

    def __init__(self, refusal: Refusal, problem: str, item_id: str | None = None) -> None:
        super().__init__(problem)
        self.refusal = refusal
        self.item_id = item_id


class BridgeJournal:
    """Writes the log lines and counts."""

    def __init__(self, metrics: BridgeMetrics) -> None:
        self.metrics = metrics
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

    def info(self, event: LogEvent, **values: Any) -> None:
        """Write a line about the bridge itself."""
        self._log.info(event.value, **values)

    def warning(self, event: LogEvent, **values: Any) -> None:
        """Write a line about something that an operator should know."""
        self._log.warning(event.value, **values)

    def critical(self, event: LogEvent, **values: Any) -> None:
        """Write the last line of a bridge that somebody has to look at."""
        self._log.critical(event.value, **values)

    def accepted(self, seconds: float) -> None:
        """Count a report that is in the log, so long after it was known to be one."""
        self.metrics.bridge_reports.labels("accepted").inc()
        self.metrics.bridge_publish.observe(seconds)

    def refused(self, error: RefusedError, key: JobKey | None) -> None:
        """Tell of a report that was not taken: the robot does not look at the answer, and never repeats it."""
        self.metrics.bridge_reports.labels(error.refusal.value).inc()
        ids = {} if key is None else {"job_id": key.job_id, "workspace_id": key.workspace_id}
        if error.item_id is not None:
            ids["item_id"] = error.item_id
        self.warning(LogEvent.REPORT_REFUSED, reason=error.refusal.value, error=str(error), **ids)
