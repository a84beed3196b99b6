"""What a run has left behind: the committed records of every topic, and the POSTs that the robot has noted."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition

from schemas import ID_MAX_LENGTH
from streams.core.job import BUSY_STATUSES, FailureReason, Job, JobKey
from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer
from streams.kafka.messages import source_record
from streams.names import DLQ_OF, OUTCOME_TOPICS, Header, Topic, changelog_topic
from streams.wire.records import Headers, SourceRecord
from streams.wire.rows import job_in

# A worker that was killed can leave a transaction open, which hides what lies behind it until it times out (20 s).
READ_SECONDS = 60.0
_LETTER_HEADERS = (Header.DLQ_ID, Header.DLQ_REASON)


# A record by all that a copy of it has too.
Copy = tuple[str, int, bytes | None, bytes | None, Headers]


class Post(NamedTuple):
    """A POST that the robot has received, and the status that it answered with, None if it gave no answer."""

    key: JobKey
    received_at: datetime
    status: int | None = None

    @property
    def handed_over(self) -> bool:
        """Whether the robot may have begun: it did not refuse the batch before any effect."""
        return self.status not in BUSY_STATUSES


@dataclass(frozen=True, slots=True)
class History:
    """The committed records of every topic, each partition's in order. Topics without records may be left out."""

    app_id: str
    partitions: int
    records: Mapping[str, Sequence[SourceRecord]]

    def of(self, topic: str) -> Sequence[SourceRecord]:
        """Return the records of a topic."""
        return self.records.get(topic, ())

    def outcomes(self) -> dict[JobKey, list[dict[str, Any]]]:
        """Return the values of the outcome records by job."""
        return self.values(*OUTCOME_TOPICS)

    def values(self, *topics: str) -> dict[JobKey, list[dict[str, Any]]]:
        """Return the values of the records of some topics by job."""
        found: dict[JobKey, list[dict[str, Any]]] = defaultdict(list)
        for topic in topics:
            for record in self.of(topic):
                value = msgspec.json.decode(record.value or b"")
                found[JobKey(value["workspaceId"], value["jobId"])].append(value)
        return dict(found)

    def letters(self) -> dict[str, tuple[JobKey | None, str]]:
        """Return the job and the reason of each dead letter by the position of its record, however often written."""
        found = {}
        for topic in DLQ_OF.values():
            for record in self.of(topic):
                headers = {name: (value or b"").decode() for name, value in record.headers if name in _LETTER_HEADERS}
                found[headers[Header.DLQ_ID]] = (job_key(record), headers[Header.DLQ_REASON])
        return found

    def rows(self) -> dict[JobKey, Job]:
        """Return the last row of every job in the changelog, those that were deleted since included."""
        rows = (job_in(record.key, record.value) for record in self.of(changelog_topic(self.app_id)))
        return {job.key: job for job in rows if job is not None}


class HistoryError(Exception):
    """The topics could not be read to their ends."""


async def read_history(client_options: Mapping[str, Any], app_id: str) -> History:
    """Return every committed record of the application's topics up to the ends that they have now.

    Raises HistoryError when a topic is missing, or when a transaction stays open for too long.
    """
    topics = [*map(str, Topic), changelog_topic(app_id)]
    sources = await _sources(client_options, topics)
    ends = await _high_watermarks(client_options, sources)
    records: dict[str, list[SourceRecord]] = {topic: [] for topic in topics}
    consumer = Consumer(
        **client_options, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=50
    )
    await consumer.start()
    waiting = set(sources)
    try:
        consumer.assign(sources)
        await consumer.seek_to_beginning()
        async with asyncio.timeout(READ_SECONDS):
            while waiting:
                for source, messages in (await consumer.getmany(*waiting, timeout_ms=200)).items():
                    kept = (message for message in messages if message.offset < ends[source])
                    records[source.topic] += [source_record(message, message.timestamp) for message in kept]
                waiting = {source for source in waiting if await consumer.position(source) < ends[source]}
    except TimeoutError:
        names = ", ".join(sorted(f"{source.topic}-{source.partition}" for source in waiting))
        raise HistoryError(f"{names} could not be read to the end within {READ_SECONDS:.0f} s") from None
    finally:
        await consumer.stop()
    return History(app_id, sum(source.topic == Topic.SUBMITTED for source in sources), records)


async def _sources(client_options: Mapping[str, Any], topics: Sequence[str]) -> list[TopicPartition]:
    async with admin_client(**client_options) as admin:
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(list(topics))}
    missing = [topic for topic in topics if not described.get(topic)]
    if missing:
        raise HistoryError(f"missing topics: {', '.join(missing)}")
    return [TopicPartition(topic, number) for topic in topics for number in range(described[topic])]


async def _high_watermarks(
    client_options: Mapping[str, Any], sources: list[TopicPartition]
) -> dict[TopicPartition, int]:
    # Only an uncommitted reader is told of what lies behind an open transaction.
    consumer = Consumer(**client_options, isolation_level="read_uncommitted")
    await consumer.start()
    try:
        return dict(await consumer.end_offsets(sources))
    finally:
        await consumer.stop()


def read_posts(log_file: Path) -> list[Post]:
    """Return what the simulated robot has noted: one JSON object a POST and line."""
    lines = log_file.read_text("utf-8").splitlines() if log_file.exists() else []
    notes = [json.loads(line) for line in lines]
    return [
        Post(
            JobKey(note["workspace_id"], note["job_id"]),
            datetime.fromisoformat(note["received_at"]),
            note.get("status"),
        )
        for note in notes
    ]


# Typed as anything, because of a field that comes twice only the last value counts.
class _Ids(msgspec.Struct):
    jobId: Any = None
    workspaceId: Any = None


_ids = msgspec.json.Decoder(_Ids)


def job_key(record: SourceRecord) -> JobKey | None:
    """Return the ids in a submission or completion, None if it has no usable ones."""
    ids = _read_ids(record)
    return JobKey(ids.workspaceId, ids.jobId) if _is_id(ids.workspaceId) and _is_id(ids.jobId) else None


def workspace_of(record: SourceRecord) -> str | None:
    """Return the workspace of a control, None if it has none that decides where it belongs."""
    ids = _read_ids(record)
    return str(ids.workspaceId) if _is_id(ids.workspaceId) and (ids.jobId is None or _is_id(ids.jobId)) else None


def _read_ids(record: SourceRecord) -> _Ids:
    try:
        return _ids.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Ids()


def _is_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= ID_MAX_LENGTH


def copy_in(record: SourceRecord, partition: int) -> Copy:
    """Return what a record is as a copy in a partition."""
    return record.topic, partition, record.key, record.value, record.headers


def copies_of(records: Iterable[SourceRecord]) -> set[Copy]:
    """Return each record as a copy where it lies."""
    return {copy_in(record, record.partition) for record in records}


def position(record: SourceRecord) -> str:
    """Return where a record lies, as dead letters name it."""
    return f"{record.topic}-{record.partition}-{record.offset}"


def missed_deadline(row: Job) -> datetime | None:
    """Return until when a completion would have counted of a job that failed because none had come; else None."""
    # One that was given up and then refused by the robot was never there to be completed.
    given_up = row.reason is FailureReason.GIVEN_UP and row.robot_may_have_received
    if not given_up and row.reason not in (FailureReason.TIMEOUT, FailureReason.DISPATCH_UNKNOWN):
        return None
    if row.decide_at is None or row.ended_at is None:
        return None
    return row.decide_at if row.ended_at >= row.decide_at else None
