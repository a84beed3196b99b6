"""One partition's transactional writer, and the reading of its changelog: PartitionLog on a real Kafka, by aiokafka."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from streams.engine.ports import ChangelogBatch, FencedError
from streams.kafka.access import AccessError, Operation
from streams.kafka.consumer import Consumer
from streams.kafka.messages import instant_of, milliseconds_of
from streams.names import CHANGELOG_OPENED_KEY, transactional_id
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import TransactionResult
from streams.wire.records import NewRecord, TopicPartition

# The broker gives up a transaction of a dead worker after this; below the request time-out, so that a
# commit whose answer is overdue cannot still be undecided.
TRANSACTION_TIMEOUT_MS = 20_000
REQUEST_TIMEOUT_MS = 30_000
# Client-side limits are opened wide: what a topic takes is its own setting, checked before writing.
MAX_REQUEST_BYTES = 64_000_000
# A batch of this size stays under any topic's max.message.bytes. Rows are smaller: a few hundred bytes and an order's
# share (see wire/orders.py).
MAX_BATCH_BYTES = 262_144
# Rows of the changelog that aiokafka unpacks in one go: under a millisecond.
CHANGELOG_BATCH_RECORDS = 100
# A producer that cannot say goodbye is left behind; it is fenced by the next owner anyway.
CLOSE_TIMEOUT_SECONDS = 5.0
# Of a record's timestamp types the one that the broker sets.
LOG_APPEND_TIME = 1
# More than any clock is off that somebody looks after.
MAX_CLOCK_SKEW = timedelta(seconds=60)


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

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        """Fence every former writer, then return what is in the changelog; see PartitionLog."""
        try:
            await self._producer.start()
        except TransactionalIdAuthorizationFailed as error:
            raise AccessError((Operation.WRITE, f"transactional id {self._transactional_id}")) from error
        # Where the rows end is told by a write of our own: the fence has ended the former owner's transaction, so what
        # others wrote lies before it. A broker that is asked for the end may be no longer the leader, and not know it.
        opened = NewRecord(self._changelog.topic, self._changelog.partition, CHANGELOG_OPENED_KEY, owner)
        delivered = await self._write([opened])
        return self._read_changelog(end=delivered[0].offset + 1)

    async def _read_changelog(self, end: int) -> AsyncGenerator[ChangelogBatch, None]:
        consumer = Consumer(
            **self._options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8_000_000,
            fetch_max_wait_ms=20,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await consumer.start()
            consumer.assign([self._changelog])
            await consumer.seek_to_beginning(self._changelog)
            while (left := end - await consumer.position(self._changelog)) > 0:
                self._show_remaining(left)
                batches = await consumer.getmany(self._changelog, timeout_ms=1000, max_records=CHANGELOG_BATCH_RECORDS)
                messages = batches.get(self._changelog, ())
                # The next records are fetched meanwhile.
                yield [(message.key, message.value) for message in messages if message.key is not None]
            self._show_remaining(0)
        finally:
            await consumer.stop()

    def _show_remaining(self, records: int) -> None:
        self._metrics.recovery_remaining.labels(self._changelog.partition).set(records)

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
                self._metrics.transactions.labels(TransactionResult.FENCED).inc()
                raise FencedError(f"{self._changelog} was opened by another worker") from error
            self._metrics.transactions.labels(TransactionResult.FAILED).inc()
            refused = {name for failure in failures for name in _refused_topics(failure)}
            if refused:
                raise AccessError(*((Operation.WRITE, f"topic {name}") for name in sorted(refused))) from error
            raise
        self._metrics.transactions.labels(TransactionResult.COMMITTED).inc()
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
        self._metrics.recovery_remaining.remove(self._changelog.partition)
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._producer.stop()
