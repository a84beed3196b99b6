"""What three brokers take and tell when one of them is away, or knows less than the others."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from streams.dev.kafka import EmbeddedCluster, EmbeddedKafka
from streams.engine.ports import UnreadableError, until_readable
from streams.kafka.admin import admin_client
from streams.kafka.reader import KafkaReader
from streams.kafka.topics import TopicsError, TopicsReport, check_topics, create_topics, topic_specs
from streams.names import Topic
from streams.settings import KafkaSettings
from tests.support.settings import settings_of
from tests.support.worker import freeze

PARTITIONS = 2
POLL_SECONDS = 0.2
# A leader that wakes up is in the dark for about a quarter of a second; this many questions take longer.
QUESTIONS = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("cluster"), config={"broker.session.timeout.ms": "3000"})
    cluster.start()
    yield cluster
    cluster.kill()


@dataclass
class Place:
    """A topic that the second of three brokers leads, and a reader that has asked for its ends before."""

    topic: str
    group: str
    reader: KafkaReader
    leader: EmbeddedKafka
    others: Sequence[EmbeddedKafka]

    async def has_new_leader(self) -> bool:
        """Whether the other brokers have put another one in the leader's place."""
        try:
            async with asyncio.timeout(5), _admin(self.others, request_timeout_ms=2_000) as admin:
                (topic,) = await admin.describe_topics([self.topic])
        except (KafkaError, TimeoutError):
            return False
        return {row["leader"] for row in topic["partitions"]} <= {1, 3}

    async def ends(self) -> dict[int, int]:
        return await self.reader.end_offsets(self.topic)


def _servers(brokers: Iterable[EmbeddedKafka]) -> str:
    return ",".join(broker.bootstrap_servers for broker in brokers)


def _admin(
    brokers: Iterable[EmbeddedKafka], request_timeout_ms: int = 40_000
) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
    return admin_client(bootstrap_servers=_servers(brokers), request_timeout_ms=request_timeout_ms)


@pytest.fixture
async def place(cluster: EmbeddedCluster) -> AsyncIterator[Place]:
    name = uuid.uuid4().hex[:8]
    for broker in cluster.brokers:
        # One that an earlier test has frozen is out of the cluster for a moment longer.
        await asyncio.to_thread(broker.wait_until_ready, {1, 2, 3})
    async with _admin(cluster.brokers) as admin:
        replicas = {number: [2, 1, 3] for number in range(PARTITIONS)}
        await admin.create_topics([NewTopic(name, -1, -1, replica_assignments=replicas)])
    first, leader, last = cluster.brokers
    reader = KafkaReader({"bootstrap_servers": cluster.bootstrap_servers}, name, PARTITIONS)
    await reader.start()
    assert await until_readable(partial(reader.end_offsets, name)) == {0: 0, 1: 0}
    yield Place(name, name, reader, leader, (first, last))
    await reader.stop()


@contextmanager
def frozen(broker: EmbeddedKafka) -> Iterator[None]:
    """Stop a broker for the length of the block; its connections stay."""
    freeze(broker.pid)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


async def write(brokers: Iterable[EmbeddedKafka], topic: str) -> int:
    """Write a record to partition 0 of a topic; return the end that its acknowledgement says there is."""
    producer = AIOKafkaProducer(bootstrap_servers=_servers(brokers), acks="all")
    await producer.start()
    try:
        end: int = (await producer.send_and_wait(topic, b"record", partition=0)).offset + 1
    finally:
        await producer.stop()
    return end


async def test_no_former_leader_is_believed_when_it_wakes_up(place: Place) -> None:
    async def ask() -> int | None:
        try:
            return (await place.ends())[0]
        except UnreadableError:
            return None

    with frozen(place.leader):
        while not await place.has_new_leader():
            await asyncio.sleep(POLL_SECONDS)
        end = await write(place.others, place.topic)
        # A question that a frozen broker has received is the first thing that it answers.
        under_way = asyncio.create_task(ask())
        await asyncio.sleep(POLL_SECONDS)
    answers = [await under_way, *[await ask() for _ in range(QUESTIONS)]]
    assert {answer for answer in answers if answer is not None} == {end}


