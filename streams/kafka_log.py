"""The port of streams/log.py on a real Kafka, by aiokafka."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OffsetOutOfRangeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from streams.high_watermarks import HighWatermarks
from streams.journal import Journal
from streams.kafka_access import AccessError, Operation
from streams.kafka_readers import Readers
from streams.log import (
    ChangelogBatch,
    FencedError,
    NewRecord,
    OpenTransaction,
    Reading,
    SourceRecord,
    TopicPartition,
    UnreadableError,
)
from streams.names import CHANGELOG_OPENED_KEY, transactional_id
from streams.open_transactions import describe_open

T = TypeVar("T")

# The broker gives up a transaction of a dead worker after this; below the request time-out, so that a
# commit whose answer is overdue cannot still be undecided.
TRANSACTION_TIMEOUT_MS = 20_000
REQUEST_TIMEOUT_MS = 30_000
# Client-side limits are opened wide: what a topic takes is its own setting, checked before writing.
MAX_REQUEST_BYTES = 64_000_000
# Rows are a few hundred bytes: a batch of this size stays under any topic's max.message.bytes.
MAX_BATCH_BYTES = 262_144
# A read that has not moved by then is no answer.
READ_TIMEOUT_SECONDS = 5.0
# Rows of the changelog that are worked on in one go: some 20 ms.
CHANGELOG_BATCH_RECORDS = 2_000
# A read that has moved ends after this, so that others have their turn.
READ_SECONDS = 1.0
# Time for a new client to connect and to ask four questions.
ATTEMPT_TIMEOUT_SECONDS = 10.0
# A producer that cannot say goodbye is left behind; it is fenced by the next owner anyway.
CLOSE_TIMEOUT_SECONDS = 5.0
# Of a record's timestamp types the one that the broker sets.
LOG_APPEND_TIME = 1
# More than any clock is off that somebody looks after.
MAX_CLOCK_SKEW = timedelta(seconds=60)

# The last millisecond that a datetime can hold; a record's timestamp is any 64-bit number.
_LATEST_MS = 253_402_300_799_999


def instant_of(milliseconds: int) -> datetime:
    """Return a record's timestamp (milliseconds since 1970) as an aware UTC datetime, the nearest there is."""
    return datetime.fromtimestamp(max(0, min(milliseconds, _LATEST_MS)) / 1000, UTC)


def milliseconds_of(instant: datetime) -> int:
    """Return an instant as a record's timestamp."""
    return round(instant.timestamp() * 1000)


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
        self._reading = asyncio.Lock()
        self._peeking = asyncio.Lock()
        self._high_watermarks = HighWatermarks(client_options)

    async def start(self) -> None:
        """Connect. Raises a KafkaError if no broker answers; `stop` then cleans up all the same."""
        self._admin = AIOKafkaAdminClient(**self._options, request_timeout_ms=REQUEST_TIMEOUT_MS)
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

    async def _read(
        self, consumer: AIOKafkaConsumer, place: KafkaTopicPartition, start: int, end: int, limit: int
    ) -> Reading:
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
    async def _fetched(consumer: AIOKafkaConsumer, place: KafkaTopicPartition, limit: int) -> Sequence[Any]:
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


def source_record(message: Any, timestamp_ms: int) -> SourceRecord:
    """Return an aiokafka or Faust message as the engine sees it; the two give its timestamp in different units."""
    return SourceRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=instant_of(timestamp_ms),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )


async def answers_anew(client_options: dict[str, Any], group: str, partitions: int, topics: Iterable[str]) -> bool:
    """Return whether a new client, which knows the bootstrap servers alone, is told the offsets of some topics."""
    reader = KafkaReader(client_options, group, partitions)
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_SECONDS):
            await reader.start()
            for topic in topics:
                await reader.end_offsets(topic)
                await reader.committed_offsets(topic)
    except (KafkaError, UnreadableError, TimeoutError):
        return False
    finally:
        await reader.stop()
    return True


class ClockSkewError(Exception):
    """Our clock is so wrong that every deadline would be decided wrongly."""

    def __init__(self, ahead: timedelta) -> None:
        where = "ahead of" if ahead > timedelta(0) else "behind"
        super().__init__(
            f"this worker's clock is {abs(ahead).total_seconds():.0f} s {where} the broker's: set it right"
        )


_FENCED = (ProducerFenced, InvalidProducerEpoch)


async def _failures(deliveries: Sequence[asyncio.Future[Any]]) -> list[BaseException]:
    """Return what went wrong with the records: aiokafka says why to one of them, and nonsense to the rest."""
    if not deliveries:
        return []
    done, _ = await asyncio.wait(deliveries, timeout=CLOSE_TIMEOUT_SECONDS)
    return [error for delivery in done if not delivery.cancelled() and (error := delivery.exception())]


