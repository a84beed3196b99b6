"""What a source record means: an event for the core, a copy for another partition, or a dead letter."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from schemas._base import explain
from schemas.batch_completed import BatchCompleted as CompletionPayload
from schemas.job_submitted import ID_MAX_LENGTH
from schemas.job_submitted import JobSubmitted as SubmissionPayload
from schemas.order_reported import OrderReported as ReportPayload
from streams.core.controls import Control
from streams.core.deadlines import Deadlines
from streams.core.events import BatchCompleted, InvalidSubmission, JobSubmitted, OrderReported
from streams.core.job import JobKey, OrderResult, OrderStatus, Source
from streams.names import DeadLetterReason, Topic
from streams.wire.control import decode_control
from streams.wire.placement import partition_of
from streams.wire.records import SourceRecord
from streams.wire.trace_context import traceparent_of

# The robot takes bodies up to 5 MB; ours adds the callback address and secret to what was submitted.
SUBMISSION_MAX_BYTES = 4_980_000
# Of a completion, of a report, and of a control.
COMPLETION_MAX_BYTES = 100_000

_ERROR_MAX_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record becomes a dead letter. The message quotes no value of the payload."""

    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class Apply:
    """The record is an event for the core."""

    event: JobSubmitted | BatchCompleted | OrderReported


@dataclass(frozen=True, slots=True)
class Refuse:
    """The record becomes a dead letter."""

    rejection: Rejection


@dataclass(frozen=True, slots=True)
class RefuseAndFail:
    """The record becomes a dead letter, and the job that its ids name fails."""

    event: InvalidSubmission
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class Decide:
    """Somebody asks for something."""

    control: Control


@dataclass(frozen=True, slots=True)
class Forward:
    """The record is another partition's."""

    target: int


Meaning = Apply | Refuse | RefuseAndFail | Decide | Forward


class _Ids(msgspec.Struct):
    jobId: Any = None  # the name on the wire
    workspaceId: Any = None  # the name on the wire


_ids = msgspec.json.Decoder(_Ids)


def interpret(record: SourceRecord, partitions: int, deadlines: Deadlines, now: datetime) -> Meaning:
    """Return what a record of a source topic means. Never raises, whatever the bytes are."""
    source = _SOURCES[Topic(record.topic)]
    if record.value is None:
        return Refuse(Rejection(DeadLetterReason.MALFORMED, "the record has no value"))
    ids = _read_ids(record.value)
    if isinstance(ids, Rejection):
        return Refuse(ids)
    key = _key_of(ids)
    of_workspace = source.without_job and ids.jobId is None
    placed_by = ids.workspaceId if key is not None or of_workspace else None
    target = partition_of(placed_by, partitions) if _is_id(placed_by) else record.partition
    if source.ages and deadlines.from_the_future(record.timestamp, now):
        # No row and no outcome: with such a timestamp nobody could tell later that it had one.
        return Refuse(Rejection(DeadLetterReason.FUTURE_TIMESTAMP, "the record's timestamp is over an hour ahead"))
    if len(record.value) > source.max_bytes:
        # Too large to be forwarded, too: only where it belongs it fails its job.
        rejection = Rejection(DeadLetterReason.TOO_LARGE, f"the value has over {source.max_bytes} bytes")
        return source.refuse(record, key if target == record.partition else None, rejection)
    if target != record.partition:
        return Forward(target)
    return source.read(record, record.value, key)


def jobs_named(record: SourceRecord) -> set[JobKey]:
    """Return the jobs that a completion or report may change, wherever it lies: by ids as `interpret` reads them."""
    source = _SOURCES[Topic(record.topic)]
    if record.value is None or len(record.value) > source.max_bytes:
        return set()
    key, meaning = key_in(record.value), source.read(record, record.value, None)
    keys = (key, meaning.event.key if isinstance(meaning, Apply) else None)
    return {key for key in keys if key is not None}


def key_in(value: bytes | None) -> JobKey | None:
    """Return the job that a payload names, None if it names none that could be."""
    ids = None if value is None else _read_ids(value)
    return _key_of(ids) if isinstance(ids, _Ids) else None


def read_submission(value: bytes) -> SubmissionPayload:
    """Return the payload of a submission's bytes. Raises pydantic's ValidationError."""
    return SubmissionPayload.model_validate_json(value)


