"""The job table as it lies in Kafka, and what lies beside it: whole partitions side by side, or single records.

Only reads, in no group.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiokafka import TopicPartition as KafkaTopicPartition

from streams.core.job import Source
from streams.engine.ports import until_readable
from streams.kafka.access import AccessError, Operation, describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer
from streams.kafka.high_watermarks import HighWatermarks
from streams.kafka.messages import source_record
from streams.kafka.topics import missing_topics
from streams.settings import KafkaSettings
from streams.wire.records import SourceRecord

# The broker ends the transaction of a worker that was killed after 20 s; until then nothing behind it can be read.
READ_SECONDS = 30.0
# Records in memory at once, beside what is kept of them.
BATCH_RECORDS = 5_000
FETCH_BYTES = 8_000_000

# Is told how many offsets are read, and of how many.
Progress = Callable[[int, int], None]


class NotReadError(Exception):
    """Kafka did not say what it has; the text is one line."""


def no_progress(_read: int, _of: int) -> None:
    """Tell nobody."""


class RecordReader:
    """Reads committed records with one consumer, one read at a time; `record_reader` makes one.

    Its methods raise NotReadError and a KafkaError.
    """

    def __init__(self, consumer: Consumer, watermarks: HighWatermarks, partitions: int) -> None:
        self.partitions = partitions
        self._consumer = consumer
        self._watermarks = watermarks

    async def last_values(
        self, topic: str, numbers: Collection[int], wanted: Callable[[bytes], bool], progress: Progress = no_progress
    ) -> dict[int, dict[bytes, bytes]]:
        """Return of some partitions the last value of each key that is wanted; of the others none is kept."""
        values: dict[int, dict[bytes, bytes]] = {number: {} for number in numbers}

        def take(message: Any) -> None:
            if message.key is None or not wanted(message.key):
                return
            if message.value is None:
                values[message.partition].pop(message.key, None)
            else:
                values[message.partition][message.key] = message.value

        await self.scan(topic, numbers, take, progress)
        return values

    async def scan(
        self,
        topic: str,
        numbers: Collection[int],
        take: Callable[[Any], None],
        progress: Progress = no_progress,
        starts: Mapping[int, int] | None = None,
    ) -> dict[int, int]:
        """Give all records of some partitions, up to their high watermarks, to `take` as aiokafka has them.

        Without `starts` from their beginning. Return where the next scan goes on.
        """
        ends = await self.ends(topic)
        places = [KafkaTopicPartition(topic, number) for number in numbers]
        self._consumer.assign(places)
        positions: dict[KafkaTopicPartition, int] = dict(
            await self._consumer.beginning_offsets(places)
            if starts is None
            else {place: starts[place.partition] for place in places}
        )
        for place, start in positions.items():
            self._consumer.seek(place, start)
        stillness = _Stillness()
        whole = sum(max(0, ends[place.partition] - at) for place, at in positions.items())
        while unread := {place: at for place, at in positions.items() if at < ends[place.partition]}:
            stillness.look(unread)
            progress(whole - sum(ends[place.partition] - at for place, at in unread.items()), whole)
            batches = await self._consumer.getmany(*unread, timeout_ms=100, max_records=BATCH_RECORDS)
            for messages in batches.values():
                for message in messages:
                    take(message)
            for place in unread:
                # Markers and aborted records move it without a message.
                positions[place] = await self._consumer.position(place)
        return {place.partition: at for place, at in positions.items()}

    async def record(self, source: Source) -> SourceRecord | None:
        """Return a record, None if it is there no more."""
        if source.offset >= (await self.ends(source.topic))[source.partition]:
            return None
        place = KafkaTopicPartition(source.topic, source.partition)
        self._consumer.assign([place])
        self._consumer.seek(place, source.offset)
        stillness = _Stillness()
        while (position := await self._consumer.position(place)) <= source.offset:
            stillness.look({place: position})
            for message in (await self._consumer.getmany(place, timeout_ms=100, max_records=1)).get(place, ()):
                if message.offset == source.offset:
                    return source_record(message, message.timestamp)
        return None

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the high watermark of every partition."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await until_readable(partial(self._watermarks.read, topic, self.partitions))
        except TimeoutError:
            raise _not_read(topic) from None


class _Stillness:
    """Ends a read that has not moved for too long."""

    def __init__(self) -> None:
        self._before: Mapping[KafkaTopicPartition, int] = {}
        self._since = 0.0

    def look(self, positions: Mapping[KafkaTopicPartition, int]) -> None:
        """Take note of how far a read is. Raises NotReadError."""
        now = asyncio.get_running_loop().time()
        if positions != self._before:
            self._before, self._since = dict(positions), now
        elif now - self._since > READ_SECONDS:
            raise _not_read(", ".join(f"{topic}-{partition}" for topic, partition in positions))


def _not_read(what: str) -> NotReadError:
    return NotReadError(
        f"{what} could not be read for {READ_SECONDS:.0f} s: a broker is away, or a transaction is open there"
    )


@asynccontextmanager
async def record_reader(settings: KafkaSettings, *topics: str) -> AsyncIterator[RecordReader]:
    """Yield what reads these topics, if this user may read them all. Raises AccessError, TopicsError, a KafkaError."""
    options = settings.kafka_client_options()
    partitions = await readable_partitions(settings, topics)
    watermarks = HighWatermarks(options)
    consumer = Consumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        await watermarks.start()
        await consumer.start()
        yield RecordReader(consumer, watermarks, partitions)
    finally:
        await consumer.stop()
        await watermarks.stop()


async def readable_partitions(settings: KafkaSettings, topics: Collection[str]) -> int:
    """Return how many partitions the topics have, if this user may read them all.

    Raises AccessError, TopicsError, a KafkaError.
    """
    async with admin_client(**settings.kafka_client_options()) as admin:
        found = await describe_topics(admin, list(topics))
        lacks = [(Operation.READ, f"topic {name}") for name, topic in found.items() if not topic.allows(Operation.READ)]
        if lacks:
            raise AccessError(*lacks)
        if missing := [name for name in topics if name not in found]:
            raise await missing_topics(admin, missing, settings.app_id)
    return min(topic.partitions for topic in found.values())
