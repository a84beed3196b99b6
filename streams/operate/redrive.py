"""Dead letters in Kafka: reading them, and sending one in again, once."""

import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from pydantic import ValidationError

from streams.core.controls import Action, Control
from streams.core.job import Job, Source
from streams.kafka.access import AccessError, Operation
from streams.kafka.messages import source_record
from streams.names import DLQ_OF, Topic, changelog_topic, redrive_transactional_id
from streams.operate.giving import REQUEST_TIMEOUT_MS, NotGivenError, new_control
from streams.operate.job_rows import Progress, RecordReader, no_progress, record_reader
from streams.operate.letters import (
    Letter,
    NotRedrivable,
    Redrivable,
    by_id,
    letter_of,
    redrive_of,
    redriven_headers,
)
from streams.operate.standing import clock
from streams.operate.table_view import read_row
from streams.settings import KafkaSettings
from streams.wire.control import decode_control, encode_control
from streams.wire.intake import SUBMISSION_MAX_BYTES
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord, SourceRecord
from streams.wire.rows import decode_row, row_key

# A letter lies in the partition that its record lay in.
_ID = re.compile(r"(?P<topic>.+)-(?P<partition>[0-9]{1,10})-[0-9]+")
# The broker ends the transaction of a command that was killed after this.
TRANSACTION_TIMEOUT_MS = 20_000


class NotRedrivenError(Exception):
    """A letter was not sent in again; the text is one line."""


class UnknownLetterError(Exception):
    """No dead-letter topic has a letter with the id."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A letter, the row of the job that it names, whether it may be sent in again, and by whom it was."""

    letter: Letter
    job: Job | None
    verdict: Redrivable | NotRedrivable
    redriven: str | None = None


async def read_letters(
    reader: RecordReader,
    topics: Collection[str],
    numbers: Collection[int],
    wanted: Callable[[Letter], bool],
    progress: Progress = no_progress,
) -> dict[str, Letter]:
    """Return the letters that are wanted in some partitions of dead-letter topics, by their ids, without their values.

    Raises what the reader does.
    """
    letters: list[Letter] = []

    def take(message: Any) -> None:
        letter = letter_of(source_record(message, message.timestamp))
        if letter is not None and wanted(letter):
            letters.append(replace(letter, record=replace(letter.record, value=None)))

    for topic in topics:
        await reader.scan(topic, numbers, take, progress)
    return by_id(letters)


async def read_all(
    settings: KafkaSettings, reason: str | None, progress: Progress
) -> list[tuple[Letter, Job | None, str | None]]:
    """Return all letters, or those with a reason, the newest first: each with its job's row and who has redriven it.

    Raises what the reader does, and UnreadableRowError.
    """
    changelog, topics = changelog_topic(settings.app_id), tuple(DLQ_OF.values())

    def wanted(letter: Letter) -> bool:
        return reason in (None, letter.headers.reason)

    async with record_reader(settings, *topics, Topic.CONTROL, changelog) as reader:
        every = range(reader.partitions)
        letters = await read_letters(reader, topics, every, wanted, progress)
        keys = {row_key(letter.job) for letter in letters.values() if letter.job is not None}
        values = await reader.last_values(changelog, every, keys.__contains__, progress)
        rows = {key: decode_row(value) for each in values.values() for key, value in each.items()}
        notes = await read_notes(reader, datetime.now(UTC))
    newest = sorted(letters.values(), key=lambda letter: letter.record.timestamp, reverse=True)
    return [
        (letter, None if letter.job is None else rows.get(row_key(letter.job)), notes.get(letter.letter_id))
        for letter in newest
    ]


async def choose(settings: KafkaSettings, letter_id: str, *, after_upgrade: bool) -> Chosen:
    """Return a letter and whether it may be sent in again. Raises UnknownLetterError, and what the reader does."""
    place = _ID.fullmatch(letter_id)
    if place is None or place["topic"] not in DLQ_OF:
        raise UnknownLetterError
    topic, number = DLQ_OF[Topic(place["topic"])], int(place["partition"])
    async with record_reader(settings, topic, Topic.CONTROL, changelog_topic(settings.app_id)) as reader:
        letter = await _whole_letter(reader, topic, number, letter_id)
        if letter is None:
            raise UnknownLetterError
        return await _chosen(settings, reader, letter, after_upgrade=after_upgrade)