def fingerprint(submission: SubmissionPayload) -> str:
    """Return what tells two payloads apart, the credentials left out and the order of fields ignored."""
    orders = [[order.itemId, order.orderId, order.pedidoInput] for order in submission.orders]
    canonical = msgspec.json.encode([submission.carrier, orders], order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _read_ids(value: bytes) -> _Ids | Rejection:
    """Return what a payload has in place of its ids."""
    try:
        return _ids.decode(value)
    except msgspec.ValidationError:
        return Rejection(DeadLetterReason.MALFORMED, "the value is not a JSON object")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Rejection(DeadLetterReason.MALFORMED, "the value is not JSON")
    except RecursionError:
        return Rejection(DeadLetterReason.MALFORMED, "the value is nested too deeply")


def _key_of(ids: _Ids) -> JobKey | None:
    """Return the ids of a payload, None if they are not usable."""
    return JobKey(ids.workspaceId, ids.jobId) if _is_id(ids.workspaceId) and _is_id(ids.jobId) else None


def _is_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= ID_MAX_LENGTH


def _invalid(error: ValidationError) -> Rejection:
    return Rejection(DeadLetterReason.INVALID, explain(error)[:_ERROR_MAX_LENGTH])


def _read_submission(record: SourceRecord, value: bytes, key: JobKey | None) -> Meaning:
    try:
        submission = read_submission(value)
    except ValidationError as error:
        return _refuse_submission(record, key, _invalid(error))
    return Apply(
        JobSubmitted(
            key=JobKey(submission.workspaceId, submission.jobId),
            submitted_at=record.timestamp,
            source=Source(record.topic, record.partition, record.offset),
            order_count=len(submission.orders),
            fingerprint=fingerprint(submission),
            resubmission_of=submission.resubmissionOf,
            traceparent=traceparent_of(record.headers),
        )
    )


def _refuse_submission(record: SourceRecord, key: JobKey | None, rejection: Rejection) -> Meaning:
    if key is None:
        return Refuse(rejection)
    source = Source(record.topic, record.partition, record.offset)
    traceparent = traceparent_of(record.headers)
    return RefuseAndFail(InvalidSubmission(key, record.timestamp, source, rejection.message, traceparent), rejection)


def _read_completion(_record: SourceRecord, value: bytes, _key: JobKey | None) -> Meaning:
    try:
        completion = CompletionPayload.model_validate_json(value)
    except ValidationError as error:
        return Refuse(_invalid(error))
    key = JobKey(completion.workspaceId, completion.jobId)
    return Apply(BatchCompleted(key, completion.successCount, completion.errorCount))


def _read_report(_record: SourceRecord, value: bytes, _key: JobKey | None) -> Meaning:
    try:
        report = ReportPayload.model_validate_json(value)
    except ValidationError as error:
        return Refuse(_invalid(error))
    order = OrderResult(
        report.itemId, OrderStatus(report.status), report.trackingNumber, report.errorType, report.errorMessage
    )
    return Apply(OrderReported(JobKey(report.workspaceId, report.jobId), order))


def _read_control(_record: SourceRecord, value: bytes, _key: JobKey | None) -> Meaning:
    try:
        return Decide(decode_control(value))
    except ValidationError as error:
        return Refuse(_invalid(error))


def _refuse_report(_record: SourceRecord, _key: JobKey | None, rejection: Rejection) -> Meaning:
    return Refuse(rejection)


@dataclass(frozen=True, slots=True)
class _SourceTopic:
    """What is particular about a source topic: the largest value it may have, how one is read, and how it is refused.

    `ages`: whether the time of a record says how old it is. `without_job`: whether it may be about a workspace alone.
    """

    max_bytes: int
    read: Callable[[SourceRecord, bytes, JobKey | None], Meaning]
    refuse: Callable[[SourceRecord, JobKey | None, Rejection], Meaning]
    ages: bool
    without_job: bool = False


_SOURCES = {
    Topic.SUBMITTED: _SourceTopic(SUBMISSION_MAX_BYTES, _read_submission, _refuse_submission, ages=True),
    Topic.BATCH_COMPLETED: _SourceTopic(COMPLETION_MAX_BYTES, _read_completion, _refuse_report, ages=False),
    Topic.ORDER_REPORTED: _SourceTopic(COMPLETION_MAX_BYTES, _read_report, _refuse_report, ages=False),
    Topic.CONTROL: _SourceTopic(COMPLETION_MAX_BYTES, _read_control, _refuse_report, ages=True, without_job=True),
}
