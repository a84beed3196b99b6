"""What happened, told: a log line and a counter. Nothing of a report is told but the ids that it is about."""

from streams.core.job import JobKey
from streams.names import LogEvent, ReportRefusal
from streams.telemetry.lines import Lines
from streams.telemetry.metrics import BRIDGE_ACCEPTED, BridgeMetrics


class RefusedError(Exception):
    """A report is not taken. The text says why and quotes nothing of it; `item_id` is there if it could be read."""

    def __init__(self, refusal: ReportRefusal, problem: str, item_id: str | None = None) -> None:
        super().__init__(problem)
        self.refusal = refusal
        self.item_id = item_id


class BridgeJournal(Lines):
    """Writes the log lines and counts."""

    def __init__(self, metrics: BridgeMetrics) -> None:
        super().__init__()
        self.metrics = metrics

    def accepted(self, seconds: float) -> None:
        """Count a report that is in the log, so long after it was known to be one."""
        self.metrics.bridge_reports.labels(BRIDGE_ACCEPTED).inc()
        self.metrics.bridge_publish.observe(seconds)

    def refused(self, error: RefusedError, key: JobKey | None) -> None:
        """Tell of a report that was not taken: the robot does not look at the answer, and never repeats it."""
        self.metrics.bridge_reports.labels(error.refusal).inc()
        ids = {} if key is None else {"job_id": key.job_id, "workspace_id": key.workspace_id}
        if error.item_id is not None:
            ids["item_id"] = error.item_id
        self.warning(LogEvent.REPORT_REFUSED, reason=error.refusal.value, error=str(error), **ids)
