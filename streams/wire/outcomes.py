"""The one outcome record of a job, and what is told after it."""

import uuid
from datetime import datetime
from typing import Any

from schemas import JobAmended, JobCompleted, JobFailed, Record
from streams.core.job import Job, OrderResult, OrderStatus, Status, Stop
from streams.names import Header, Topic
from streams.wire.records import NewRecord
from streams.wire.rows import row_key, utc_text

# Any fixed namespace will do; it only has to stay the same for ever, so that event ids do.
_EVENT_IDS = uuid.UUID("7a3f1f0e-5a0b-4f6e-9d0c-2f1f6f0a9b51")


def event_id(job: Job) -> str:
    """Return the id of the job's outcome event: the same however often it is derived.

    The time of the submission tells a job from a later one of the same ids, which begins when the first is forgotten.
    """
    return str(uuid.uuid5(_EVENT_IDS, f"{row_key(job.key).decode()}:{utc_text(job.submitted_at)}:{job.status}"))


def outcome_record(job: Job, partition: int, app_id: str) -> NewRecord:
    """Return the outcome record of an ended job. Raises pydantic's ValidationError for a job that has not ended."""
    topic, outcome = (
        (Topic.COMPLETED, _completed(job)) if job.status is Status.COMPLETED else (Topic.FAILED, _failed(job))
    )
    return _record(job, topic, outcome, event_id(job), job.ended_at, partition, app_id)


def amendment_record(job: Job, partition: int, app_id: str) -> NewRecord:
    """Return the record of what is known of an ended job by now. Raises pydantic's ValidationError for another job."""
    known = len(job.orders) - job.reported(OrderStatus.UNREPORTED)
    # All that is known only ever grows, so as much is the same.
    amendment_id = str(uuid.uuid5(_EVENT_IDS, f"{event_id(job)}:{known}:{job.success_count is not None}"))
    amendment = JobAmended.model_validate(
        _ids(job)
        | {
            "outcomeId": event_id(job),
            "reason": None if job.reason is None else job.reason.value,
            "successCount": job.success_count,
            "errorCount": job.error_count,
            "amendedAt": job.amended_at,
        }
    )
    return _record(job, Topic.AMENDED, amendment, amendment_id, job.amended_at, partition, app_id)


def _record(
    job: Job, topic: Topic, value: Record, record_id: str, at: datetime | None, partition: int, app_id: str
) -> NewRecord:
    headers = {
        Header.CE_SPECVERSION: "1.0",
        Header.CE_ID: record_id,
        Header.CE_SOURCE: f"/{app_id}",
        Header.CE_TYPE: f"{topic.value}.v1",
        Header.CE_TIME: utc_text(at) or "",
        Header.CE_SUBJECT: job.job_id,
        Header.CE_PARTITIONKEY: job.workspace_id,
        Header.CONTENT_TYPE: "application/json",
    }
    return NewRecord(
        topic=topic.value,
        partition=partition,
        key=job.job_id.encode(),
        value=value.model_dump_json().encode(),
        headers=tuple((name.value, text.encode()) for name, text in headers.items()),
    )


def _completed(job: Job) -> JobCompleted:
    # The models check what they are given, of whatever type it is here.
    return JobCompleted.model_validate(
        common_fields(job)
        | {
            "successCount": job.success_count,
            "errorCount": job.error_count,
            "countsMismatch": job.counts_mismatch,
        }
    )


def _failed(job: Job) -> JobFailed:
    return JobFailed.model_validate(
        common_fields(job)
        | {
            "reason": None if job.reason is None else job.reason.value,
            "error": job.error,
            "robotMayHaveReceived": job.robot_may_have_received,
            "robotStatus": job.robot_status,
            "control": None if job.stop is None else stopped_by(job.stop),
        }
    )


def stopped_by(stop: Stop) -> dict[str, Any]:
    """Return who ended a job, as outcomes have it."""
    return {"controlId": stop.control_id, "actor": stop.actor, "reason": stop.reason}


def _ids(job: Job) -> dict[str, Any]:
    return {
        "jobId": job.job_id,
        "workspaceId": job.workspace_id,
        "status": job.status.value,
        "orderCount": job.order_count,
        "orders": list(map(_order, job.orders)) or None,
    }


def _order(order: OrderResult) -> dict[str, Any]:
    return {
        "itemId": order.item_id,
        "status": order.status.value,
        "trackingNumber": order.tracking_number,
        "errorType": order.error_type,
        "errorMessage": order.error_message,
    }


def common_fields(job: Job) -> dict[str, Any]:
    """Return the fields that every outcome has of a job, by their names on the wire; times are datetimes."""
    return _ids(job) | {
        "resubmissionOf": job.resubmission_of,
        "submittedAt": job.submitted_at,
        "dispatchedAt": job.claimed_at,
        "acceptedAt": job.accepted_at,
        "endedAt": job.ended_at,
    }
