"""Dead letters: what each says, what may be shown of it, and whether it may be sent in again. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from schemas.dead_letter import DeadLetterHeaders
from streams.core.job import Job, JobKey, Source, Status
from streams.names import SOURCE_TOPICS, DeadLetterReason, Header, Topic
from streams.wire.dead_letters import ORIGINAL_NOT_COPIED, without_own_headers
from streams.wire.intake import key_in
from streams.wire.records import Headers, SourceRecord

# What is shown of a payload, by the topic that the record came from. Of everything else, which may hold credentials or
# the robot's words, only the name and the kind are.
_SHOWN = {
    Topic.SUBMITTED: {"jobId", "workspaceId", "carrier", "resubmissionOf", "orders"},
    Topic.BATCH_COMPLETED: {"jobId", "workspaceId", "successCount", "errorCount"},
    Topic.ORDER_REPORTED: {"jobId", "workspaceId", "itemId", "status", "reportedAt"},
    Topic.CONTROL: {"controlId", "action", "workspaceId", "jobId", "actor", "reason", "requestedAt", "detail"},
}
_SHOWN_OF_ORDERS = {"itemId", "orderId"}
_ORDERS_SHOWN = 20

# The only step that makes sense, by why a record is a letter.
STEPS: Mapping[str, str] = {
    DeadLetterReason.MALFORMED: "tell whoever wrote it: it is no JSON, and was never a job",
    DeadLetterReason.INVALID: "tell its producer what is wrong: sent in again it is refused again",
    DeadLetterReason.TOO_LARGE: "let its producer make smaller batches, under new job ids",
    DeadLetterReason.FUTURE_TIMESTAMP: "set its producer's clock right, then redrive it: it is dated anew",
    DeadLetterReason.CONFLICT: "tell its producer: the ids are taken by another job, new orders need a new job id",
    DeadLetterReason.SUBMISSION_EXPIRED: "look in the portal whether its orders were shipped; if not, redrive it",
    DeadLetterReason.UNKNOWN_JOB: "if its job is there by now, redrive it; else tell who reported it",
    DeadLetterReason.NOT_DISPATCHED: "if its job has gone to the robot by now, redrive it; else tell who reported it",
    DeadLetterReason.LATE_COMPLETION: "nothing: the robot cannot have had the job, so that its report is another's",
    DeadLetterReason.UNKNOWN_ITEM: "tell who reported it: the job has no such order, or is not followed order by order",
    DeadLetterReason.DUPLICATE_MISMATCH: "look in the portal which report is true: the first one counts",
}
_NEWER = "it has a reason that this release does not know: look in the documents of the one that wrote it"
_NEVER = {
    DeadLetterReason.MALFORMED: "it is no JSON, and never will be",
    DeadLetterReason.CONFLICT: "its ids are taken, and will be: new orders need a new job id",
    DeadLetterReason.LATE_COMPLETION: "its job has failed, and the robot cannot have had it",
    DeadLetterReason.UNKNOWN_ITEM: "its job has no such order, or is not followed order by order",
    DeadLetterReason.DUPLICATE_MISMATCH: "the first report counts, whatever comes later",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the record as it lies in its topic, what its headers say, and the job that its payload names.

    In a list the record is without its value, which may be large and carries credentials.
    """

    record: SourceRecord
    headers: DeadLetterHeaders
    job: JobKey | None

    @property
    def letter_id(self) -> str:
        """The letter's name."""
        return self.headers.letter_id

    @property
    def original(self) -> Source | None:
        """Where the record lies that was too large to be copied; None of a letter that has it."""
        copied = not self.headers.message.endswith(ORIGINAL_NOT_COPIED)
        return None if copied else Source(self.headers.topic, self.headers.partition, self.headers.offset)


@dataclass(frozen=True, slots=True)
class Redrivable:
    """That a letter may be sent in again, and what a person should know before."""

    warning: str | None = None


@dataclass(frozen=True, slots=True)
class NotRedrivable:
    """Why a letter is not sent in again, in one line."""

    reason: str


def letter_of(record: SourceRecord) -> Letter | None:
    """Return the letter that a record of a dead-letter topic is, None if another program wrote it."""
    try:
        headers = DeadLetterHeaders.from_headers(record.headers)
    except ValidationError:
        return None
    return Letter(record, headers, key_in(record.value)) if headers.topic in SOURCE_TOPICS else None


