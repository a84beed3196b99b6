"""A simulated log: partitions, transactions, epochs and fencing, as far as the engine can tell the difference."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from streams.engine.ports import ChangelogBatch, FencedError, OpenTransaction, Reading, UnreadableError
from streams.names import CHANGELOG_OPENED_KEY, changelog_topic, transactional_id
from streams.wire.records import NewRecord, SourceRecord, TopicPartition

CHANGELOG_BATCH_RECORDS = 20

Io = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Be the way to a broker that takes no time."""


class State(Enum):
    """What became of an entry of the log."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"
    MARKER = "marker"


class RefusedError(Exception):
    """The broker did not take a record."""


@dataclass(slots=True)
class Entry:
    """One offset of a partition."""

    record: SourceRecord
    state: State


@dataclass
class _Transaction:
    epoch: int = 0
    entries: list[Entry] = field(default_factory=list)


class SimulatedBroker:
    """The cluster. Its methods act at once; the delays and losses on the way are the callers'."""

    def __init__(self, partitions: int, now: Callable[[], datetime]) -> None:
        self.partitions = partitions
        self._now = now
        self._logs: dict[TopicPartition, list[Entry]] = defaultdict(list)
        self._transactions: dict[str, _Transaction] = defaultdict(_Transaction)
        self.committed_offsets: dict[TopicPartition, int] = {}
        self._changed: dict[TopicPartition, asyncio.Event] = defaultdict(asyncio.Event)
        # How many of the next records inside a transaction are refused.
        self.refusals = 0
        self.refuse_prefix = ""

    def append(self, record: NewRecord, state: State = State.COMMITTED) -> Entry:
        """Write a record outside of a transaction, or as part of one."""
        place = TopicPartition(record.topic, record.partition)
        log = self._logs[place]
        timestamp = record.timestamp or self._now()
        written = SourceRecord(*place, len(log), timestamp, record.key, record.value, record.headers)
        entry = Entry(written, state)
        log.append(entry)
        if waited_for := self._changed.pop(place, None):
            waited_for.set()
        return entry

    async def change(self, place: TopicPartition) -> None:
        """Wait until something has been written or decided in a partition; what is decided there leaves a marker."""
        await self._changed[place].wait()

    def fence(self, transactional_id: str) -> int:
        """Start a writer: end the former one's transaction, and return the epoch without which nothing is written."""
        transaction = self._transactions[transactional_id]
        transaction.epoch += 1
        self._end(transaction, State.ABORTED)
        return transaction.epoch

    def produce(self, transactional_id: str, epoch: int, record: NewRecord) -> None:
        """Write a record in the writer's transaction. Raises FencedError or RefusedError."""
        transaction = self._current(transactional_id, epoch)
        if self.refusals and transactional_id.startswith(self.refuse_prefix):
            self.refusals -= 1
            raise RefusedError(str(record))
        transaction.entries.append(self.append(record, State.OPEN))

    def end_transaction(self, transactional_id: str, epoch: int, state: State = State.COMMITTED) -> None:
        """Commit or abort what the writer has written. Raises FencedError."""
        self._end(self._current(transactional_id, epoch), state)

    def _current(self, transactional_id: str, epoch: int) -> _Transaction:
        transaction = self._transactions[transactional_id]
        if transaction.epoch != epoch:
            raise FencedError(transactional_id)
        return transaction

    def _end(self, transaction: _Transaction, state: State) -> None:
        places = {TopicPartition(entry.record.topic, entry.record.partition) for entry in transaction.entries}
        for entry in transaction.entries:
            entry.state = state
        transaction.entries.clear()
        for place in sorted(places):
            self.append(NewRecord(*place, None, None), State.MARKER)

    def high_watermark(self, place: TopicPartition) -> int:
        """Return the offset behind the last entry."""
        return len(self._logs[place])

    def last_stable_offset(self, place: TopicPartition) -> int:
        """Return the offset up to which every transaction is decided."""
        log = self._logs[place]
        return next((offset for offset, entry in enumerate(log) if entry.state is State.OPEN), len(log))

    def committed(self, place: TopicPartition, start: int = 0, end: int | None = None) -> list[SourceRecord]:
        """Return the committed records of [start, end) that a read_committed consumer can see."""
        stable = self.last_stable_offset(place)
        stop = stable if end is None else min(end, stable)
        return [entry.record for entry in self._logs[place][start:stop] if entry.state is State.COMMITTED]

    def written(self, place: TopicPartition, start: int, end: int) -> list[SourceRecord]:
        """Return the records of [start, end), whatever became of their transactions."""
        return [entry.record for entry in self._logs[place][start:end] if entry.state is not State.MARKER]

    def open_transactions(self, place: TopicPartition) -> list[OpenTransaction]:
        """Return the transactions that have records in a partition and are not decided."""
        return [
            OpenTransaction(place, number, written[0].offset, written[-1].timestamp)
            for number, transaction in enumerate(self._transactions.values())
            if (written := [e.record for e in transaction.entries if (e.record.topic, e.record.partition) == place])
        ]

    def places(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Return every partition of some topics."""
        return [TopicPartition(topic, number) for topic in topics for number in range(self.partitions)]

    def topic(self, topic: str) -> list[SourceRecord]:
        """Return every committed record of a topic, open transactions or not."""
        return [
            entry.record
            for number in range(self.partitions)
            for entry in self._logs[TopicPartition(topic, number)]
            if entry.state is State.COMMITTED
        ]


class SimulatedReader:
    """The UndecidedReader of a worker; `io` is its way to the broker. A read goes over at most `most` offsets."""

    def __init__(self, broker: SimulatedBroker, io: Io, most: int = 1_000_000) -> None:
        self._broker = broker
        self._io = io
        self._most = most

    async def read(self, place: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return committed records, and how far they were looked for; see LogReader."""
        await self._io()
        position = min(end, start + self._most, self._broker.last_stable_offset(place))
        if position <= start < end:
            raise UnreadableError(str(place))
        records = self._broker.committed(place, start, position)[:limit]
        if len(records) == limit:
            position = records[-1].offset + 1
        return Reading(records, max(start, position))

    async def peek(self, place: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return records, decided or not; see UndecidedReader."""
        await self._io()
        records = self._broker.written(place, start, end)[:limit]
        return Reading(records, records[-1].offset + 1 if len(records) == limit else end)

    async def open_transactions(self, place: TopicPartition) -> list[OpenTransaction]:
        """Return what is undecided; see UndecidedReader."""
        await self._io()
        return self._broker.open_transactions(place)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the high watermarks; see LogReader."""
        await self._io()
        return self._of_every_partition(topic, self._broker.high_watermark)

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        """Return the group's offsets; see LogReader."""
        await self._io()
        return self._of_every_partition(topic, lambda place: self._broker.committed_offsets.get(place, 0))

    async def has_committed(self, place: TopicPartition) -> bool:
        """Whether the group has an offset there; see LogReader."""
        await self._io()
        return place in self._broker.committed_offsets

    async def answers_anew(self) -> bool:
        """Whether it answers others; see LogReader. This cluster answers everybody, and keeps its addresses."""
        return False

    def _of_every_partition(self, topic: str, offset: Callable[[TopicPartition], int]) -> dict[int, int]:
        return {number: offset(TopicPartition(topic, number)) for number in range(self._broker.partitions)}


class SimulatedPartitionLog:
    """The PartitionLog of a worker: each of its steps is a trip of its own, so a crash can fall in between."""

    def __init__(self, broker: SimulatedBroker, io: Io, app_id: str, partition: int) -> None:
        self._broker = broker
        self._io = io
        self._id = transactional_id(app_id, partition)
        self._changelog = TopicPartition(changelog_topic(app_id), partition)
        self._epoch = 0

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        """Fence and load; see PartitionLog."""
        await self._io()
        self._epoch = self._broker.fence(self._id)
        self._broker.produce(self._id, self._epoch, NewRecord(*self._changelog, CHANGELOG_OPENED_KEY, owner))
        self._broker.end_transaction(self._id, self._epoch)
        return self._read_changelog(self._broker.high_watermark(self._changelog))

    async def _read_changelog(self, end: int) -> AsyncGenerator[ChangelogBatch, None]:
        for start in range(0, end, CHANGELOG_BATCH_RECORDS):
            await self._io()
            records = self._broker.committed(self._changelog, start, min(end, start + CHANGELOG_BATCH_RECORDS))
            yield [(record.key, record.value) for record in records if record.key is not None]

    async def commit(self, records: Sequence[NewRecord]) -> None:
        """Write in one transaction; see PartitionLog."""
        await self._io()
        for record in records:
            self._broker.produce(self._id, self._epoch, record)
        await self._io()
        self._broker.end_transaction(self._id, self._epoch)
        await self._io()

    async def close(self) -> None:
        """Stop; an open transaction is left to the next owner's fence."""
