"""The one outcome record of a job."""

import uuid
from typing import Any

import msgspec

from streams.core.job import Job, Status
from streams.log import NewRecord
from streams.names import Header, Topic
from streams.rows import row_key, utc_text

# Any fixed namespace will do; it only has to stay the same for ever, so that event ids do.
_EVENT_IDS = uuid.UUID("7a3f1f0e-5a0b-4f6e-9d0c-2f1f6f0a9b51")


def event_id(job: Job) -> str:
    """Return the id of the job's outcome event: the same however often it is derived.

    The time of the submission tells a job from a later one of the same ids, which begins when the first is forgotten.
    """
    return str(uuid.uuid5(_EVENT_IDS, f"{row_key(job.key).decode()}:{utc_text(job.submitted_at)}:{job.status}"))


def outcome_record(job: Job, partition: int, app_id: str) -> NewRecord:
    """Return the outcome record of an ended job (schemas/job_completed.py, schemas/job_failed.py)."""
    if job.status is Status.COMPLETED:
        topic = Topic.COMPLETED
        result: dict[str, Any] = {
            "successCount": job.success_count,
            "errorCount": job.error_count,
            "countsMismatch": job.counts_mismatch,
        }
    else:
        topic = Topic.FAILED
        result = {
            "reason": job.reason,
            "error": job.error,
            "robotMayHaveReceived": job.robot_may_have_received,
            "robotStatus": job.robot_status,
        }
    ended_at = utc_text(job.ended_at)
    value = {
        "jobId": job.job_id,
        "workspaceId": job.workspace_id,
        "status": job.status,
        **result,
        "orderCount": job.order_count,
        "submittedAt": utc_text(job.submitted_at),
        "dispatchedAt": utc_text(job.claimed_at),
        "acceptedAt": utc_text(job.accepted_at),
        "endedAt": ended_at,
    }
    headers = {
        Header.CE_SPECVERSION: "1.0",
        Header.CE_ID: event_id(job),
        Header.CE_SOURCE: f"/{app_id}",
        Header.CE_TYPE: f"{topic.value}.v1",
        Header.CE_TIME: ended_at or "",
        Header.CE_SUBJECT: job.job_id,
        Header.CE_PARTITIONKEY: job.workspace_id,
        Header.CONTENT_TYPE: "application/json",
    }
    return NewRecord(
        topic=topic.value,
        partition=partition,
        key=job.job_id.encode(),
        value=msgspec.json.encode(value),
        headers=tuple((name.value, text.encode()) for name, text in headers.items()),
    )
