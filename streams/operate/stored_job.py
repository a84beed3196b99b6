"""A job as Kafka has it: its row, and the submission that the row says where to find. Only reads, in no group."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from streams.core.job import Job, JobKey
from streams.engine.ports import until_readable
from streams.kafka.access import AccessError, Operation, describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.reader import KafkaReader
from streams.kafka.topics import TopicsError
from streams.names import Topic, changelog_topic
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.records import TopicPartition
from streams.wire.rows import decode_row, row_key

# The broker ends the transaction of a worker that was killed after 20 s; until then nothing behind it can be read.
READ_SECONDS = 30.0
# Rows in memory at once.
BATCH_RECORDS = 2_000

T = TypeVar("T")


class JobNotReadError(Exception):
    """Kafka did not say what it has of a job; the text is one line."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job's row, and the bytes where its submission was, which carry credentials; None if nothing is there."""

    job: Job
    submission: bytes | None = field(repr=False)


async def find_job(settings: KafkaSettings, key: JobKey) -> StoredJob | None:
    """Return a job as it is now, None if the table does not have it.

    Raises AccessError, TopicsError, JobNotReadError, a KafkaError, and UnreadableRowError for a newer release's row.
    """
    changelog = changelog_topic(settings.app_id)
    partitions = await _partitions(settings, changelog)
    reader = KafkaReader(settings.kafka_client_options(), settings.app_id, partitions)
    try:
        await reader.start()
        place = TopicPartition(changelog, partition_of(key.workspace_id, partitions))
        row = await _last_value(reader, place, row_key(key))
        if row is None:
            return None
        job = decode_row(row)
        topic, partition, offset = job.source
        source = TopicPartition(topic, partition)
        records, _ = await _patiently(source, partial(reader.read, source, offset, offset + 1, limit=1))
        return StoredJob(job, records[0].value if records else None)
    finally:
        await reader.stop()


async def _partitions(settings: KafkaSettings, changelog: str) -> int:
    """Return how many partitions the job table has, if this user may read it and the submissions."""
    names = [changelog, Topic.SUBMITTED]
    async with admin_client(**settings.kafka_client_options()) as admin:
        found = await describe_topics(admin, names)
    lacks = [(Operation.READ, f"topic {name}") for name, topic in found.items() if not topic.allows(Operation.READ)]
    if lacks:
        raise AccessError(*lacks)
    if missing := [name for name in names if name not in found]:
        raise TopicsError(f"missing topics: {', '.join(missing)} (robot-orchestrator topics check says more)")
    return found[changelog].partitions


async def _last_value(reader: KafkaReader, place: TopicPartition, key: bytes) -> bytes | None:
    """Return the last committed value of a key up to the high watermark; of the others none is kept."""
    ends = await _patiently(place, partial(reader.end_offsets, place.topic))
    end, position, value = ends[place.partition], 0, None
    while position < end:
        records, position = await _patiently(place, partial(reader.read, place, position, end, limit=BATCH_RECORDS))
        for record in records:
            if record.key == key:
                value = record.value
    return value


async def _patiently(place: TopicPartition, ask: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await until_readable(ask)
    except TimeoutError:
        raise JobNotReadError(
            f"{place.topic}-{place.partition} could not be read for {READ_SECONDS:.0f} s: a broker is away, or a "
            "transaction is open there"
        ) from None
