"""The one outcome record of a job."""

import uuid
from typing import Any

from schemas import JobCompleted, JobFailed
from streams.core.job import Job, Status
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
    headers = {
        Header.CE_SPECVERSION: "1.0",
        Header.CE_ID: event_id(job),
        Header.CE_SOURCE: f"/{app_id}",
        Header.CE_TYPE: f"{topic.value}.v1",
        Header.CE_TIME: utc_text(job.ended_at) or "",
        Header.CE_SUBJECT: job.job_id,
        Header.CE_PARTITIONKEY: job.workspace_id,
        Header.CONTENT_TYPE: "application/json",
    }
    return NewRecord(
        topic=topic.value,
        partition=partition,
        key=job.job_id.encode(),
        value=outcome.model_dump_json().encode(),
        headers=tuple((name.value, text.encode()) for name, text in headers.items()),
    )


def _completed(job: Job) -> JobCompleted:
    # The models check what they are given, of whatever type it is here.
    return JobCompleted.model_validate(
        _common(job)
        | {
            "successCount": job.success_count,
            "errorCount": job.error_count,
            "countsMismatch": job.counts_mismatch,
        }
    )


def _failed(job: Job) -> JobFailed:
    return JobFailed.model_validate(
        _common(job)
        | {
            "reason": None if job.reason is None else job.reason.value,
            "error": job.error,
            "robotMayHaveReceived": job.robot_may_have_received,
            "robotStatus": job.robot_status,
        }
    )


def _common(job: Job) -> dict[str, Any]:
    return {
        "jobId": job.job_id,
        "workspaceId": job.workspace_id,
        "status": job.status.value,
        "orderCount": job.order_count,
        "submittedAt": job.submitted_at,
        "dispatchedAt": job.claimed_at,
        "acceptedAt": job.accepted_at,
        "endedAt": job.ended_at,
    }
