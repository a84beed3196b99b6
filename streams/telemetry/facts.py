"""What a transaction has done, told once it is committed: frozen values, which the journal writes down."""

from dataclasses import dataclass
from datetime import datetime

from streams.core.controls import Decision
from streams.core.effects import IgnoreReason
from streams.core.events import Event
from streams.core.job import Job, JobKey
from streams.wire.intake import Rejection
from streams.wire.records import SourceRecord


@dataclass(frozen=True, slots=True)
class RowChanged:
    """A row has changed, by an event, at an instant."""

    event: Event
    before: Job | None
    row: Job
    at: datetime


@dataclass(frozen=True, slots=True)
class SubmissionIgnored:
    """A submission of known ids has changed nothing."""

    key: JobKey
    reason: IgnoreReason


@dataclass(frozen=True, slots=True)
class SubmissionExpired:
    """A submission is so old that its job may have come and gone."""

    key: JobKey


@dataclass(frozen=True, slots=True)
class CompletionIgnored:
    """A completion has changed nothing."""

    key: JobKey
    reason: IgnoreReason


@dataclass(frozen=True, slots=True)
class ReportIgnored:
    """A report of an order has changed nothing."""

    key: JobKey
    reason: IgnoreReason


@dataclass(frozen=True, slots=True)
class ControlDecided:
    """Something that somebody asked for was done or refused, now or when it was read before."""

    decision: Decision
    repeated: bool


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record went to its dead-letter topic. `key`: the job that it names, None where none can be read."""

    record: SourceRecord
    rejection: Rejection
    key: JobKey | None


@dataclass(frozen=True, slots=True)
class RecordForwarded:
    """A record was moved to its own partition."""

    record: SourceRecord
    target: int


Fact = (
    RowChanged
    | SubmissionIgnored
    | SubmissionExpired
    | CompletionIgnored
    | ReportIgnored
    | ControlDecided
    | DeadLettered
    | RecordForwarded
)
