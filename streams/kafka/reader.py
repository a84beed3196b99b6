"""Short reads beside the group's own consumption: LogReader and UndecidedReader on a real Kafka, by aiokafka."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.engine.ports import OpenTransaction, Reading, UnreadableError
from streams.kafka.consumer import Consumer
from streams.kafka.high_watermarks import HighWatermarks
from streams.kafka.messages import instant_of, source_record
from streams.kafka.open_transactions import describe_open
from streams.kafka.partition_log import REQUEST_TIMEOUT_MS
from streams.kafka.readers import Readers
from streams.names import SOURCE_TOPICS
from streams.wire.records import SourceRecord, TopicPartition

T = TypeVar("T")

# A read that has not moved by then is no answer.
READ_TIMEOUT_SECONDS = 5.0
# A read that has moved ends after this, so that others have their turn.
READ_SECONDS = 1.0
# Time for a new client to connect and to ask four questions.
ATTEMPT_TIMEOUT_SECONDS = 10.0


class KafkaReader:
    """Reads with consumers of its own, in no group. One read at a time: most take milliseconds, the longest a second.

    One that gets nothing takes until its time-out; peeks have a queue of their own.
    """

    def __init__(self, client_options: dict[str, Any], group: str, partitions: int) -> None:
        self._options = client_options
        self._group = group
        self._partitions = partitions
        times = {"fetch_max_wait_ms": 20, "request_timeout_ms": REQUEST_TIMEOUT_MS}
        self._decided = Readers(**client_options, **times, isolation_level="read_committed")
        self._undecided_too = Readers(**client_options, **times, isolation_level="read_uncommitted")
        self._admin = AIOKafkaAdminClient(**client_options, request_timeout_ms=REQUEST_TIMEOUT_MS)
        self._reading = asyncio.Lock()
        self._peeking = asyncio.Lock()
        self._high_watermarks = HighWatermarks(client_options)

    async def start(self) -> None:
        """Connect. Raises a KafkaError if no broker answers; `stop` then cleans up all the same."""
        await self._decided.start()
        await self._undecided_too.start()
        await self._admin.start()
        await self._high_watermarks.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._decided.stop()
        await self._undecided_too.stop()
        await self._admin.close()
        await self._high_watermarks.stop()

    async def read(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return up to `limit` committed records of [start, end), and how far it has looked; see LogReader."""
        if start >= end:
            return Reading((), start)
        async with self._reading:
            return await self._in_turn(self._decided, topic_partition, start, end, limit)

    async def peek(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return up to `limit` of the next records of [start, end), decided or not; see UndecidedReader."""
        async with self._peeking:
            return await self._in_turn(self._undecided_too, topic_partition, start, end, limit)

    async def _in_turn(
        self, readers: Readers, topic_partition: TopicPartition, start: int, end: int, limit: int
    ) -> Reading:
        place, goes_on = KafkaTopicPartition(*topic_partition), True
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                consumer = await readers.take(place, start)
        except (KafkaError, TimeoutError) as error:
            raise UnreadableError(f"{topic_partition} [{start}, {end}): {error!r}") from error
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                reading = await self._read(consumer, place, start, end, limit)
            goes_on = reading.position < end and len(reading.records) < limit
        except (KafkaError, TimeoutError) as error:
            raise UnreadableError(f"{topic_partition} [{start}, {end}): {error!r}") from error
        finally:
            readers.give_back(consumer, place, goes_on=goes_on)
        return reading

    async def _read(self, consumer: Consumer, place: KafkaTopicPartition, start: int, end: int, limit: int) -> Reading:
        began = time.monotonic()
        position = await consumer.position(place)
        records: list[SourceRecord] = []
        while position < end and len(records) < limit:
            if position > start and time.monotonic() - began > READ_SECONDS:
                break
            try:
                messages = await self._fetched(consumer, place, limit - len(records))
            except OffsetOutOfRangeError:
                # Retention has moved the log's start over us meanwhile; or this is beyond the log's end.
                if (moved := await Readers.seek(consumer, place, position)) == position:
                    raise
                position = moved
                continue
            for message in messages:
                if message.offset >= end:
                    return Reading(records, end)
                records.append(source_record(message, message.timestamp))
            # Markers and aborted records move the position without a message.
            position = await consumer.position(place)
        return Reading(records, min(position, end))

    @staticmethod
    async def _fetched(consumer: Consumer, place: KafkaTopicPartition, limit: int) -> Sequence[Any]:
        """Return the next messages, none if nothing comes for a moment, or nothing but aborted records for a while."""
        try:
            # The time-out of `getmany` begins anew with every fetch of aborted records.
            async with asyncio.timeout(READ_SECONDS):
                batches = await consumer.getmany(place, timeout_ms=100, max_records=limit)
        except TimeoutError:
            return ()
        messages: Sequence[Any] = batches.get(place, ())
        return messages

    async def open_transactions(self, topic_partition: TopicPartition) -> list[OpenTransaction]:
        """Return the transactions of a partition that are not decided yet; see UndecidedReader."""
        described = await self._in_time(topic_partition.topic, describe_open(self._admin, *topic_partition))
        return [
            OpenTransaction(topic_partition, producer_id, start, instant_of(last) if last >= 0 else None)
            for producer_id, start, last in described
        ]

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the high watermark of every partition, no record missing that is acknowledged now; see LogReader."""
        return await self._in_time(topic, self._high_watermarks.read(topic, self._partitions))

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        """Return the group's committed offset of every partition, its log start where it has none."""
        return await self._in_time(topic, self._committed(topic))

    async def has_committed(self, topic_partition: TopicPartition) -> bool:
        """Whether the group has ever committed an offset of the partition; see LogReader."""
        offsets = await self._in_time(topic_partition.topic, self._group_offsets(topic_partition.topic))
        return offsets[topic_partition.partition] >= 0

    async def answers_anew(self) -> bool:
        """Whether a new client is told the offsets of the source topics; see LogReader."""
        reader = KafkaReader(self._options, self._group, self._partitions)
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_SECONDS):
                await reader.start()
                for topic in SOURCE_TOPICS:
                    await reader.end_offsets(topic)
                    await reader.committed_offsets(topic)
        except (KafkaError, UnreadableError, TimeoutError):
            return False
        finally:
            await reader.stop()
        return True

    async def _in_time(self, topic: str, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                return await answer
        except (KafkaError, TimeoutError) as error:
            raise UnreadableError(f"offsets of {topic}: {error!r}") from error

    async def _committed(self, topic: str) -> dict[int, int]:
        offsets = await self._group_offsets(topic)
        if never := [KafkaTopicPartition(topic, number) for number, offset in offsets.items() if offset < 0]:
            starts = await self._decided.beginning_offsets(never)
            offsets |= {source.partition: start for source, start in starts.items()}
        return offsets

    async def _group_offsets(self, topic: str) -> dict[int, int]:
        """Return the group's offset of every partition, -1 where it has none."""
        sources = [KafkaTopicPartition(topic, number) for number in range(self._partitions)]
        committed = await self._admin.list_consumer_group_offsets(self._group, partitions=sources)
        # aiokafka passes over the refusal of a broker that is not, or not yet, the group's coordinator.
        if missing := [source.partition for source in sources if source not in committed]:
            raise UnreadableError(f"committed offsets of {topic}: no answer for partitions {missing}")
        return {source.partition: committed[source].offset for source in sources}
