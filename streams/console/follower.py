"""From Kafka into the file: a reader in no group, which begins anew from the file whenever it is in doubt."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.console.changes import Changes
from streams.console.entries import FOLLOWED_TOPICS, Entry, entry_of
from streams.console.store import Store
from streams.engine.ports import UnreadableError
from streams.kafka.access import AccessError, Operation, connection_problem, describe_group, describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer
from streams.kafka.identity import identity_of
from streams.kafka.messages import source_record
from streams.kafka.reader import KafkaReader
from streams.kafka.topics import TopicsError, missing_topics
from streams.names import SOURCE_TOPICS, LogEvent, changelog_topic
from streams.settings import ConsoleSettings
from streams.telemetry.lines import Lines
from streams.wire.records import TopicPartition

T = TypeVar("T")

RETRY_SECONDS = 1.0
REQUEST_TIMEOUT_MS = 10_000
CONNECT_SECONDS = 30.0
BATCH_RECORDS = 2_000
FETCH_BYTES = 256 * 1024
POLL_MS = 200
LOOK_SECONDS = 5.0
# Brokers may be restarted one after the other: only after this it is begun anew, maybe at other addresses.
DOUBT_SECONDS = 15.0
EXPIRED_EVERY_SECONDS = 600.0
# Kafka keeps tombstones for a day. Who has not read for longer than half of it may have missed that a row has gone.
STALE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was asked of Kafka last: the workers in the group, and how many records of each source wait for them.

    The workers are None where this user may not ask.
    """

    looked_at: datetime
    workers: frozenset[str] | None
    lag: Mapping[str, int]


async def unless_cancelled(work: Coroutine[Any, Any, T]) -> T:
    """Return what some work returns. Raises KafkaConnectionError where it was not this task that was cancelled.

    aiokafka cancels the requests of a connection that it closes, and who waits for one would seem to be cancelled too.
    """
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaConnectionError("the connection was closed") from None