async def test_a_leader_needs_one_other_replica_that_names_it(place: Place) -> None:
    end = await write(place.others, place.topic)
    with ExitStack() as stack:
        stack.enter_context(frozen(place.others[0]))
        assert await until_readable(place.ends) == {0: end, 1: 0}
        stack.enter_context(frozen(place.others[1]))
        with pytest.raises(UnreadableError, match="too few replicas"):
            await place.ends()
    assert await until_readable(place.ends) == {0: end, 1: 0}


async def test_only_the_coordinator_says_that_a_group_has_not_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = await write(place.others, place.topic)
    read = partial(place.reader.committed_offsets, place.topic)
    assert await until_readable(read) == {0: 0, 1: 0}
    member = AIOKafkaConsumer(bootstrap_servers=_servers(place.others), group_id=place.group)
    await member.start()
    member.assign([KafkaTopicPartition(place.topic, 0)])
    await member.commit({KafkaTopicPartition(place.topic, 0): end})
    await member.stop()
    assert await until_readable(read) == {0: end, 1: 0}
    async with _admin(place.others) as admin:
        coordinator = int(await admin.find_coordinator(place.group))

    async def another_broker(_group: str) -> int:
        return coordinator % 3 + 1

    monkeypatch.setattr(AIOKafkaAdminClient, "find_coordinator", staticmethod(another_broker))
    with pytest.raises(UnreadableError, match=r"no answer for partitions \[0, 1\]"):
        await read()


async def test_with_one_of_two_replicas_down_no_end_is_told(place: Place) -> None:
    two = f"{place.topic}-two"
    async with _admin(place.others) as admin:
        replicas = {number: [2, 1] for number in range(PARTITIONS)}
        await admin.create_topics([NewTopic(two, -1, -1, replica_assignments=replicas)])
    read = partial(place.reader.end_offsets, two)
    assert await until_readable(read) == {0: 0, 1: 0}
    with frozen(place.others[0]), pytest.raises(UnreadableError, match="too few replicas"):
        await read()
    assert await until_readable(read) == {0: 0, 1: 0}


async def eventually_checked(settings: KafkaSettings) -> TopicsReport:
    while True:
        try:
            return await check_topics(settings)
        except UnknownTopicOrPartitionError:
            await asyncio.sleep(POLL_SECONDS)


async def test_topics_that_do_not_outlive_a_broker_are_told_and_not_created(
    place: Place, cluster: EmbeddedCluster
) -> None:
    copies: dict[str, int] = {Topic.BATCH_COMPLETED: 2, Topic.COMPLETED: 1}
    specs = topic_specs(settings_of(cluster.bootstrap_servers))
    async with _admin(place.others) as admin:
        for spec in specs:
            config = {**spec.config, "min.insync.replicas": "1"}
            if spec.name in copies:
                await admin.create_topics([NewTopic(spec.name, PARTITIONS, copies[spec.name], topic_configs=config)])
    settings = settings_of(cluster.bootstrap_servers)
    with pytest.raises(TopicsError, match=r"the cluster has 3 \(topics create --replication-factor 3\)"):
        await create_topics(settings, PARTITIONS, 4)
    await create_topics(settings, PARTITIONS, -1)
    # The first broker to be asked may not know yet what another one has created.
    warnings = (await eventually_checked(settings)).warnings
    assert [warning.partition(" (")[0] for warning in warnings] == [
        "robot.job.batch_completed: replicas is 2, should be 3: with one broker down no deadline is decided",
        "robot.job.completed: replicas is 1, should be 3: with one lost disk its records are lost",
    ]


async def test_any_broker_of_three_may_be_killed(place: Place, cluster: EmbeddedCluster) -> None:
    killed = cluster.brokers[0]
    killed.kill()
    servers = {"bootstrap_servers": cluster.bootstrap_servers}
    async with AIOKafkaProducer(**servers, transactional_id=place.topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(place.topic, b"no", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(place.topic, b"yes", partition=0)
    consumer = AIOKafkaConsumer(place.topic, **servers, auto_offset_reset="earliest", isolation_level="read_committed")
    async with consumer:
        assert (await consumer.getone()).value == b"yes"
    killed.launch()
