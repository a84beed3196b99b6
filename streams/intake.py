"""What a source record means: an event for the core, a copy for another partition, or a dead letter."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from schemas.batch_completed import BatchCompleted as CompletionPayload
from schemas.job_submitted import ID_MAX_LENGTH
from schemas.job_submitted import JobSubmitted as SubmissionPayload
from streams.core.deadlines import Deadlines
from streams.core.events import BatchCompleted, InvalidSubmission, JobSubmitted
from streams.core.job import JobKey, Source
from streams.log import SourceRecord
from streams.names import DeadLetterReason, Topic
from streams.placement import partition_of

# The robot takes bodies up to 5 MB; ours adds the callback address and secret to what was submitted.
SUBMISSION_MAX_BYTES = 4_980_000
COMPLETION_MAX_BYTES = 100_000

_ERRORS_SHOWN = 3
_ERROR_MAX_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record becomes a dead letter. The message quotes no value of the payload."""

    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class Intake:
    """The meaning of a record; `rejection` may come with an event (a bad submission also fails its job)."""

    event: JobSubmitted | InvalidSubmission | BatchCompleted | None = None
    rejection: Rejection | None = None
    forward_to: int | None = None


class _Ids(msgspec.Struct):
    jobId: Any = None  # the name on the wire
    workspaceId: Any = None  # the name on the wire


_ids = msgspec.json.Decoder(_Ids)


def interpret(record: SourceRecord, partitions: int, deadlines: Deadlines, now: datetime) -> Intake:
    """Return what a record of a source topic means. Never raises, whatever the bytes are."""
    submission = record.topic == Topic.SUBMITTED
    max_bytes = SUBMISSION_MAX_BYTES if submission else COMPLETION_MAX_BYTES
    if record.value is None:
        return Intake(rejection=Rejection(DeadLetterReason.MALFORMED, "the record has no value"))
    key = _read_key(record.value)
    if isinstance(key, Rejection):
        return Intake(rejection=key)
    target = record.partition if key is None else partition_of(key.workspace_id, partitions)
    if submission and deadlines.from_the_future(record.timestamp, now):
        # No row and no outcome: with such a timestamp nobody could tell later that it had one.
        message = "the record's timestamp is over an hour ahead"
        return Intake(rejection=Rejection(DeadLetterReason.FUTURE_TIMESTAMP, message))
    if len(record.value) > max_bytes:
        rejection = Rejection(DeadLetterReason.TOO_LARGE, f"the value has over {max_bytes} bytes")
    elif target != record.partition:
        return Intake(forward_to=target)
    elif submission:
        return _read_submission(record, record.value, key)
    else:
        return _read_completion(record.value)
    if submission and key is not None and target == record.partition:
        return _bad_submission(record, key, rejection)
    return Intake(rejection=rejection)


def jobs_named(record: SourceRecord) -> set[JobKey]:
    """Return the jobs that a completion may change, wherever it lies: by its ids as `interpret` reads them."""
    if record.value is None or len(record.value) > COMPLETION_MAX_BYTES:
        return set()
    key = _read_key(record.value)
    event = _read_completion(record.value).event
    return {key for key in (key, event and event.key) if isinstance(key, JobKey)}


def read_submission(value: bytes) -> SubmissionPayload:
    """Return the payload of a submission's bytes. Raises pydantic's ValidationError."""
    return SubmissionPayload.model_validate_json(value)


def fingerprint(submission: SubmissionPayload) -> str:
    """Return what tells two payloads apart, the credentials left out and the order of fields ignored."""
    orders = [[order.itemId, order.orderId, order.pedidoInput] for order in submission.orders]
    canonical = msgspec.json.encode([submission.carrier, orders], order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _read_key(value: bytes) -> JobKey | Rejection | None:
    """Return the ids of a payload, None if it is JSON without usable ones."""
    try:
        ids = _ids.decode(value)
    except msgspec.ValidationError:
        return Rejection(DeadLetterReason.MALFORMED, "the value is not a JSON object")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Rejection(DeadLetterReason.MALFORMED, "the value is not JSON")
    except RecursionError:
        return Rejection(DeadLetterReason.MALFORMED, "the value is nested too deeply")
    for name in (ids.workspaceId, ids.jobId):
        if not isinstance(name, str) or not 0 < len(name) <= ID_MAX_LENGTH:
            return None
    return JobKey(ids.workspaceId, ids.jobId)


def _read_submission(record: SourceRecord, value: bytes, key: JobKey | None) -> Intake:
    try:
        submission = read_submission(value)
    except ValidationError as error:
        return _bad_submission(record, key, Rejection(DeadLetterReason.INVALID, _describe(error)))
    return Intake(
        JobSubmitted(
            key=JobKey(submission.workspaceId, submission.jobId),
            submitted_at=record.timestamp,
            source=Source(record.topic, record.partition, record.offset),
            order_count=len(submission.orders),
            fingerprint=fingerprint(submission),
        )
    )


def _bad_submission(record: SourceRecord, key: JobKey | None, rejection: Rejection) -> Intake:
    if key is None:
        return Intake(rejection=rejection)
    source = Source(record.topic, record.partition, record.offset)
    return Intake(InvalidSubmission(key, record.timestamp, source, rejection.message), rejection)


def _read_completion(value: bytes) -> Intake:
    try:
        completion = CompletionPayload.model_validate_json(value)
    except ValidationError as error:
        return Intake(rejection=Rejection(DeadLetterReason.INVALID, _describe(error)))
    key = JobKey(completion.workspaceId, completion.jobId)
    return Intake(BatchCompleted(key, completion.successCount, completion.errorCount))


def _describe(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in problems[:_ERRORS_SHOWN]
    ]
    if len(problems) > _ERRORS_SHOWN:
        shown.append(f"and {len(problems) - _ERRORS_SHOWN} more")
    return "; ".join(shown)[:_ERROR_MAX_LENGTH]