async def _whole_letter(reader: RecordReader, topic: Topic, number: int, letter_id: str) -> Letter | None:
    """Return a letter with its value, None if its partition does not have it."""
    numbers = [number] if number < reader.partitions else []
    found = (await read_letters(reader, [topic], numbers, lambda letter: letter.letter_id == letter_id)).get(letter_id)
    record = None if found is None else await reader.record(Source(topic, number, found.record.offset))
    return None if record is None else letter_of(record)


async def _chosen(settings: KafkaSettings, reader: RecordReader, letter: Letter, *, after_upgrade: bool) -> Chosen:
    job = None if letter.job is None else await read_row(settings, reader, letter.job)
    noted = (await read_notes(reader, datetime.now(UTC))).get(letter.letter_id)
    return Chosen(letter, job, redrive_of(letter, job, noted=noted, after_upgrade=after_upgrade), noted)


async def redrive(settings: KafkaSettings, letter: Letter, actor: str, reason: str, *, after_upgrade: bool) -> None:
    """Send a letter in again, and note that in the control topic, in one transaction.

    Of several at once the last one to begin goes on, and sees what the others have done. Raises NotRedrivenError,
    AccessError, and what the reader does.
    """
    topics = (letter.headers.topic, Topic.CONTROL, changelog_topic(settings.app_id))
    async with record_reader(settings, *topics) as reader, _transactions(settings) as producer:
        # Looked at again now that nobody else can commit.
        verdict = (await _chosen(settings, reader, letter, after_upgrade=after_upgrade)).verdict
        if isinstance(verdict, NotRedrivable):
            raise NotRedrivenError(verdict.reason)
        record = letter.record if letter.original is None else await reader.record(letter.original)
        if record is None:
            raise NotRedrivenError(f"its record was too large for the letter, and is gone from {letter.headers.topic}")
        note = _note(letter, actor, reason)
        own = letter.headers.partition
        partition = own if letter.job is None else partition_of(letter.job.workspace_id, reader.partitions)
        await _write(producer, replace(record, topic=letter.headers.topic, partition=partition), letter, note)


def _note(letter: Letter, actor: str, reason: str) -> Control:
    workspace_id, job_id = letter.job or (None, None)
    return new_control(Action.REDRIVE, workspace_id, job_id, actor, reason, letter.letter_id)


async def read_notes(reader: RecordReader, now: datetime) -> dict[str, str]:
    """Return by the ids of letters who has sent each in again, and when, as the control topic has it."""
    found: dict[str, str] = {}

    def take(message: Any) -> None:
        try:
            control = decode_control(message.value or b"")
        except ValidationError:
            return
        if control.action is Action.REDRIVE and control.detail is not None:
            found.setdefault(control.detail, f"by {control.actor} at {clock(control.requested_at, now)}")

    await reader.scan(Topic.CONTROL, range(reader.partitions), take)
    return found


@asynccontextmanager
async def _transactions(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer whose start has ended what another redrive had begun, so that it can commit nothing any more."""
    transactional_id = redrive_transactional_id(settings.app_id)
    producer = AIOKafkaProducer(
        **settings.kafka_client_options(),
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_request_size=SUBMISSION_MAX_BYTES + 2_000_000,
    )
    try:
        await producer.start()
        yield producer
    except TransactionalIdAuthorizationFailed as error:
        raise AccessError((Operation.WRITE, f"transactional id {transactional_id}")) from error
    finally:
        await producer.stop()


async def _write(producer: AIOKafkaProducer, record: SourceRecord, letter: Letter, note: Control) -> None:
    key = None if note.workspace_id is None else note.workspace_id.encode()
    number = record.partition
    # Without a time of their own they have that of now.
    records = [
        NewRecord(record.topic, number, record.key, record.value, redriven_headers(letter)),
        NewRecord(Topic.CONTROL, number, key, encode_control(note)),
    ]
    try:
        async with producer.transaction():
            for one in records:
                await _send(producer, one)
    except (ProducerFenced, InvalidProducerEpoch) as error:
        raise NotRedrivenError("somebody else redrives at this moment: give the same command again") from error
    except KafkaError as error:
        raise NotGivenError(
            f"it may or may not be redriven ({str(error) or type(error).__name__}): give the same command again, "
            "which is refused if it was"
        ) from error


async def _send(producer: AIOKafkaProducer, record: NewRecord) -> None:
    try:
        await producer.send_and_wait(
            record.topic, record.value, key=record.key, partition=record.partition, headers=list(record.headers)
        )
    except TopicAuthorizationFailedError as error:
        raise AccessError((Operation.WRITE, f"topic {record.topic}")) from error
