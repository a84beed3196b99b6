"""What happened, told after it is committed: a log line and a counter for everything that matters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

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
from streams.telemetry.lines import Lines
from streams.telemetry.metrics import (
    CompletionResult,
    ControlResult,
    DispatchResult,
    Metrics,
    ReportResult,
    SubmissionResult,
)
from streams.wire.intake import Rejection
from streams.wire.records import SourceRecord, TopicPartition
from streams.wire.rows import utc_text

# Deadlines are as exact as the clocks agree; beyond this somebody should look at them.
SKEW_WARNING_SECONDS = 2.0


class Journal(Lines):
    """Writes the log lines and counts, for the ledgers and the dispatcher. Never looks into a payload."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self.metrics = metrics
        self._skewed = False

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
            case DeadLettered(record, rejection, key):
                self._dead_lettered(record, rejection, key)
            case RecordForwarded(record, target):
                self._record_forwarded(record, target)

    def _row_changed(self, event: Event, before: Job | None, job: Job, now: datetime) -> None:
        ids = {"job_id": job.job_id, "workspace_id": job.workspace_id, "partition": job.source.partition}
        if before is None and isinstance(event, JobSubmitted):
            self.metrics.submissions.labels(SubmissionResult.ACCEPTED).inc()
            self.info(LogEvent.JOB_SUBMITTED, **ids, orders=job.order_count, offset=job.source.offset)
        elif before is None:
            self.metrics.submissions.labels(SubmissionResult.INVALID).inc()
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
            # The call comes next, and has a line of its own.
            self.debug(LogEvent.JOB_CLAIMED, **ids, deadline=utc_text(job.deadline))

    def _order_reported(self, event: OrderReported, job: Job, ids: dict[str, Any]) -> None:
        self.metrics.reports.labels(ReportResult.TAKEN).inc()
        item_id, status, *_ = event.order
        left = job.reported(OrderStatus.UNREPORTED)
        self.info(LogEvent.ORDER_REPORTED, **ids, item_id=item_id, status=status.value, unreported=left)

    def _learned(self, event: Event, job: Job, ids: dict[str, Any]) -> None:
        """Tell what became known of a job that had ended."""
        if isinstance(event, Resubmitted):
            self.info(LogEvent.JOB_RESUBMITTED, **ids, new_job_id=job.resubmitted_as)
            return
        if isinstance(event, BatchCompleted):
            self.metrics.completions.labels(CompletionResult.AMENDED).inc()
        counts = {"success_count": job.success_count, "error_count": job.error_count}
        left = job.reported(OrderStatus.UNREPORTED)
        self.metrics.amendments.labels(job.status).inc()
        told = {"status": job.status.value, **counts, "unreported": left}
        if job.status is Status.FAILED:
            self.warning(LogEvent.JOB_AMENDED, **ids, **told)
        else:
            # Where both bridges are used, the reports may come behind the counts.
            self.info(LogEvent.JOB_AMENDED, **ids, **told)

    def _put_off(self, put_off: PutOff, ids: dict[str, Any]) -> None:
        self.metrics.put_off.labels(put_off.reason).inc()
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
        self.metrics.outcomes.labels(job.status, job.reason or "").inc()
        self.metrics.job_duration.labels(job.status).observe((now - job.submitted_at).total_seconds())
        if isinstance(event, DeadlinePassed) and job.deadline is not None and job.stop is None:
            self.metrics.deadline_delay.observe((now - job.deadline).total_seconds())
        if job.status is Status.COMPLETED:
            if isinstance(event, BatchCompleted):
                result = CompletionResult.EARLY if job.accepted_at is None else CompletionResult.MATCHED
                self.metrics.completions.labels(result).inc()
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
            "deadline": utc_text(job.deadline),
        }
        self.warning(LogEvent.JOB_FAILED, **ids, **details)

    @staticmethod
    def _ignored(counter: Counter, key: JobKey, reason: IgnoreReason) -> dict[str, Any]:
        """Count a record that has changed nothing; return what its line says."""
        counter.labels(reason).inc()
        return {**_ids(key), "reason": reason.value}

    def _control_decided(self, decision: Decision) -> None:
        control, refused = decision.control, decision.refused
        result = ControlResult.APPLIED if refused is None else ControlResult.REFUSED
        self.metrics.controls.labels(control.action, result).inc()
        about = {"workspace_id": control.workspace_id, "job_id": control.job_id, "detail": control.detail}
        said = {"actor": control.actor, "said": control.reason, "control_id": control.control_id}
        told = {"action": control.action.value, **{name: value for name, value in about.items() if value}, **said}
        if refused is None:
            self.info(LogEvent.CONTROL_APPLIED, **told)
        else:
            self.warning(LogEvent.CONTROL_REFUSED, **told, reason=refused.value)

    def _submission_expired(self, key: JobKey) -> None:
        result = SubmissionResult.EXPIRED
        self.metrics.submissions.labels(result).inc()
        self.warning(LogEvent.SUBMISSION_IGNORED, **_ids(key), reason=result.value)

    def _dead_lettered(self, record: SourceRecord, rejection: Rejection, key: JobKey | None) -> None:
        self.metrics.dead_letters.labels(record.topic, rejection.reason).inc()
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        ids = {} if key is None else _ids(key)
        self.warning(LogEvent.DEAD_LETTER, **ids, **where, reason=rejection.reason.value, error=rejection.message)

    def _record_forwarded(self, record: SourceRecord, target: int) -> None:
        self.metrics.forwarded.labels(record.topic).inc()
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        self.info(LogEvent.RECORD_FORWARDED, **where, target_partition=target)

    def record_processed(self, topic: str) -> None:
        """Note that a record and all that follows from it is committed."""
        self.metrics.last_record_processed.labels(topic).set_to_current_time()

    def show_lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Show how many offsets of each source that is read here are not done yet; of no other one."""
        self.metrics.consumer_lag.clear()
        for place, offsets in lag.items():
            self.metrics.consumer_lag.labels(*place).set(offsets)

    def broker_time(self, skew: timedelta) -> None:
        """Note how far this worker's clock is ahead of the broker's; a large skew is said once until it is gone."""
        seconds = skew.total_seconds()
        self.metrics.clock_skew.set(seconds)
        skewed = abs(seconds) > SKEW_WARNING_SECONDS
        if skewed and not self._skewed:
            self.warning(LogEvent.CLOCK_SKEW, skew_seconds=round(seconds, 3))
        self._skewed = skewed

    def call_started(self, job: Job, now: datetime) -> None:
        """Tell of a POST that is about to leave."""
        if job.put_off is None:
            # Its producer's clock may be ahead of ours.
            self.metrics.submission_to_call.observe(max(0.0, (now - job.submitted_at).total_seconds()))
        self.info(
            LogEvent.JOB_DISPATCHED,
            job_id=job.job_id,
            workspace_id=job.workspace_id,
            partition=job.source.partition,
            orders=job.order_count,
        )

    def call_ended(self, result: DispatchResult, seconds: float) -> None:
        """Count a POST that has ended."""
        self.metrics.dispatches.labels(result).inc()
        self.metrics.dispatch_duration.labels(result).observe(seconds)


def _ids(key: JobKey) -> dict[str, str]:
    return {"job_id": key.job_id, "workspace_id": key.workspace_id}