def by_id(letters: Iterable[Letter]) -> dict[str, Letter]:
    """Return letters by their ids: of a record that was lettered twice, one."""
    return {letter.letter_id: letter for letter in letters}


def step(letter: Letter, redriven: str | None = None) -> str:
    """Return the only step that makes sense for a letter; `redriven` says by whom it was sent in again."""
    return STEPS.get(letter.headers.reason, _NEWER) if redriven is None else f"nothing: it was redriven {redriven}"


def redrive_of(
    letter: Letter, job: Job | None, *, noted: str | None, after_upgrade: bool
) -> Redrivable | NotRedrivable:
    """Return whether a letter may be sent in again: only where something else can come of it.

    `job` is the row that its payload names, `noted` what the control topic says of an earlier redrive.
    """
    if noted is not None:
        return NotRedrivable(f"it was redriven {noted}")
    reason = letter.headers.reason
    if reason in _NEVER:
        return NotRedrivable(_NEVER[DeadLetterReason(reason)])
    if reason not in STEPS:
        return NotRedrivable(_NEWER)
    if reason in (DeadLetterReason.UNKNOWN_JOB, DeadLetterReason.NOT_DISPATCHED):
        return _report(job)
    if letter.headers.topic == Topic.SUBMITTED and job is not None:
        return NotRedrivable(f"its ids are taken by a job that is {job.status}: new orders need a new job id")
    if reason in (DeadLetterReason.INVALID, DeadLetterReason.TOO_LARGE) and not after_upgrade:
        return NotRedrivable("the same would come of it, but after an upgrade that takes it (--after-upgrade)")
    if letter.headers.topic != Topic.SUBMITTED:
        return Redrivable()
    return Redrivable(
        "it becomes a job with the time of now, and is called: if its orders were shipped meanwhile, they ship again"
    )


def _report(job: Job | None) -> Redrivable | NotRedrivable:
    if job is None:
        return NotRedrivable("its job is still not there")
    if job.status is Status.PENDING:
        return NotRedrivable("its job is still not at the robot")
    if job.status is Status.FAILED and not job.robot_may_have_received:
        return NotRedrivable("its job has failed, and the robot cannot have had it")
    return Redrivable()


def redriven_headers(letter: Letter) -> Headers:
    """Return the headers of the record that a letter was, with one more redrive counted."""
    count = str(letter.headers.redrive_count + 1).encode()
    return (*without_own_headers(letter.record.headers), (Header.DLQ_REDRIVE_COUNT.value, count))


def letter_fields(letter: Letter) -> dict[str, Any]:
    """Return what a letter says of itself, by names as on the wire; times are datetimes."""
    headers, record = letter.headers, letter.record
    return {
        "letterId": letter.letter_id,
        "reason": headers.reason,
        "message": headers.message,
        "topic": headers.topic,
        "partition": headers.partition,
        "offset": headers.offset,
        "letteredAt": record.timestamp,
        "redriveCount": headers.redrive_count,
        "workspaceId": None if letter.job is None else letter.job.workspace_id,
        "jobId": None if letter.job is None else letter.job.job_id,
        "lies": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
    }


def shown_payload(letter: Letter) -> Any:
    """Return what may be shown of a letter's payload: never a credential, never the robot's words.

    Of a control that includes why a person has given it. The letter has its value.
    """
    try:
        payload = msgspec.json.decode(letter.record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{len(letter.record.value or b'')} bytes that are no JSON, and are not shown"
    if not isinstance(payload, dict):
        return _kind(payload)
    if letter.original is not None:
        return payload
    shown = _SHOWN[Topic(letter.headers.topic)]
    return {name: _shown(name, value) if name in shown else _kind(value) for name, value in payload.items()}


def _shown(name: str, value: Any) -> Any:
    if name != "orders":
        return value if isinstance(value, str | int | float | None) else _kind(value)
    if not isinstance(value, list):
        return _kind(value)
    more = [f"({len(value) - _ORDERS_SHOWN} more)"] if len(value) > _ORDERS_SHOWN else []
    return [*(_order(order) for order in value[:_ORDERS_SHOWN]), *more]


def _order(order: Any) -> Any:
    if not isinstance(order, dict):
        return _kind(order)
    named = {name: order[name] for name in sorted(_SHOWN_OF_ORDERS) if isinstance(order.get(name), str)}
    return named | {"more": f"({len(order) - len(named)} fields, not shown)"}


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return f"({kinds.get(type(value), 'a number')}, not shown)"