async def _first_to_fail(*works: Coroutine[Any, Any, None]) -> None:
    """Run what never ends by itself side by side, and raise what ends one of them."""
    tasks = [asyncio.create_task(unless_cancelled(work)) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await done.pop()


async def _missing(consumer: Consumer, ends: Mapping[KafkaTopicPartition, int]) -> int:
    """Return how many offsets before the ends were not read; markers and aborted records move on without a message."""
    return sum([max(0, end - await consumer.position(place)) for place, end in ends.items()])


class Follower:
    """Keeps the file up to date while `run` runs.

    `problem` says why nothing can be read now, None if it can. `behind` is how many offsets, of those that there were
    when it last connected, are not in the file yet, None before that. `cluster` is what Kafka has last answered, if it
    has.
    """

    def __init__(self, settings: ConsoleSettings, store: Store, changes: Changes) -> None:
        self._settings = settings
        self._store = store
        self._changes = changes
        self._options = settings.kafka_client_options()
        self._changelog = changelog_topic(settings.app_id)
        self._log = Lines()
        self.problem: str | None = "not connected yet"
        self.behind: int | None = None
        self.cluster: Cluster | None = None

    async def run(self) -> None:
        """Follow until cancelled. Raises TopicsError or AccessError if it cannot begin, and UnreadableRowError."""
        first = True
        while True:
            try:
                async with admin_client(**self._options, request_timeout_ms=REQUEST_TIMEOUT_MS) as admin:
                    partitions = await unless_cancelled(self._check(admin))
                    first = False
                    await unless_cancelled(self._session(admin, partitions))
            except (TopicsError, AccessError) as error:
                if first:
                    raise
                problem = str(error)
            except KafkaConnectionError:
                problem = await connection_problem(self._settings)
            except (KafkaError, UnreadableError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
            self._tell(problem=problem)
            self._log.waiting_for_broker(problem)
            await asyncio.sleep(RETRY_SECONDS)

    async def _check(self, admin: AIOKafkaAdminClient) -> int:
        """Return how many partitions there are, with a file that belongs to them."""
        names = [*map(str, FOLLOWED_TOPICS), self._changelog]
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await describe_topics(admin, [*names, *SOURCE_TOPICS])
            needed = dict.fromkeys(SOURCE_TOPICS, Operation.DESCRIBE) | dict.fromkeys(names, Operation.READ)
            lacks = [(needed[name], f"topic {name}") for name, topic in found.items() if not topic.allows(needed[name])]
            if lacks:
                raise AccessError(*lacks)
            if missing := [name for name in needed if name not in found]:
                raise await missing_topics(admin, missing, self._settings.app_id)
            identity = await identity_of(admin, names)
        followed_at, now = self._store.followed_at(), datetime.now(UTC)
        belongs = followed_at is not None and self._store.belongs_to(identity)
        if followed_at is None or not belongs or now - followed_at > STALE:
            why = "it was not followed for too long" if belongs else "it is not of these topics"
            self._log.info(LogEvent.CONSOLE_BEGINS_ANEW, reason=why)
            self.behind = None
            await asyncio.to_thread(self._store.begin_anew, identity, now)
        return found[self._changelog].partitions

    async def _session(self, admin: AIOKafkaAdminClient, partitions: int) -> None:
        consumer = Consumer(
            **self._options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        reader = KafkaReader(self._options, self._settings.app_id, partitions)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await consumer.start()
                await reader.start()
                ends = await self._assign(consumer, partitions)
                # Also of a file that had caught up there may be much to read again: it has not been followed meanwhile.
                self.behind = await _missing(consumer, ends)
            await _first_to_fail(
                self._follow(consumer, ends, partitions),
                self._look(admin, reader),
                self._forget_expired(consumer),
            )
        finally:
            await consumer.stop()
            await reader.stop()

    async def _assign(self, consumer: Consumer, partitions: int) -> Mapping[KafkaTopicPartition, int]:
        """Let it read on where the file ends; return the ends of now, which are what there is to catch up with."""
        names = [*map(str, FOLLOWED_TOPICS), self._changelog]
        places = [KafkaTopicPartition(name, number) for name in names for number in range(partitions)]
        consumer.assign(places)
        known = self._store.positions()
        starts = await consumer.beginning_offsets(places)
        for place in places:
            consumer.seek(place, known.get(TopicPartition(*place), starts[place]))
        ends: Mapping[KafkaTopicPartition, int] = await consumer.end_offsets(places)
        return ends

    async def _follow(self, consumer: Consumer, ends: Mapping[KafkaTopicPartition, int], partitions: int) -> None:
        """Take what comes."""
        self._tell(problem=None)
        caught_up = False
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_RECORDS)
            before = self.behind
            if not caught_up:
                self.behind = await _missing(consumer, ends)
            if batches:
                await asyncio.to_thread(self._take, batches, partitions)
            if batches or self.behind != before:
                self._tell(problem=self.problem)
            if self.behind == 0 and not caught_up:
                caught_up = True
                self._log.info(LogEvent.CONSOLE_CAUGHT_UP)

    def _take(self, batches: Mapping[KafkaTopicPartition, Sequence[Any]], partitions: int) -> None:
        """Write a batch; in a thread of its own, so that pages are answered meanwhile."""
        positions = {TopicPartition(*place): messages[-1].offset + 1 for place, messages in batches.items()}
        self._store.apply(self._entries(batches, partitions), positions, self._followed_at())

    def _entries(self, batches: Mapping[KafkaTopicPartition, Sequence[Any]], partitions: int) -> Iterator[Entry]:
        for messages in batches.values():
            for message in messages:
                record, now = source_record(message, message.timestamp), datetime.now(UTC)
                entry = entry_of(record, partitions, self._settings.deadlines, now)
                if entry is not None:
                    yield entry

    def _followed_at(self) -> datetime | None:
        return datetime.now(UTC) if self.behind == 0 else None

    async def _look(self, admin: AIOKafkaAdminClient, reader: KafkaReader) -> None:
        """Ask again and again who works and how far they are. Raises what went wrong if that goes on."""
        good = asyncio.get_running_loop().time()
        while True:
            try:
                async with asyncio.timeout(DOUBT_SECONDS):
                    self.cluster = await self._ask(admin, reader)
                good, problem = asyncio.get_running_loop().time(), None
            except (KafkaError, UnreadableError, TimeoutError) as error:
                if asyncio.get_running_loop().time() - good > DOUBT_SECONDS:
                    raise
                problem = str(error) or type(error).__name__
            self._tell(problem=problem)
            await asyncio.sleep(LOOK_SECONDS if problem is None else RETRY_SECONDS)

    async def _ask(self, admin: AIOKafkaAdminClient, reader: KafkaReader) -> Cluster:
        group = await describe_group(admin, self._settings.app_id, patience=1)
        lag = {}
        for topic in SOURCE_TOPICS:
            committed = await reader.committed_offsets(topic)
            ends = await reader.end_offsets(topic)
            lag[topic.value] = sum(max(0, end - committed[number]) for number, end in ends.items())
        return Cluster(datetime.now(UTC), None if group is None else group.members, lag)

    async def _forget_expired(self, consumer: Consumer) -> None:
        """Forget what has expired in Kafka; the changelog alone tells what of it is gone."""
        while True:
            places = [place for place in consumer.assignment() if place.topic != self._changelog]
            starts = await consumer.beginning_offsets(places)
            gone = {TopicPartition(*place): start for place, start in starts.items()}
            await asyncio.to_thread(self._store.forget_before, gone, self._followed_at())
            await asyncio.sleep(EXPIRED_EVERY_SECONDS)

    def _tell(self, *, problem: str | None) -> None:
        self.problem = problem
        self._changes.happened()
