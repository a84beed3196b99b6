"""What the engine expects of a log: one suite for the simulated one and for a real Kafka."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from streams.engine.clock import Clock
from streams.engine.ports import FencedError, PartitionLog, UndecidedReader, UnreadableError, until_readable
from streams.kafka.admin import admin_client
from streams.kafka.partition_log import KafkaPartitionLog
from streams.kafka.reader import KafkaReader
from streams.names import CHANGELOG_OPENED_KEY, changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, SourceRecord, TopicPartition
from tests.simulation.broker import (
    RefusedError,
    SimulatedBroker,
    SimulatedPartitionLog,
    SimulatedReader,
    State,
    at_once,
)

PARTITIONS = 2
MAX_BYTES = 50_000
# So many of the largest records are several times what a fetch or a simulated read takes.
LONG = 60


class Foreign(Protocol):
    """Somebody else's transactional producer."""

    async def write(self, value: bytes) -> None: ...
    async def commit(self) -> None: ...
    async def abort(self) -> None: ...


@dataclass
class Cluster:
    """A log with one source topic and an application."""

    app_id: str
    source: TopicPartition
    reader: UndecidedReader
    open_log: Callable[[], PartitionLog]
    begin: Callable[[], "Any"]
    # A record that the broker does not take.
    refuse: Callable[[], NewRecord]

    def row(self, key: bytes, value: bytes | None) -> NewRecord:
        return NewRecord(changelog_topic(self.app_id), 0, key, value)

    def record(self, value: bytes) -> NewRecord:
        return NewRecord(*self.source, None, value)

    async def end(self) -> int:
        return (await self.reader.end_offsets(self.source.topic))[self.source.partition]

    async def values(self) -> list[bytes | None]:
        return [record.value for record in await self.read(0, await self.end())]

    async def read(self, start: int, end: int) -> list[SourceRecord]:
        """Return all records of a range."""
        found: list[SourceRecord] = []
        while start < end:
            records, position = await self.reader.read(self.source, start, end, limit=100)
            assert start < position <= end
            assert all(start <= record.offset < position for record in records)
            found.extend(records)
            start = position
        return found


class SimulatedForeign:
    def __init__(self, broker: SimulatedBroker, place: TopicPartition) -> None:
        self._broker, self._place, self._id = broker, place, uuid.uuid4().hex
        self._epoch = broker.fence(self._id)

    async def write(self, value: bytes) -> None:
        self._broker.produce(self._id, self._epoch, NewRecord(*self._place, None, value))

    async def commit(self) -> None:
        self._broker.end_transaction(self._id, self._epoch)

    async def abort(self) -> None:
        self._broker.end_transaction(self._id, self._epoch, State.ABORTED)


class KafkaForeign:
    def __init__(self, producer: AIOKafkaProducer, place: TopicPartition) -> None:
        self._producer, self._place = producer, place

    async def write(self, value: bytes) -> None:
        await self._producer.send_and_wait(self._place.topic, value, partition=self._place.partition)

    async def commit(self) -> None:
        await self._producer.commit_transaction()

    async def abort(self) -> None:
        await self._producer.abort_transaction()


