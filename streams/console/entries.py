"""What a record that the console follows says, as it is kept. Pure; of a dead letter's value nothing but ids is."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from streams.core.controls import Control, Decision
from streams.core.deadlines import Deadlines
from streams.core.job import Job, JobKey
from streams.names import DLQ_OF, OUTCOME_TOPICS, Topic
from streams.operate.letters import letter_of
from streams.wire.intake import Decide, interpret
from streams.wire.records import SourceRecord
from streams.wire.rows import DecisionEntry, JobEntry, Owner, OwnerEntry, decode_entry

FOLLOWED_TOPICS = (*OUTCOME_TOPICS, Topic.AMENDED, Topic.CONTROL, *DLQ_OF.values())

# Of a letter that somebody else has written.
UNKNOWN_REASON = "unknown"


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job's row, decoded and as it lies in the changelog."""

    job: Job
    partition: int
    row: bytes


@dataclass(frozen=True, slots=True)
class JobGone:
    """A job has left the table."""

    key: JobKey


@dataclass(frozen=True, slots=True)
class Owned:
    """Who has a partition; None where a release before 0.4 has opened it."""

    partition: int
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for."""

    control: Control
    partition: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of it."""

    decision: Decision
    partition: int


@dataclass(frozen=True, slots=True)
class DecisionGone:
    """A decision has left the table: whatever it was, it is in force no more."""

    control_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome or an amendment of a job, and where it lies."""

    topic: str
    partition: int
    offset: int
    key: JobKey
    written_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter, without its value. `key` is the job that it names, None where that cannot be read."""

    topic: str
    partition: int
    offset: int
    letter_id: str
    reason: str
    message: str
    redrives: int
    key: JobKey | None
    written_at: datetime


Entry = JobChanged | JobGone | Owned | Asked | Decided | DecisionGone | Told | Letter


class _Ids(msgspec.Struct):
    workspaceId: str  # the name on the wire
    jobId: str  # the name on the wire


_ids = msgspec.json.Decoder(_Ids)


def entry_of(record: SourceRecord, partitions: int, deadlines: Deadlines, now: datetime) -> Entry | None:
    """Return what is kept of a record, None if nothing is. Raises UnreadableRowError for a newer release's row."""
    if record.topic in DLQ_OF.values():
        return _letter(record)
    if record.topic == Topic.CONTROL:
        meaning = interpret(record, partitions, deadlines, now)
        return Asked(meaning.control, record.partition) if isinstance(meaning, Decide) else None
    if record.topic in FOLLOWED_TOPICS:
        return _told(record)
    return _row(record)


def _row(record: SourceRecord) -> Entry | None:
    if record.key is None:
        return None
    match decode_entry(record.key, record.value):
        case JobEntry(key, job):
            return JobGone(key) if job is None else JobChanged(job, record.partition, record.value or b"")
        case DecisionEntry(control_id, decision):
            if decision is None:
                return DecisionGone(control_id, record.partition)
            return Decided(decision, record.partition)
        case OwnerEntry(owner):
            return Owned(record.partition, owner)
        case _:
            return None


def _told(record: SourceRecord) -> Told | None:
    try:
        ids = _ids.decode(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Nobody but a worker should write there.
        return None
    key = JobKey(ids.workspaceId, ids.jobId)
    return Told(record.topic, record.partition, record.offset, key, record.timestamp)


def _letter(record: SourceRecord) -> Letter:
    letter = letter_of(record)
    place = f"{record.topic}-{record.partition}-{record.offset}"
    return Letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        # One that somebody else has written is named by its own place.
        letter_id=place if letter is None else letter.letter_id,
        reason=UNKNOWN_REASON if letter is None else letter.headers.reason,
        message="" if letter is None else letter.headers.message,
        redrives=0 if letter is None else letter.headers.redrive_count,
        key=None if letter is None else letter.job,
        written_at=record.timestamp,
    )