def _refused_topics(failure: BaseException) -> Iterable[str]:
    """Return the topics that this user may not write to, as a failed write names them: one, or all of a request's."""
    if not isinstance(failure, TopicAuthorizationFailedError) or not failure.args:
        return ()
    named = failure.args[0]
    return (named,) if isinstance(named, str) else named


class KafkaPartitionLog:
    """One partition's transactional producer, and the reading of its changelog partition."""

    def __init__(
        self,
        client_options: dict[str, Any],
        app_id: str,
        changelog: TopicPartition,
        journal: Journal,
        now: Callable[[], datetime],
    ) -> None:
        self._options = client_options
        self._now = now
        self._journal = journal
        self._changelog = KafkaTopicPartition(*changelog)
        self._metrics = journal.metrics
        self._transactional_id = transactional_id(app_id, changelog.partition)
        self._producer = AIOKafkaProducer(
            **client_options,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=MAX_BATCH_BYTES,
        )

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        """Fence every former writer, then return what is in the changelog; see PartitionLog."""
        try:
            await self._producer.start()
        except TransactionalIdAuthorizationFailed as error:
            raise AccessError((Operation.WRITE, f"transactional id {self._transactional_id}")) from error
        # Where the rows end is told by a write of our own: the fence has ended the former owner's transaction, so what
        # others wrote lies before it. A broker that is asked for the end may be no longer the leader, and not know it.
        opened = NewRecord(self._changelog.topic, self._changelog.partition, CHANGELOG_OPENED_KEY, None)
        delivered = await self._write([opened])
        return self._read_changelog(end=delivered[0].offset + 1)

    async def _read_changelog(self, end: int) -> AsyncGenerator[ChangelogBatch, None]:
        consumer = AIOKafkaConsumer(
            **self._options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8_000_000,
            fetch_max_wait_ms=20,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        await consumer.start()
        try:
            consumer.assign([self._changelog])
            await consumer.seek_to_beginning(self._changelog)
            while await consumer.position(self._changelog) < end:
                batches = await consumer.getmany(self._changelog, timeout_ms=1000, max_records=CHANGELOG_BATCH_RECORDS)
                messages = batches.get(self._changelog, ())
                # The next records are fetched meanwhile.
                yield [(message.key, message.value) for message in messages if message.key is not None]
        finally:
            await consumer.stop()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        """Write the records in one transaction; see PartitionLog."""
        await self._write(records)

    async def _write(self, records: Sequence[NewRecord]) -> list[Any]:
        """Write the records in one transaction; return where each of them is."""
        started, began_at = time.monotonic(), self._now()
        deliveries: list[asyncio.Future[Any]] = []
        try:
            await self._producer.begin_transaction()
            for record in records:
                deliveries.append(await self._send(record))  # noqa: PERF401 # a failure needs those sent before it
            # aiokafka commits happily without a record that the broker refused: each delivery is awaited.
            delivered = await asyncio.gather(*deliveries)
            await self._producer.commit_transaction()
        except Exception as error:
            failures = [error] if isinstance(error, _FENCED) else [error, *await _failures(deliveries)]
            if any(isinstance(failure, _FENCED) for failure in failures):
                self._metrics.transactions.labels("fenced").inc()
                raise FencedError(f"{self._changelog} was opened by another worker") from error
            self._metrics.transactions.labels("failed").inc()
            refused = {name for failure in failures for name in _refused_topics(failure)}
            if refused:
                raise AccessError(*((Operation.WRITE, f"topic {name}") for name in sorted(refused))) from error
            raise
        self._metrics.transactions.labels("committed").inc()
        self._metrics.transaction_duration.observe(time.monotonic() - started)
        self._compare_clocks(delivered, began_at)
        return delivered

    def _compare_clocks(self, delivered: Sequence[Any], began_at: datetime) -> None:
        """Compare the broker's time of a write with ours before and after it. Raises ClockSkewError."""
        for metadata in delivered:
            if metadata.topic == self._changelog.topic and metadata.timestamp_type == LOG_APPEND_TIME:
                broker = instant_of(metadata.timestamp)
                ahead, behind = max(timedelta(0), began_at - broker), max(timedelta(0), broker - self._now())
                self._journal.broker_time(ahead - behind)
                if max(ahead, behind) > MAX_CLOCK_SKEW:
                    raise ClockSkewError(ahead - behind)
                return

    async def _send(self, record: NewRecord) -> asyncio.Future[Any]:
        delivery: asyncio.Future[Any] = await self._producer.send(
            record.topic,
            partition=record.partition,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            timestamp_ms=None if record.timestamp is None else milliseconds_of(record.timestamp),
        )
        return delivery

    async def close(self) -> None:
        """Stop the writer without committing anything."""
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._producer.stop()