def simulated(stack: AsyncExitStack) -> Cluster:
    broker = SimulatedBroker(PARTITIONS, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    place = TopicPartition("source", 1)

    async def begin() -> Foreign:
        return SimulatedForeign(broker, place)

    def refuse() -> NewRecord:
        broker.refusals = 1
        return NewRecord(*place, None, b"refused")

    return Cluster(
        "app",
        place,
        SimulatedReader(broker, at_once, most=LONG // 4),
        lambda: SimulatedPartitionLog(broker, at_once, "app", 0),
        begin,
        refuse,
    )


async def kafka(stack: AsyncExitStack, bootstrap_servers: str) -> Cluster:
    app_id = f"contract-{uuid.uuid4().hex[:8]}"
    place = TopicPartition(f"{app_id}-source", 1)
    options = {"bootstrap_servers": bootstrap_servers}
    configs = {"max.message.bytes": str(MAX_BYTES)}
    names = (place.topic, changelog_topic(app_id))
    async with admin_client(**options) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=configs) for name in names])
    reader = KafkaReader(options, app_id, PARTITIONS)
    await reader.start()
    stack.push_async_callback(reader.stop)

    def open_log() -> PartitionLog:
        changelog = TopicPartition(changelog_topic(app_id), 0)
        log = KafkaPartitionLog(options, app_id, changelog, Journal(Metrics()), Clock().now)
        stack.push_async_callback(log.close)
        return log

    async def begin() -> Foreign:
        producer = AIOKafkaProducer(**options, transactional_id=uuid.uuid4().hex)
        await producer.start()
        stack.push_async_callback(producer.stop)
        await producer.begin_transaction()
        return KafkaForeign(producer, place)

    return Cluster(
        app_id, place, reader, open_log, begin, lambda: NewRecord(*place, None, b"too large" * (MAX_BYTES // 9 + 1))
    )


@pytest.fixture(params=["simulated", "kafka"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        if request.param == "simulated":
            yield simulated(stack)
        else:
            yield await kafka(stack, request.getfixturevalue("kafka_bootstrap"))


async def rows_of(log: PartitionLog) -> dict[bytes, bytes]:
    """Open a log; return the last value of each key."""
    rows: dict[bytes, bytes] = {}
    async for batch in await log.open():
        for key, value in batch:
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
    return rows


async def test_what_was_committed_is_what_the_next_owner_loads(cluster: Cluster) -> None:
    log = cluster.open_log()
    assert await rows_of(log) == {}
    await log.commit([cluster.row(b"a", b"1"), cluster.row(b"b", b"2"), cluster.record(b"x")])
    await log.commit([cluster.row(b"a", b"3"), cluster.row(b"b", None)])
    assert await rows_of(cluster.open_log()) == {b"a": b"3"}
    assert await cluster.values() == [b"x"]


async def test_who_opens_a_log_is_what_the_next_owner_reads_of_it(cluster: Cluster) -> None:
    await cluster.open_log().open(b"first")
    await cluster.open_log().open(b"second")
    entries = [entry async for batch in await cluster.open_log().open(b"third") for entry in batch]
    assert [value for key, value in entries if key == CHANGELOG_OPENED_KEY] == [b"first", b"second", b"third"]


async def test_a_former_owner_is_fenced_and_nothing_of_its_write_is_seen(cluster: Cluster) -> None:
    former, owner = cluster.open_log(), cluster.open_log()
    await former.open()
    await former.commit([cluster.row(b"a", b"1")])
    await owner.open()
    with pytest.raises(FencedError):
        await former.commit([cluster.row(b"a", b"zombie"), cluster.record(b"zombie")])
    await owner.commit([cluster.record(b"x")])
    assert await rows_of(cluster.open_log()) == {b"a": b"1"}
    assert await cluster.values() == [b"x"]


async def test_a_refused_record_takes_its_whole_transaction_with_it(cluster: Cluster) -> None:
    log = cluster.open_log()
    await log.open()
    with pytest.raises((RefusedError, KafkaError)):
        await log.commit([cluster.row(b"a", b"1"), cluster.record(b"x"), cluster.refuse()])
    assert await rows_of(cluster.open_log()) == {}
    assert await cluster.values() == []


async def test_an_end_counts_records_of_an_open_transaction_which_cannot_be_read_yet(cluster: Cluster) -> None:
    foreign = await cluster.begin()
    await foreign.write(b"undecided")
    assert await cluster.end() == 1
    with pytest.raises(UnreadableError):
        await cluster.reader.read(cluster.source, 0, 1, limit=1)
    await foreign.commit()
    assert await cluster.values() == [b"undecided"]


async def test_a_peek_sees_undecided_and_aborted_records_too_but_no_markers(cluster: Cluster) -> None:
    aborted, undecided = await cluster.begin(), await cluster.begin()
    await aborted.write(b"aborted")
    await aborted.abort()
    await reaches(cluster, 2)
    await undecided.write(b"undecided")
    seen, position = [], 0
    while position < 3:
        records, looked_to = await cluster.reader.peek(cluster.source, position, 3, limit=10)
        assert looked_to > position
        position = looked_to
        seen += [(record.offset, record.value) for record in records]
    assert (seen, position) == ([(0, b"aborted"), (2, b"undecided")], 3)
    # From a marker on there is nothing but to move on; a limit and an end are kept.
    assert await cluster.reader.peek(cluster.source, 1, 2, limit=10) == ([], 2)
    (record,), looked_to = await cluster.reader.peek(cluster.source, 0, 3, limit=1)
    assert (record.value, looked_to) == (b"aborted", 1)
    await undecided.abort()


async def test_an_open_transaction_is_described_until_it_is_decided(cluster: Cluster) -> None:
    log = cluster.open_log()
    await log.open()
    await log.commit([cluster.record(b"x")])
    await reaches(cluster, 2)
    assert await cluster.reader.open_transactions(cluster.source) == []
    foreign = await cluster.begin()
    for value in (b"one", b"two"):
        await foreign.write(value)
    (transaction,) = await cluster.reader.open_transactions(cluster.source)
    assert (transaction.place, transaction.start_offset) == (cluster.source, 2)
    assert transaction.producer_id >= 0
    assert transaction.last_written_at is not None
    await foreign.commit()
    await reaches(cluster, 5)
    assert await cluster.reader.open_transactions(cluster.source) == []


async def reaches(cluster: Cluster, end: int) -> None:
    """Return when the source has so many offsets: a marker is written some time after its transaction's end."""
    async with asyncio.timeout(60):
        while await cluster.end() < end:
            await asyncio.sleep(0.01)


async def test_markers_and_aborted_records_are_passed_over(cluster: Cluster) -> None:
    aborted, committed = await cluster.begin(), await cluster.begin()
    await aborted.write(b"aborted")
    await aborted.abort()
    await reaches(cluster, 2)
    await committed.write(b"committed")
    await committed.commit()
    await reaches(cluster, 4)
    assert await cluster.read(0, 2) == []
    assert await cluster.read(3, 4) == []
    (record,) = await cluster.read(0, 4)
    assert (record.offset, record.value) == (2, b"committed")


async def test_a_read_is_bounded_by_its_range_and_its_limit(cluster: Cluster) -> None:
    log = cluster.open_log()
    await log.open()
    await log.commit([cluster.record(str(number).encode()) for number in range(5)])
    assert [record.value for record in await cluster.read(1, 4)] == [b"1", b"2", b"3"]
    (record,), position = await cluster.reader.read(cluster.source, 1, 4, limit=1)
    assert (record.value, position) == (b"1", 2)
    nothing, position = await cluster.reader.read(cluster.source, 2, 2, limit=10)
    assert (list(nothing), position) == ([], 2)


async def test_what_lies_at_or_beyond_the_end_of_the_log_is_unreadable(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.reader.READ_SECONDS", 0.2)
    monkeypatch.setattr("streams.kafka.reader.READ_TIMEOUT_SECONDS", 1.0)
    for start in (0, 3):
        with pytest.raises(UnreadableError):
            await cluster.reader.read(cluster.source, start, 5, limit=1)
    log = cluster.open_log()
    await log.open()
    await log.commit([cluster.record(str(number).encode()) for number in range(2)])
    end = await cluster.end()
    (first, second), position = await cluster.reader.read(cluster.source, 0, end + 1, limit=10)
    assert (first.value, second.value, position) == (b"0", b"1", end)
    for start in (end, end + 1):
        with pytest.raises(UnreadableError):
            await cluster.reader.read(cluster.source, start, end + 2, limit=1)
    await log.commit([cluster.record(b"late")])
    (late,), position = await cluster.reader.read(cluster.source, end, end + 2, limit=1)
    assert (late.value, late.offset, position) == (b"late", end, end + 1)
    assert await cluster.values() == [b"0", b"1", b"late"]


async def test_a_long_gap_is_read_bit_by_bit_and_others_read_in_between(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.reader.READ_SECONDS", 0.0)
    aborted, committed = await cluster.begin(), await cluster.begin()
    for _ in range(LONG):
        await aborted.write(bytes(MAX_BYTES - 1_000))
    await aborted.abort()
    await reaches(cluster, LONG + 1)
    await committed.write(b"good")
    await committed.commit()
    await reaches(cluster, LONG + 3)
    position, readings = 0, []
    while position < LONG + 1:
        # What another reading leaves behind must not be taken for this one's.
        assert [record.value for record in await cluster.read(LONG + 1, LONG + 2)] == [b"good"]
        records, position = await cluster.reader.read(cluster.source, position, LONG + 1, limit=1)
        assert not records
        readings.append(position)
    assert len(readings) > 1
    assert await cluster.values() == [b"good"]


async def test_a_group_that_never_committed_stands_at_the_beginning(cluster: Cluster) -> None:
    log = cluster.open_log()
    await log.open()
    await log.commit([cluster.record(b"x")])
    # On a new cluster the coordinator of a first group takes a moment.
    offsets = await until_readable(partial(cluster.reader.committed_offsets, cluster.source.topic))
    assert offsets == {0: 0, 1: 0}
