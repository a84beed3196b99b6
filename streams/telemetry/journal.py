"""What happened, told after it is committed: a log line and a counter for everything that matters."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter

from streams.core.controls import Decision
from streams.core.effects import IgnoreReason
from streams.core.events import (
    Admitted,
    BatchCompleted,
    BatchLost,
    CallFailed,
    DeadlinePassed,
    Event,
    JobSubmitted,
    OrderReported,
    Resubmitted,
    RobotAccepted,
)
from streams.core.job import Job, JobKey, OrderStatus, PutOff, Status
from streams.names import LogEvent
from streams.telemetry.facts import (
    CompletionIgnored,
    ControlDecided,
    DeadLettered,
    Fact,
    RecordForwarded,
    ReportIgnored,
    RowChanged,
    SubmissionExpired,
    SubmissionIgnored,
)
from streams.telemetry.metrics import Metrics
from streams.wire.intake import Rejection
from streams.wire.records import SourceRecord
from streams.wire.rows import utc_text

# Deadlines are as exact as the clocks agree; beyond this somebody should look at them.
SKEW_WARNING_SECONDS = 2.0


class Journal:
    """Writes the log lines and counts, for the ledgers and the dispatcher. Never sees a payload."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._skewed = False
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

    def info(self, event: LogEvent, **values: Any) -> None:
        """Write a line about the worker itself."""
        self._log.info(event.value, **values)

    def warning(self, event: LogEvent, **values: Any) -> None:
        """Write a line about something that an operator should know."""
        self._log.warning(event.value, **values)

    def tell(self, fact: Fact) -> None:
        """Write down what a committed transaction has done."""
        match fact:
            case RowChanged(event, before, row, at):
                self._row_changed(event, before, row, at)
            case SubmissionIgnored(key, reason):
                self.info(LogEvent.SUBMISSION_IGNORED, **self._ignored(self.metrics.submissions, key, reason))
            case SubmissionExpired(key):
                self._submission_expired(key)
            case CompletionIgnored(key, reason):
                self.info(LogEvent.COMPLETION_IGNORED, **self._ignored(self.metrics.completions, key, reason))
            case ReportIgnored(key, reason):
                self.info(LogEvent.REPORT_IGNORED, **self._ignored(self.metrics.reports, key, reason))
            case ControlDecided(decision, repeated):
                if not repeated:
                    self._control_decided(decision)
            case DeadLettered(record, rejection):
                self._dead_lettered(record, rejection)
            case RecordForwarded(record, target):
                self._record_forwarded(record, target)

    def _row_changed(self, event: Event, before: Job | None, job: Job, now: datetime) -> None:
        ids = {"job_id": job.job_id, "workspace_id": job.workspace_id, "partition": job.source.partition}
        if before is None and isinstance(event, JobSubmitted):
            self.metrics.submissions.labels("accepted").inc()
            self.info(LogEvent.JOB_SUBMITTED, **ids, orders=job.order_count, offset=job.source.offset)
        elif before is None:
            self.metrics.submissions.labels("invalid").inc()
        if isinstance(event, OrderReported):
            self._order_reported(event, job, ids)
        if before is not None and before.ended:
            self._learned(event, job, ids)
        elif job.ended:
            self._ended(event, job, ids, now)
        elif isinstance(event, RobotAccepted):
            self.info(LogEvent.JOB_ACCEPTED, **ids, deadline=utc_text(job.deadline))
        elif isinstance(event, CallFailed) and job.put_off is not None:
            self._put_off(job.put_off, ids)
        elif isinstance(event, BatchLost):
            self.metrics.batches_lost.inc()
            when = {"accepted_at": utc_text(job.accepted_at), "restarted_at": utc_text(event.restarted_at)}
            self.warning(LogEvent.BATCH_LOST, **ids, **when, deadline=utc_text(job.deadline))
        elif isinstance(event, Admitted):
            self.info(LogEvent.JOB_CLAIMED, **ids, deadline=utc_text(job.deadline))

    def _order_reported(self, event: OrderReported, job: Job, ids: dict[str, Any]) -> None:
        self.metrics.reports.labels("taken").inc()
        item_id, status, *_ = event.order
        left = job.reported(OrderStatus.UNREPORTED)
        self.info(LogEvent.ORDER_REPORTED, **ids, item_id=item_id, status=status.value, unreported=left)

    def _learned(self, event: Event, job: Job, ids: dict[str, Any]) -> None:
        """Tell what became known of a job that had ended."""
        if isinstance(event, Resubmitted):
            self.info(LogEvent.JOB_RESUBMITTED, **ids, new_job_id=job.resubmitted_as)
            return
        if isinstance(event, BatchCompleted):
            self.metrics.completions.labels("amended").inc()
        counts = {"success_count": job.success_count, "error_count": job.error_count}
        left = job.reported(OrderStatus.UNREPORTED)
        self.metrics.amendments.labels(job.status.value).inc()
        told = {"status": job.status.value, **counts, "unreported": left}
        if job.status is Status.FAILED:
            self.warning(LogEvent.JOB_AMENDED, **ids, **told)
        else:
            # Where both bridges are used, the reports may come behind the counts.
            self.info(LogEvent.JOB_AMENDED, **ids, **told)

    def _put_off(self, put_off: PutOff, ids: dict[str, Any]) -> None:
        self.metrics.put_off.labels(put_off.reason.value).inc()
        why = {"reason": put_off.reason.value, "error": put_off.error, "robot_status": put_off.robot_status}
        when = {"since": utc_text(put_off.since), "not_before": utc_text(put_off.until)}
        self.warning(LogEvent.JOB_PUT_OFF, **ids, **why, times=put_off.times, **when)

    def robot_away(self, error: str) -> None:
        """Tell that there is no robot, so that nobody is called."""
        self.metrics.robot_up.set(0)
        self.warning(LogEvent.ROBOT_AWAY, error=error)

    def robot_back(self) -> None:
        """Tell that there is a robot again."""
        self.metrics.robot_up.set(1)
        self.info(LogEvent.ROBOT_BACK)

    def _ended(self, event: Event, job: Job, ids: dict[str, Any], now: datetime) -> None:
        self.metrics.outcomes.labels(job.status.value, job.reason.value if job.reason else "").inc()
        self.metrics.job_duration.labels(job.status.value).observe((now - job.submitted_at).total_seconds())
        if job.status is Status.COMPLETED:
            if isinstance(event, BatchCompleted):
                self.metrics.completions.labels("early" if job.accepted_at is None else "matched").inc()
            if job.counts_mismatch:
                self.metrics.counts_mismatches.inc()
            counts = {"success_count": job.success_count, "error_count": job.error_count}
            self.info(LogEvent.JOB_COMPLETED, **ids, **counts, counts_mismatch=job.counts_mismatch)
            return
        details = {
            "reason": job.reason,
            "error": job.error,
            "robot_status": job.robot_status,
            "robot_may_have_received": job.robot_may_have_received,
        }
        if isinstance(event, DeadlinePassed) and job.deadline is not None and job.stop is None:
            self.metrics.deadline_delay.observe((now - job.deadline).total_seconds())
            self.warning(LogEvent.JOB_TIMED_OUT, **ids, deadline=utc_text(job.deadline))
        self.warning(LogEvent.JOB_FAILED, **ids, **details)

    @staticmethod
    def _ignored(counter: Counter, key: JobKey, reason: IgnoreReason) -> dict[str, Any]:
        """Count a record that has changed nothing; return what its line says."""
        counter.labels(reason.value).inc()
        return {"job_id": key.job_id, "workspace_id": key.workspace_id, "reason": reason.value}

    def _control_decided(self, decision: Decision) -> None:
        control, refused = decision.control, decision.refused
        self.metrics.controls.labels(control.action.value, "applied" if refused is None else "refused").inc()
        about = {"workspace_id": control.workspace_id, "job_id": control.job_id, "detail": control.detail}
        said = {"actor": control.actor, "said": control.reason, "control_id": control.control_id}
        told = {"action": control.action.value, **{name: value for name, value in about.items() if value}, **said}
        if refused is None:
            self.info(LogEvent.CONTROL_APPLIED, **told)
        else:
            self.warning(LogEvent.CONTROL_REFUSED, **told, reason=refused.value)

    def _submission_expired(self, key: JobKey) -> None:
        self.metrics.submissions.labels("expired").inc()
        self.warning(LogEvent.SUBMISSION_IGNORED, job_id=key.job_id, workspace_id=key.workspace_id, reason="expired")

    def _dead_lettered(self, record: SourceRecord, rejection: Rejection) -> None:
        self.metrics.dead_letters.labels(record.topic, rejection.reason.value).inc()
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        self.warning(LogEvent.DEAD_LETTER, **where, reason=rejection.reason.value, error=rejection.message)

    def _record_forwarded(self, record: SourceRecord, target: int) -> None:
        self.metrics.forwarded.labels(record.topic).inc()
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        self.info(LogEvent.RECORD_FORWARDED, **where, target_partition=target)

    def record_processed(self, topic: str) -> None:
        """Note that a record and all that follows from it is committed."""
        self.metrics.last_record_processed.labels(topic).set_to_current_time()

    def broker_time(self, skew: timedelta) -> None:
        """Note how far this worker's clock is ahead of the broker's; a large skew is said once until it is gone."""
        seconds = skew.total_seconds()
        self.metrics.clock_skew.set(seconds)
        skewed = abs(seconds) > SKEW_WARNING_SECONDS
        if skewed and not self._skewed:
            self.warning(LogEvent.CLOCK_SKEW, skew_seconds=round(seconds, 3))
        self._skewed = skewed

    def call_started(self, job: Job) -> None:
        """Tell of a POST that is about to leave."""
        self.info(
            LogEvent.JOB_DISPATCHED,
            job_id=job.job_id,
            workspace_id=job.workspace_id,
            partition=job.source.partition,
            orders=job.order_count,
        )

    def call_ended(self, result: str, seconds: float) -> None:
        """Count a POST that has ended."""
        self.metrics.dispatches.labels(result).inc()
        self.metrics.dispatch_duration.labels(result).observe(seconds)
